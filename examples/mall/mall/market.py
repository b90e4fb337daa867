"""The platform: its client, and links that hand a shopper over to its pages."""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlencode

from django.conf import settings

from groupbuy_client import Client, Webhook

GOOD_FOR = timedelta(minutes=5)
TIMEOUT = 5  # seconds
FINAL = ("E0104", "E0105", "E0106")  # at settlement: no seat, team_refund follows


def client() -> Client:
    """Repeats nothing: a shopper waits for the answer, and the loop tries again later."""
    key = (settings.PLATFORM_URL, settings.API_KEY, settings.SOURCE, settings.CHANNEL)
    return _client(*key)


def webhook() -> Webhook:
    return Webhook(settings.WEBHOOK_SECRET)


def notify_url() -> str | None:
    """Where a team's notifications go; None: by RabbitMQ."""
    if settings.AMQP_URL:
        return None
    return f"{settings.MALL_URL}/api/v1/alipay/group_buy_notify"


def offers_path() -> str:
    return f"/o/{_segment(settings.SOURCE)}/{_segment(settings.CHANNEL)}"


def offer_path(goods_id: str) -> str:
    return f"{offers_path()}/{_segment(goods_id)}"


def order_path(number: str, *, paid: bool) -> str:
    """The platform's page of one order; it waits for the settlement when this was just paid."""
    query = urlencode({"no": number} | ({"paid": "1"} if paid else {}))
    return f"/my/{_segment(settings.SOURCE)}/{_segment(settings.CHANNEL)}/order?{query}"


def handover_url(user_id: str, to: str, *, now: datetime) -> str:
    """A link that shows the platform's page `to` to this shopper: good once, for five minutes."""
    until, nonce = str(int((now + GOOD_FOR).timestamp())), secrets.token_urlsafe(16)
    message = "\n".join((settings.SOURCE, settings.CHANNEL, user_id, until, nonce, to))
    sign = hmac.new(settings.PAGE_SECRET.encode(), message.encode(), hashlib.sha256).hexdigest()
    query = {"userId": user_id, "until": until, "nonce": nonce, "to": to, "sign": sign}
    path = f"/h/{_segment(settings.SOURCE)}/{_segment(settings.CHANNEL)}"
    return f"{settings.PLATFORM_URL}{path}?{urlencode(query)}"


@lru_cache
def _client(url: str, key: str, source: str, channel: str) -> Client:
    return Client(url, key or None, source=source, channel=channel, timeout=TIMEOUT, pauses=())


def _segment(name: str) -> str:
    """One segment of a path, in which the platform writes "~0" for "~" and "~1" for "/"."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="")
