"""The index query (首页查询): an offer's price, open teams to join, and its statistics."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db.models import Count, Min, Q, QuerySet, Sum
from django.utils import timezone

from activity.catalog import LiveOffer, Price
from activity.trial import TrialQuery, run_trial
from groupbuy import switches
from groupbuy.errors import ErrorCode
from groupbuy.snapshots import Snapshot
from trade import counts, watch
from trade.models import Order, Team
from trade.turns import live_seats

OTHERS = 2  # teams of other shoppers in an answer
LOAD_SHARE = 0.05  # upper bound of the time spent on counting the teams of a huge activity
POOL = 200  # open teams that OTHERS are picked from: teams with a payment, then the soonest to end
OFFERS = 16_384  # whose copies a process keeps


@dataclass(frozen=True, slots=True)
class TeamCard:
    """A team as shown to one shopper, through one of its members."""

    user_id: str
    team_id: int
    activity_id: int
    target_count: int
    complete_count: int
    lock_count: int
    valid_start_time: datetime
    valid_end_time: datetime
    valid_time_countdown: str
    out_trade_no: str | None


class OpenTeam(NamedTuple):
    """A team with a free seat, and a member: the earliest live one, if not said otherwise."""

    team: Team
    user_id: str
    code: str  # of that member's invitation


@dataclass(frozen=True, slots=True)
class Statistic:
    all_team_count: int
    all_team_complete_count: int
    all_team_user_count: int


@dataclass(frozen=True, slots=True)
class Market:
    offer: LiveOffer
    price: Price
    visible: bool
    enable: bool
    team_list: Sequence[TeamCard]
    team_statistic: Statistic


def read_market(query: TrialQuery, *, now: datetime) -> Market:
    """The offer as this shopper sees it.

    Raises the trial's refusals, except OUTSIDE_CROWD, which visible and enable report.
    """
    trial = run_trial(query, now=now)
    offer, price = trial.accept(despite={ErrorCode.OUTSIDE_CROWD})
    return Market(
        offer=offer,
        price=price,
        visible=trial.visible,
        enable=trial.joinable,
        team_list=_teams_for(query.user_id, offer, now),
        team_statistic=statistic(offer.activity.pk),
    )


def open_teams(offer: LiveOffer, *, now: datetime) -> list[OpenTeam]:
    """Joinable teams of the offer: those with a payment first, each kind by its end."""
    pool = _pool(offer.activity.pk, offer.channel_id, offer.goods_id).get()
    return [each for each in pool if _is_open(each.team, now)]


def open_teams_of(user_id: str, offer: LiveOffer, *, now: datetime) -> list[OpenTeam]:
    """Joinable teams of the offer that this shopper is a member of, newest first."""
    orders = _live_orders(offer.activity.pk, user_id).get()
    return [
        OpenTeam(order.team, user_id, order.code)
        for order in reversed(orders)
        if is_of(order, offer) and _is_open(order.team, now)
    ]


def is_of(order: Order, offer: LiveOffer) -> bool:
    """An activity may offer several goods, on several channels."""
    return (order.channel_id, order.goods_id) == (offer.channel_id, offer.goods_id)


def open_counts(channel_id: int) -> dict[tuple[int, str], int]:
    """How many teams of each activity and goods of the channel can be joined."""
    return _counts(channel_id).get()


def statistic(activity_id: int) -> Statistic:
    return _statistic(activity_id).get()


def mask(user_id: str) -> str:
    """xiaofuge -> xi***e; short ids keep their first character only."""
    return f"{user_id[:2]}***{user_id[-1:]}" if len(user_id) > 3 else f"{user_id[:1]}***"


def countdown(end: datetime, now: datetime) -> str:
    """Time left as HH:mm:ss, hours not wrapped at 24. Old pages compare it with the text below."""
    left = int((end - now).total_seconds())
    if left <= 0:
        return "已结束"
    return f"{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"


def _teams_for(user_id: str, offer: LiveOffer, now: datetime) -> list[TeamCard]:
    """The shopper's own team, if there is one, then OTHERS at random."""
    seats = live_seats(activity_id=offer.activity.pk, user_id=user_id)
    mine = _own_teams(user_id, seats, offer, now) if seats else []
    others = [
        (each.team, each.user_id)
        for each in open_teams(offer, now=now)
        if each.team.pk not in seats
    ]
    picked = random.sample(others, min(OTHERS, len(others)))
    return mine[:1] + [_card(team, mask(member), now) for team, member in picked]


