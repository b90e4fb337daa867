"""WeChat (微信): makes QR codes, and reads the messages that report a scan.

WeChat signs with the portal's token: SHA-1 over token, timestamp and nonce in sorted order.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

import requests
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from django.conf import settings

from mall.models import LONGEST_ID

SKEW = timedelta(minutes=10)  # WeChat repeats within seconds; older messages are replays
TIMEOUT = 10  # seconds
SUBSCRIBED = "qrscene_"  # the prefix of the scene in a "subscribe" event


@dataclass(frozen=True, slots=True)
class Scan:
    scene: str
    user_id: str


class WeChatError(Exception):
    """WeChat did not respond, or refused."""


def signature(timestamp: str, nonce: str) -> str:
    joined = "".join(sorted((settings.WECHAT_TOKEN, timestamp, nonce)))
    return hashlib.sha1(joined.encode()).hexdigest()  # noqa: S324  WeChat's choice


def is_signed(query: Mapping[str, str], *, now: datetime) -> bool:
    """Did WeChat send this within SKEW? False while there is no token."""
    given, timestamp = query.get("signature", ""), query.get("timestamp", "")
    if not (settings.WECHAT_TOKEN and timestamp.isascii() and timestamp.isdigit()):
        return False
    if abs(now.timestamp() - int(timestamp[:12])) > SKEW.total_seconds():
        return False
    expected = signature(timestamp, query.get("nonce", ""))
    return hmac.compare_digest(expected.encode(), given.encode())


def read_scan(body: bytes) -> Scan | None:
    """The scan that a signed message reports, or None. Raises ValueError if it is not XML."""
    try:
        message = fromstring(body)
    except (ParseError, LookupError, DefusedXmlException) as exc:  # LookupError: its encoding
        raise ValueError(f"not a message: {exc!r}") from exc
    fields = {child.tag: (child.text or "").strip() for child in message}
    if fields.get("MsgType") != "event" or fields.get("Event") not in ("SCAN", "subscribe"):
        return None
    scene = fields.get("EventKey", "").removeprefix(SUBSCRIBED)
    user_id = fields.get("FromUserName", "")  # not the query's openid: that is not signed
    return Scan(scene, user_id) if 0 < len(user_id) <= LONGEST_ID else None


def scan_message(scene: str, user_id: str) -> bytes:
    """WeChat's message for a scanned code; for the demo's pretend phone, and for tests."""
    message = Element("xml")
    fields = {"FromUserName": user_id, "MsgType": "event", "Event": "SCAN", "EventKey": scene}
    for name, value in fields.items():
        SubElement(message, name).text = value
    return bytes(tostring(message, encoding="utf-8"))


def draw(scene: str, good_for: timedelta) -> str:
    """Get WeChat's ticket for a QR code of this scene. Raises WeChatError."""
    content = {
        "grant_type": "client_credential",
        "appid": settings.WECHAT_APP_ID,
        "secret": settings.WECHAT_SECRET,
    }
    token = _post("/cgi-bin/stable_token", content)["access_token"]
    code = {
        "expire_seconds": int(good_for.total_seconds()),
        "action_name": "QR_STR_SCENE",
        "action_info": {"scene": {"scene_str": scene}},
    }
    return _post(f"/cgi-bin/qrcode/create?access_token={token}", code, wanted="ticket")["ticket"]


def _post(path: str, content: object, *, wanted: str = "access_token") -> dict[str, str]:
    try:
        response = requests.post(settings.WECHAT_API + path, json=content, timeout=TIMEOUT)
        answer = response.json()
        found = {wanted: str(answer[wanted])}
    except (requests.RequestException, ValueError, KeyError, TypeError) as exc:
        raise WeChatError(f"{path.partition('?')[0]}: {type(exc).__name__}") from exc
    return found
