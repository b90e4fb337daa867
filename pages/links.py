"""The addresses of the pages, and of the mall's checkout.

A page never trades. Its buttons to buy, join, pay or give back lead to a path of this site, which
checks that the action is still possible and redirects to the channel's checkout URL
(pages/deals.py). So a page contains no id that is not public anyway.
"""

from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.core import signing
from django.urls import reverse
from django.urls.converters import StringConverter

from groupbuy.channels import KnownChannel

OUTSIDE, OUTSIDE_FOR = "pages.outside", 3600  # salt of outside() links; seconds they are valid


class SegmentConverter(StringConverter):
    """A segment of a path; "/" and "~" in it are escaped as in JSON pointers (RFC 6901)."""

    def to_python(self, value: str) -> str:
        return value.replace("~1", "/").replace("~0", "~")

    def to_url(self, value: str) -> str:
        return value.replace("~", "~0").replace("/", "~1")


class Deed(StrEnum):
    """What the shopper wants at the mall; the `action` of its checkout URL."""

    ALONE = "alone"
    OPEN = "open"
    JOIN = "join"
    PAY = "pay"
    RETURN = "return"
    VIEW = "view"  # the order at the mall: delivery, help


def wall(channel: KnownChannel) -> str:
    return reverse("wall", args=[channel.source, channel.channel])


def offer(channel: KnownChannel, goods_id: str, *, activity_id: int | None = None) -> str:
    """The path of an offer, in this activity if the visitor's link names it."""
    path = reverse("offer", args=[channel.source, channel.channel, goods_id])
    return _named(path, activity_id)


def buy(channel: KnownChannel, goods_id: str, deed: Deed, *, activity_id: int | None = None) -> str:
    """The path to buy alone or to open a team."""
    path = reverse("buy", args=[channel.source, channel.channel, goods_id, deed.value])
    return _named(path, activity_id)


def calendar(channel: KnownChannel, goods_id: str, *, activity_id: int | None = None) -> str:
    path = reverse("calendar", args=[channel.source, channel.channel, goods_id])
    return _named(path, activity_id)


def team(code: str) -> str:
    return reverse("team", args=[code])


def join(code: str) -> str:
    return reverse("join", args=[code])


def poster(code: str) -> str:
    return reverse("poster", args=[code])


def poster_picture(code: str, language: str) -> str:
    return reverse("poster_picture", args=[code, language])


def team_banner(code: str, language: str) -> str:
    return reverse("team_banner", args=[code, language])


def offer_banner(
    channel: KnownChannel, goods_id: str, language: str, *, activity_id: int | None = None
) -> str:
    path = reverse("offer_banner", args=[channel.source, channel.channel, goods_id, language])
    return _named(path, activity_id)


def order(code: str) -> str:
    return reverse("order", args=[code])


def deal(code: str, deed: Deed) -> str:
    """The path to pay for one's order, to give it back, or to see it at the mall."""
    return reverse("deal", args=[code, deed.value])


def orders(channel: KnownChannel) -> str:
    return reverse("orders", args=[channel.source, channel.channel])


def shop(channel: KnownChannel) -> str:
    """The root of the checkout URL's site; "" without a checkout URL."""
    parts = urlsplit(channel.checkout_url)
    return urlunsplit((parts.scheme, parts.netloc, "/", "", "")) if parts.netloc else ""


def outside(channel: KnownChannel, to: str, back: str) -> str:
    """The signed path of a page that shows WeChat users how to continue in their browser."""
    return reverse("outside", args=[signing.dumps([channel.pk, to, back], salt=OUTSIDE)])


def read_outside(signed: str) -> tuple[int, str, str]:
    """The channel's pk, the checkout URL, and the page that led there. Raises BadSignature."""
    channel_id, to, back = signing.loads(signed, salt=OUTSIDE, max_age=OUTSIDE_FOR)
    return channel_id, to, back


def checkout(channel: KnownChannel, deed: Deed, **named: Any) -> str:
    """The checkout URL with the action and these parameters; "" without a checkout URL."""
    if not channel.checkout_url:
        return ""
    parts = urlsplit(channel.checkout_url)
    wanted = {"action": deed.value, **{name: str(value) for name, value in named.items() if value}}
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *wanted.items()])
    return urlunsplit(parts._replace(query=query))


def _named(path: str, activity_id: int | None) -> str:
    return f"{path}?{urlencode({'activity': activity_id})}" if activity_id else path