def _own_teams(
    user_id: str, team_ids: Collection[int], offer: LiveOffer, now: datetime
) -> list[TeamCard]:
    orders = Order.objects.filter(team_id__in=team_ids, seat_of=user_id).select_related("team")
    return [
        _card(order.team, user_id, now, order.out_trade_no)
        for order in orders.order_by("-pk")
        if is_of(order, offer) and _is_open(order.team, now)
    ]


def _is_open(team: Team, now: datetime) -> bool:
    return team.is_joinable(now) and not team.is_full()


def _card(team: Team, user_id: str, now: datetime, out_trade_no: str | None = None) -> TeamCard:
    return TeamCard(
        user_id=user_id,
        team_id=team.pk,
        activity_id=team.activity_id,
        target_count=team.target_count,
        complete_count=team.paid_count,
        lock_count=team.locked_count,
        valid_start_time=team.created_at,
        valid_end_time=team.expires_at,
        valid_time_countdown=countdown(team.expires_at, now),
        out_trade_no=out_trade_no,
    )


@lru_cache(maxsize=OFFERS)
def _pool(activity_id: int, channel_id: int, goods_id: str) -> Snapshot[list[OpenTeam]]:
    load = partial(_load_pool, activity_id, channel_id, goods_id)
    return Snapshot(load, bypass=switches.caches_off, share=LOAD_SHARE)


@lru_cache(maxsize=1024)
def _live_orders(activity_id: int, user_id: str) -> Snapshot[list[Order]]:
    load = partial(watch.live_orders, activity_id=activity_id, user_id=user_id)
    return Snapshot(load, bypass=switches.caches_off)


@lru_cache(maxsize=1024)
def _counts(channel_id: int) -> Snapshot[dict[tuple[int, str], int]]:
    load = partial(_load_counts, channel_id)
    return Snapshot(load, bypass=switches.caches_off, share=LOAD_SHARE)


@lru_cache(maxsize=OFFERS)
def _statistic(activity_id: int) -> Snapshot[Statistic]:
    load = partial(_load_statistic, activity_id)
    return Snapshot(load, bypass=switches.caches_off, share=LOAD_SHARE)


def _load_pool(activity_id: int, channel_id: int, goods_id: str) -> list[OpenTeam]:
    listed = _listed(activity_id=activity_id, channel_id=channel_id, goods_id=goods_id)
    teams: dict[int, Team] = {}
    for listing in (Team.Listing.PAID, Team.Listing.UNPAID):
        some = listed.filter(listing=listing).order_by("expires_at")[: POOL - len(teams)]
        teams |= {team.pk: team for team in some}
    live = Order.objects.filter(team_id__in=teams, seat_of__isnull=False)  # order_one_seat_per_team
    earliest = [pk for _team, pk in live.values_list("team_id").annotate(Min("pk"))]
    named = Order.objects.filter(pk__in=earliest).values_list("team_id", "user_id", "code")
    members = {pk: member for pk, *member in named}
    return [OpenTeam(team, *members[pk]) for pk, team in teams.items() if pk in members]


def _load_counts(channel_id: int) -> dict[tuple[int, str], int]:
    forming = _listed(status=Team.Status.FORMING, channel_id=channel_id)  # by the index team_by_end
    shown = forming.filter(listing__in=(Team.Listing.PAID, Team.Listing.UNPAID))
    counted = shown.values_list("activity_id", "goods_id").annotate(n=Count("pk"))
    return {(activity, goods): n for activity, goods, n in counted}


def _listed(**where: Any) -> QuerySet[Team]:
    """Teams with these values that have not ended; Team.listing says whether they may be shown."""
    return Team.objects.filter(expires_at__gt=timezone.now(), **where)


def _load_statistic(activity_id: int) -> Statistic:
    """Forming teams are counted, complete ones have stored counts, failed ones no member."""
    forming = Team.objects.filter(activity_id=activity_id, status=Team.Status.FORMING)
    now = forming.aggregate(
        teams=Count("pk", filter=Q(locked_count__gt=0)), users=Sum("locked_count", default=0)
    )
    complete = counts.read(activity_id)
    return Statistic(
        all_team_count=now["teams"] + complete.teams,
        all_team_complete_count=complete.teams,
        all_team_user_count=now["users"] + complete.seats,
    )
