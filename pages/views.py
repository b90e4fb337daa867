"""The views of the shopper pages: read the rows, choose the texts of their state, render."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone, translation
from django.views.decorators.http import conditional_page
from django.views.decorators.vary import vary_on_headers

from pages import (
    links,
    offer_panels,
    order_panels,
    orders,
    posters,
    problems,
    rules,
    share,
    team_panels,
)
from pages.drawing import Banner, Poster
from pages.frame import Look, is_poll, live, page
from pages.offers import OfferView, read_wall
from pages.orders import Tab
from pages.shopper import looking
from pages.teams import TeamView
from pages.visit import (
    channel_named,
    frame,
    in_wechat,
    offer_asked,
    own_id,
    own_order,
    team_asked,
)
from trade.progress import timeline


@page
def wall(request: HttpRequest, source: str, channel: str) -> HttpResponse:
    known = channel_named(source, channel)
    rows = read_wall(known, user_id=looking(request, known), now=timezone.now())
    return render(request, "pages/wall.html", frame(request, known) | {"rows": rows})


@page
def offer(request: HttpRequest, source: str, channel: str, goods_id: str) -> HttpResponse:
    def look() -> Look:
        view = offer_asked(request, source, channel, goods_id)
        return Look(view.version(), partial(offer_context, request, view))

    return live(request, "offer", look)


@page
def calendar(request: HttpRequest, source: str, channel: str, goods_id: str) -> HttpResponse:
    view = offer_asked(request, source, channel, goods_id)
    if not view.is_shown:
        raise problems.no_such_offer(view.channel)
    url = request.build_absolute_uri(links.offer(view.channel, goods_id, activity_id=view.asked))
    response = HttpResponse(share.reminder(view, url), content_type="text/calendar; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="reminder.ics"'
    return response


@page
def team(request: HttpRequest, code: str) -> HttpResponse:
    def look() -> Look:
        view = team_asked(request, code, fresh=not is_poll(request))
        return Look(view.version(), partial(_team_context, request, view))

    return live(request, "team", look)


@page
@vary_on_headers("User-Agent")  # see in_wechat
def poster(request: HttpRequest, code: str) -> HttpResponse:
    view = team_asked(request, code, fresh=False)
    drawing, language = posters.poster(request, view), translation.get_language() or ""
    context = {
        "view": view,
        "picture": f"{links.poster_picture(code, language)}?v={posters.version(drawing)}",
        "words": posters.as_text(drawing),
        "back": links.team(code),
        "wechat": in_wechat(request),
    }
    return render(request, "pages/poster.html", frame(request, view.channel) | context)


@page
@conditional_page
def poster_picture(request: HttpRequest, code: str, language: str) -> HttpResponse:
    view = team_asked(request, code, fresh=False)
    response = _picture(language, lambda: posters.poster(request, view))
    if "save" in request.GET:
        response["Content-Disposition"] = f'attachment; filename="{code}.png"'
    return response


@page
@conditional_page
def team_banner(request: HttpRequest, code: str, language: str) -> HttpResponse:
    view = team_asked(request, code, fresh=False)
    return _picture(language, lambda: posters.team_banner(view))


@page
@conditional_page
def offer_banner(
    request: HttpRequest, source: str, channel: str, goods_id: str, language: str
) -> HttpResponse:
    view = offer_asked(request, source, channel, goods_id)
    return _picture(language, lambda: posters.offer_banner(view))


@page
def my_orders(request: HttpRequest, source: str, channel: str) -> HttpResponse:
    known, now = channel_named(source, channel), timezone.now()
    user_id = own_id(request, known)
    asked = request.GET.get("tab", "")
    tab = Tab(asked) if asked in list(Tab) else Tab.ALL
    found = orders.read_orders(known, user_id, tab=tab, after=request.GET.get("after", ""), now=now)
    context = frame(request, known) | order_panels.listed(known, found, tab) | {"now": now}
    return render(request, "pages/orders.html", context)


@page
def order(request: HttpRequest, code: str) -> HttpResponse:
    known, watched, found = own_order(request, code, fresh=not is_poll(request))
    if found is None:
        return HttpResponseRedirect(links.team(code))
    said_paid = "paid" in request.GET
    view = orders.view_order(known, watched, found, said_paid=said_paid, now=timezone.now())
    # Until the order or its team has ended, every event of the order changes the view's version.
    ended = found.closed_at or view.team.completed_at
    events = [each.event for each in timeline(view.team, found)] if ended else []
    look = Look((view.version(), events), partial(_order_context, request, view))
    return live(request, "order", lambda: look)


@page
def order_by_number(request: HttpRequest, source: str, channel: str) -> HttpResponse:
    """Redirect to the page of the order with this number of the mall's, for links from the mall."""
    known = channel_named(source, channel)
    user_id = own_id(request, known)
    found = orders.find_by_number(known, user_id, request.GET.get("no", ""))
    if found is None:
        raise problems.no_such_order(known)
    paid = "?paid=1" if "paid" in request.GET else ""
    return HttpResponseRedirect(links.order(found.code) + paid)


def _picture(language: str, texts: Callable[[], Poster | Banner]) -> HttpResponse:
    """Draw what texts() returns in this language. The ETag lets a browser revalidate each time."""
    if language not in dict(settings.LANGUAGES):
        raise Http404
    with translation.override(language):
        content = posters.drawn(texts())
    return HttpResponse(
        content, content_type="image/png", headers={"Cache-Control": "private, no-cache"}
    )


def _order_context(request: HttpRequest, view: TeamView) -> dict[str, Any]:
    assert view.own is not None  # own_order() has found it
    history = timeline(view.team, view.own)
    return frame(request, view.channel) | order_panels.context(view, view.own, history)


def offer_context(request: HttpRequest, view: OfferView) -> dict[str, Any]:
    return frame(request, view.channel) | {
        "view": view,
        "panel": offer_panels.panel(view),
        "rules": rules.of_offer(view),
        "card": share.offer_card(request, view),
    }


def _team_context(request: HttpRequest, view: TeamView) -> dict[str, Any]:
    return frame(request, view.channel) | {
        "view": view,
        "panel": team_panels.panel(view),
        "rules": rules.of_team(view),
        "card": share.team_card(request, view),
    }
