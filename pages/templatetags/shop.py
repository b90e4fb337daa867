"""Filters of the pages: money, moments, pictures."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils.html import format_html

from activity import pictures
from groupbuy.channels import KnownChannel
from pages import links, words

register = template.Library()


@register.filter
def money(amount: Decimal) -> str:
    return words.money(amount)


@register.filter
def moment(at: datetime, now: datetime) -> str:
    return words.moment(at, now)


@register.filter
def left(until: datetime, now: datetime) -> str:
    return words.left(until, now)


@register.filter
def ms(at: datetime) -> int:
    """Milliseconds since 1970, as live.js counts."""
    return round(at.timestamp() * 1000)


@register.filter
def letter(name: str) -> str:
    """The first letter of a name, which may begin with a quotation mark."""
    return next((each for each in name if each.isalnum()), name[:1])


@register.filter
def picture(path: str) -> str:
    """The URL of a picture of goods."""
    return pictures.address(path)


@register.filter
def linked(channel: KnownChannel) -> str:
    """The shop's name, as a link to its site if it has a checkout URL."""
    url = links.shop(channel)
    return format_html('<a href="{}">{}</a>', url, channel.name) if url else channel.name
