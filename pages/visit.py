"""What a request is about: its channel, its offer or team, and its shopper."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from groupbuy import channels
from groupbuy.channels import KnownChannel
from groupbuy.fields import read_id
from pages import problems
from pages.offers import OfferView, read_offer
from pages.shopper import looking
from pages.teams import TeamView, read_team
from trade import watch
from trade.market import mask
from trade.models import Order
from trade.watch import Watched


def channel_named(source: str, channel: str) -> KnownChannel:
    known = channels.find(source, channel)
    if known is None:
        raise problems.no_such_offer(None)
    return known


def offer_asked(request: HttpRequest, source: str, channel: str, goods_id: str) -> OfferView:
    known = channel_named(source, channel)
    asked = request.GET.get("activity", "")
    view = read_offer(
        known,
        goods_id,
        activity_id=read_id(asked) if asked else None,
        user_id=looking(request, known),
        now=timezone.now(),
    )
    if view is None:
        raise problems.no_such_offer(known)
    return view


def team_asked(request: HttpRequest, code: str, *, fresh: bool) -> TeamView:
    view = read_team(
        code, lambda channel: looking(request, channel), fresh=fresh, now=timezone.now()
    )
    if view is None:
        raise problems.no_such_team()
    return view


def own_order(
    request: HttpRequest, code: str, *, fresh: bool = True
) -> tuple[KnownChannel, Watched, Order | None]:
    """The channel, the team and the visitor's own order; None for an order of somebody else."""
    team_id = watch.team_of(code)
    if team_id is None:
        raise problems.no_such_team()
    watched = watch.read(team_id) if fresh else watch.watch(team_id)
    order, known = watched.order_with(code), channels.get(watched.team.channel_id)
    if order is None or known is None:
        raise problems.no_such_team()
    return known, watched, order if order.user_id == own_id(request, known) else None


def own_id(request: HttpRequest, channel: KnownChannel) -> str:
    """The shopper's user id. Raises ProblemError for a guest, with a link to the shop."""
    user_id = looking(request, channel)
    if not user_id:
        raise problems.not_known(channel)
    return user_id


def in_wechat(request: HttpRequest) -> bool:
    return "MicroMessenger" in request.headers.get("User-Agent", "")


def frame(request: HttpRequest, channel: KnownChannel) -> dict[str, Any]:
    """The context of what every page of a channel shows around its content."""
    user_id = looking(request, channel)
    return {"channel": channel, "shopper": mask(user_id) if user_id else ""}
