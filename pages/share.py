"""The card that a chat shows beside a shared link, and the calendar entry of an offer's start.

Neither contains anything personal: a shared link has no token, and its card names no user.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.http import HttpRequest
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from pages import links, posters
from pages.drawing import Banner
from pages.offers import OfferView
from pages.states import Bar
from pages.teams import TeamView
from pages.words import dated, money


@dataclass(frozen=True, slots=True)
class Card:
    """The Open Graph properties of a page."""

    title: str
    description: str
    url: str  # absolute
    image: str  # absolute


def offer_card(request: HttpRequest, view: OfferView) -> Card:
    goods_id, asked = view.offer.goods_id, view.asked
    url = request.build_absolute_uri(links.offer(view.channel, goods_id, activity_id=asked))
    language = get_language() or ""
    banner = links.offer_banner(view.channel, goods_id, language, activity_id=asked)
    image = _image(request, banner, posters.offer_banner(view))
    alone = money(view.price.original)
    if not posters.sells_together(view):
        return Card(view.offer.goods_name, alone, url, image)
    people = view.offer.activity.target_count
    title = ngettext(
        "%(n)d person, %(pay)s instead of %(alone)s: %(goods)s",
        "%(n)d people, %(pay)s instead of %(alone)s: %(goods)s",
        people,
    ) % {"n": people, "pay": money(view.price.pay), "alone": alone, "goods": view.offer.goods_name}
    end = dated(view.offer.activity.end_at)
    description = _("Until %(end)s at %(shop)s") % {"end": end, "shop": view.channel.name}
    return Card(title, description, url, image)


def team_card(request: HttpRequest, view: TeamView) -> Card:
    url = request.build_absolute_uri(links.team(view.code))
    banner = links.team_banner(view.code, get_language() or "")
    image = _image(request, banner, posters.team_banner(view))
    if view.bar is Bar.HIDDEN:
        return Card(view.goods_name, view.channel.name, url, image)
    people = view.team.target_count
    title = ngettext(
        "%(n)d person, %(pay)s instead of %(alone)s",
        "%(n)d people, %(pay)s instead of %(alone)s",
        people,
    ) % {
        "n": people,
        "pay": money(view.team.pay_price),
        "alone": money(view.team.original_price),
    }
    if view.team.pay_price == view.team.original_price:
        title = ngettext("team of %(n)s", "team of %(n)s", people) % {"n": people}
    if not posters.is_open(view) or not view.missing:
        return Card(title, view.goods_name, url, image)
    missing = ngettext("%(n)d missing", "%(n)d missing", view.missing) % {"n": view.missing}
    end = _("until %(end)s") % {"end": dated(view.team.expires_at)}
    return Card(f"{title}, {missing}", f"{view.goods_name}, {end}", url, image)


def _image(request: HttpRequest, path: str, banner: Banner) -> str:
    mark = "&" if "?" in path else "?"
    return request.build_absolute_uri(f"{path}{mark}v={posters.version(banner)}")


def reminder(view: OfferView, url: str) -> str:
    """A calendar entry (RFC 5545) for the start of an offer, with an alarm five minutes before."""
    start = view.offer.activity.start_at
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//groupbuy//pages//EN",
        "BEGIN:VEVENT",
        f"UID:{view.offer.goods_id}-{_stamp(start)}@groupbuy",
        f"DTSTAMP:{_stamp(view.now)}",
        f"DTSTART:{_stamp(start)}",
        f"DTEND:{_stamp(start + timedelta(minutes=15))}",
        f"SUMMARY:{_escape(view.offer.goods_name)}",
        f"DESCRIPTION:{_escape(view.channel.name)}",
        f"URL:{url}",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"DESCRIPTION:{_escape(view.offer.goods_name)}",
        "TRIGGER:-PT5M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "".join(f"{_fold(line)}\r\n" for line in lines)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _escape(text: str) -> str:
    for character in "\\;,":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.splitlines())


def _fold(line: str) -> str:
    """Fold a line so that no part has more than the 75 bytes that iCalendar allows."""
    parts, part = [], ""
    for character in line:
        if len((part + character).encode()) > 74:
            parts.append(part)
            part = ""
        part += character
    return "\r\n ".join([*parts, part])
