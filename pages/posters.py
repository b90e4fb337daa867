"""The texts of a team's poster (海报), and of the banner that chats show beside a shared link.

A picture is drawn once for all requests with the same texts, which include the team's standing, the
member who invites, the language and the address. The last AT_MOST pictures stay in memory.
"""

import threading
from hashlib import blake2b

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pages import links, ways
from pages.drawing import Banner, Goods, Poster, draw
from pages.offers import OfferView
from pages.states import Bar, OfferState, Seen, seen_state
from pages.teams import TeamView
from pages.words import dated, money

AT_MOST = 64  # pictures in each process; 40 kB each, 250 kB with a photo
OPEN = (Seen.JOINABLE, Seen.FULL)

kept: dict[Poster | Banner, bytes] = {}
_drawing = threading.Lock()


def drawn(picture: Poster | Banner) -> bytes:
    """The picture as PNG. A lock lets one thread draw, so that no picture is drawn twice."""
    found = kept.get(picture)
    if found is None:
        with _drawing:
            found = kept[picture] = kept.get(picture) or draw(picture)
            while len(kept) > AT_MOST:
                del kept[next(iter(kept))]
    return found


def version(picture: Poster | Banner) -> str:
    """A hash of the texts, for the picture's address: chats cache a picture by its address."""
    return blake2b(repr(picture).encode(), digest_size=4).hexdigest()


def poster(request: HttpRequest, view: TeamView) -> Poster:
    goods, inviting = _of_team(view), is_open(view) and bool(view.inviter)
    return Poster(
        goods=goods,
        inviter=view.inviter if inviting else "",
        invitation=_("invites you") if inviting else "",
        call=_("Scan with a camera, or press and hold it"),
        url=request.build_absolute_uri(links.team(view.code)),
    )


def as_text(poster: Poster) -> str:
    """The poster's text alternative."""
    goods = poster.goods
    parts = (goods.name, goods.price, goods.people, goods.standing, goods.until, goods.shop)
    return ", ".join(part for part in parts if part)


def team_banner(view: TeamView) -> Banner:
    return Banner(_of_team(view))


def offer_banner(view: OfferView) -> Banner:
    alone = money(view.price.original)
    plain = not sells_together(view)
    return Banner(
        Goods(
            shop=view.channel.name,
            name=view.offer.goods_name,
            picture=view.offer.picture,
            price=alone if plain else money(view.price.pay),
            alone="" if plain else alone,
            people="" if plain else _people(view.offer.activity.target_count),
            standing="",
            until="" if plain else _until(dated(view.offer.activity.end_at)),
        )
    )


def sells_together(view: OfferView) -> bool:
    """Has a stranger reason to come for the team price?"""
    over = (Bar.HIDDEN, Bar.NOT_INVITED, Bar.SOLD_OUT, OfferState.ENDED)
    return view.state not in over and view.price.deduction > 0


def _of_team(view: TeamView) -> Goods:
    alone, pay = money(view.team.original_price), money(view.team.pay_price)
    is_hidden = view.bar is Bar.HIDDEN
    return Goods(
        shop=view.channel.name,
        name=view.goods_name,
        picture=view.offer.picture if view.offer else "",
        price=alone if is_hidden else pay,
        alone="" if is_hidden or pay == alone else alone,
        people="" if is_hidden else _people(view.team.target_count),
        standing="" if is_hidden else _standing(view),
        until=_until(dated(view.team.expires_at)) if is_open(view) else "",
    )


def is_open(view: TeamView) -> bool:
    """May somebody join, now or when a seat comes free?"""
    barred = view.bar in (Bar.HIDDEN, Bar.WITHDRAWN, Bar.SOLD_OUT)
    return not barred and seen_state(view.team, now=view.now) in OPEN


def _standing(view: TeamView) -> str:
    match view.bar, seen_state(view.team, now=view.now):
        case _bar, Seen.COMPLETE:
            return _("This team is complete")
        case _bar, Seen.COUNTING | Seen.FAILED:
            return _("Time is up")
        case Bar.WITHDRAWN, _seen:
            return _("This offer is over")
        case Bar.SOLD_OUT, _seen:
            return _("Sold out")
        case _bar, Seen.FULL:
            return _("All seats are taken")
        case _:
            return ways.missing(view)


def _people(count: int) -> str:
    return ngettext("team of %(n)s", "team of %(n)s", count) % {"n": count}


def _until(end: str) -> str:
    return _("until %(end)s") % {"end": end}
