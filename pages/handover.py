"""Hand-over (跳转登录): a mall sends its shopper here by a signed link, valid once and for minutes.

The link names the user, its expiry and a nonce of the mall's. It carries an HMAC over them with the
channel's page secret (docs/integration.md). entry.enter() exchanges it for a session and redirects,
so that its parameters leave the address bar.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from urllib.parse import urlsplit

from django.utils.http import url_has_allowed_host_and_scheme
from rest_framework.exceptions import ValidationError

from groupbuy.channels import KnownChannel
from groupbuy.fields import TextField
from groupbuy.hosts import ALLOWED_HOST
from pages.models import UsedLink

LONGEST = timedelta(minutes=15)  # a link must expire within this time
AHEAD = timedelta(seconds=30)  # that the mall's clock may be ahead of ours
PARAMETERS = ("userId", "until", "nonce", "to", "sign")
NONCE = re.compile(r"[!-~]{8,64}")
_user_id = TextField(longest=64)


class Refusal(Enum):
    """Why a hand-over link does not open a session."""

    UNREADABLE = auto()  # incomplete, malformed, or valid for too long
    NOT_SIGNED = auto()  # altered, of another channel, or signed with another secret
    EXPIRED = auto()
    USED = auto()


class RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Link:
    user_id: str
    until: datetime
    nonce: str
    to: str  # a path of this site; "" for the channel's first page


def signature(
    secret: str, *, source: str, channel: str, user_id: str, until: int, nonce: str, to: str
) -> str:
    """The value that the link's `sign` must have. until is in seconds since 1970."""
    message = "\n".join((source, channel, user_id, str(until), nonce, to))
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def read_link(channel: KnownChannel, query: Mapping[str, str], *, now: datetime) -> Link:
    """Check a link's form, signature and expiry. Raises RefusedError. Does not use the link."""
    link = _parse(query)
    expected = (
        signature(
            secret,
            source=channel.source,
            channel=channel.channel,
            user_id=link.user_id,
            until=int(link.until.timestamp()),
            nonce=link.nonce,
            to=link.to,
        )
        for secret in channel.page_secrets
    )
    given = query.get("sign", "").encode()
    if not any(hmac.compare_digest(each.encode(), given) for each in expected):
        raise RefusedError(Refusal.NOT_SIGNED)
    if link.until <= now:
        raise RefusedError(Refusal.EXPIRED)
    if link.until > now + LONGEST + AHEAD:
        raise RefusedError(Refusal.UNREADABLE)
    return link


def use(channel: KnownChannel, link: Link) -> None:
    """Mark the link as used. Raises RefusedError if it was; a unique key decides races."""
    _used, is_first = UsedLink.objects.get_or_create(
        channel_id=channel.pk, nonce=link.nonce, defaults={"expires_at": link.until}
    )
    if not is_first:
        raise RefusedError(Refusal.USED)


def forget_used_links(*, now: datetime) -> int:
    """Delete used links that have expired, and would be refused for that; return how many."""
    return UsedLink.objects.filter(expires_at__lte=now).delete()[0]


def is_from_elsewhere(channel: KnownChannel, referer: str, own_host: str) -> bool:
    """Was the link followed on a site that is neither the mall's nor ours?

    Somebody may post a fresh link of their own to have others shop as them. A request without a
    Referer is trusted, and so is every request while the channel names no host. A mall on our own
    host (one origin, by path) names one.
    """
    host, mall = _host(referer), set(_mall_hosts(channel))
    return bool(host and mall) and host not in {_host(f"http://{own_host}"), *mall}


def _mall_hosts(channel: KnownChannel) -> Iterator[str]:
    if host := _host(channel.checkout_url):
        yield host
    for line in channel.callback_hosts.split():
        if match := ALLOWED_HOST.fullmatch(line):
            yield match[2]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "unreadable"


def _parse(query: Mapping[str, str]) -> Link:
    until, nonce, to = query.get("until", ""), query.get("nonce", ""), query.get("to", "")
    readable = (
        until.isascii()
        and until.isdigit()
        and len(until) <= 11
        and NONCE.fullmatch(nonce)
        and len(to) <= 512
        and (not to or _is_path(to))
    )
    if not readable:
        raise RefusedError(Refusal.UNREADABLE)
    try:
        user_id = _user_id.run_validation(query.get("userId", ""))
    except ValidationError as exc:
        raise RefusedError(Refusal.UNREADABLE) from exc
    return Link(user_id, datetime.fromtimestamp(int(until), UTC), nonce, to)


def _is_path(to: str) -> bool:
    return to.startswith("/") and url_has_allowed_host_and_scheme(to, allowed_hosts=None)
