"""The sums of one day, from the rows of the teams opened and of the orders locked on that day.

A row counts on the day on which it was made. If its figure is shown by another day, the bucket
names that day. So the sums of a day change only with its own rows. The rows of a day are found by
primary key, because ids grow with time; so the timestamps need no index.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet
from django.utils import timezone

from groupbuy.ids import first_id
from trade.models import Order, Team

APART = timedelta(minutes=10)  # at most between the moment of a row and that of its id
STAGES = ("locked", "paid", "complete", "kept")


@dataclass(frozen=True, slots=True)
class Sum:
    count: int = 0
    amount: Decimal = Decimal(0)


@dataclass
class DaySums:
    """(figure, bucket) -> sum. Open: a row of the day may change without a notification."""

    is_open: bool = False
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    amounts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, figure: str, bucket: object, count: int = 1, amount: Any = 0) -> None:
        self.counts[figure, str(bucket)] += count
        self.amounts[figure, str(bucket)] += amount

    def items(self) -> Iterator[tuple[tuple[str, str], Sum]]:
        for key, count in self.counts.items():
            yield key, Sum(count, Decimal(self.amounts[key]))


class TeamRow(NamedTuple):
    pk: int
    activity_id: int
    status: int
    target_count: int
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None
    completed_by_shop: bool


class OrderRow(NamedTuple):
    user_id: str
    activity_id: int
    channel_id: int
    pay_price: Decimal
    status: int
    close_reason: str
    created_at: datetime
    paid_at: datetime | None
    settled_at: datetime | None
    closed_at: datetime | None
    team__status: int
    team__completed_at: datetime | None
    team__completed_by_shop: bool

    @property
    def is_seated(self) -> bool:
        """Whether the payment got a seat: it was neither late nor blacklisted."""
        return self.settled_at is not None and self.close_reason not in Order.WITHOUT_A_SEAT

    @property
    def is_kept(self) -> bool:
        return self.status == Order.Status.PAID and self.team__completed_at is not None

    @property
    def ending(self) -> str:
        """The outcome of the order's team."""
        if self.team__completed_at:
            return "shop" if self.team__completed_by_shop else "team"
        return "waiting" if self.team__status == Team.Status.FORMING else "failed"


def day_of(moment: datetime) -> date:
    return timezone.localtime(moment).date()


def start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))


def sum_day(day: date) -> DaySums:
    sums = DaySums()
    teams = [TeamRow(*row) for row in _made_on(Team, day).values_list(*TeamRow._fields)]
    orders = [OrderRow(*row) for row in _made_on(Order, day).values_list(*OrderRow._fields)]
    sums.is_open = any(team.status == Team.Status.FORMING for team in teams) or any(
        order.team__status == Team.Status.FORMING for order in orders
    )
    _sum_teams(sums, teams)
    _sum_stalled(sums, teams)
    for order in orders:
        _sum_order(sums, order)
    _sum_stages(sums, orders)
    return sums


def _made_on(model: type[Model], day: date) -> QuerySet[Any]:
    start, end = start_of(day), start_of(day + timedelta(days=1))
    return model._default_manager.filter(
        pk__gte=first_id(start - APART),
        pk__lt=first_id(end + APART),
        created_at__gte=start,
        created_at__lt=end,
    )


def _sum_teams(sums: DaySums, teams: list[TeamRow]) -> None:
    """Sum the teams by outcome, by lifetime, and by the day on which they completed."""
    failed_at = _failed_at(teams)
    for team in teams:
        ending = ending_of(team)
        sums.add("teams", ending)
        sums.add("activity", f"{team.activity_id}:{ending}")
        if team.completed_at:
            sums.add("completed", f"{day_of(team.completed_at)} {ending}")
        if ending != "running":
            end = team.completed_at or failed_at[team.pk]
            kind = "full" if ending == "team" else "ended"
            sums.add("life", f"{team.target_count}:{lived(end - team.created_at)}:{kind}")


def _failed_at(teams: list[TeamRow]) -> dict[int, datetime]:
    """The end of each failed team: if an operator ended it early, its orders were closed then."""
    ends = {team.pk: team.expires_at for team in teams if ending_of(team) == "failed"}
    if not ends:
        return {}
    orders = Order.objects.filter(team_id__gte=min(ends), team_id__lte=max(ends))
    closed = orders.filter(close_reason=Order.CloseReason.TEAM_ENDED)
    for team_id, at in closed.values_list("team_id", "closed_at"):
        if at and team_id in ends:
            ends[team_id] = min(ends[team_id], at)
    return ends


def ending_of(team: TeamRow) -> str:
    if team.completed_at:
        return "shop" if team.completed_by_shop else "team"
    return "running" if team.status == Team.Status.FORMING else "failed"


def lived(age: timedelta) -> int:
    """Minutes, rounded up: to 1 below two hours, to 10 below a day, to 60 above."""
    minutes = -(-age // timedelta(minutes=1))
    step = 1 if minutes <= 120 else 10 if minutes <= 24 * 60 else 60
    return -(-minutes // step) * step


def _sum_stalled(sums: DaySums, teams: list[TeamRow]) -> None:
    """Sum the teams that ended before they were full, by size and paid seats at that time."""
    stalled = {team.pk: team for team in teams if ending_of(team) in ("shop", "failed")}
    if not stalled:
        return
    paid = Order.objects.filter(team_id__gte=min(stalled), team_id__lte=max(stalled))
    paid = paid.exclude(settled_at=None)
    filled: Counter[int] = Counter()
    for team_id, reason, closed_at in paid.values_list("team_id", "close_reason", "closed_at"):
        team = stalled.get(team_id)
        if team is None or reason in Order.WITHOUT_A_SEAT:
            continue
        if team.completed_at:
            filled[team_id] += closed_at is None or closed_at >= team.completed_at
        else:
            filled[team_id] += reason == Order.CloseReason.TEAM_ENDED
    for team in stalled.values():
        sums.add("stalled", f"{team.target_count}:{filled[team.pk]}")


def _sum_order(sums: DaySums, order: OrderRow) -> None:
    sums.add("seats", "held")
    sums.add("hours", f"{timezone.localtime(order.created_at):%H}")
    if order.settled_at and order.is_seated:
        kind = f"{day_of(order.settled_at)} {order.ending}"
        sums.add("settled", kind, amount=order.pay_price)
        sums.add("activity", f"{order.activity_id}:settled", amount=order.pay_price)
        sums.add("seats", "paid")
        sums.add("wait", int((order.settled_at - order.created_at) / timedelta(minutes=1)))
    elif order.closed_at:
        sums.add("seats", "released")
    if order.paid_at and order.closed_at:
        kind = f"{day_of(order.closed_at)} {order.close_reason}"
        sums.add("returned", kind, amount=order.pay_price)
        sums.add("activity", f"{order.activity_id}:returned", amount=order.pay_price)


def _sum_stages(sums: DaySums, orders: list[OrderRow]) -> None:
    """Count shoppers, each once in a stage: overall, by channel and by activity."""
    reached: defaultdict[str, set[str]] = defaultdict(set)
    for order in orders:
        is_complete = order.is_seated and order.team__completed_at and _was_in(order)
        facts = (True, order.is_seated, is_complete, order.is_kept)
        scopes = ("all", f"channel:{order.channel_id}", f"activity:{order.activity_id}")
        for stage, fact in zip(STAGES, facts, strict=True):
            for scope in scopes if fact else ():
                reached[f"{scope}:{stage}"].add(order.user_id)
    for bucket, shoppers in reached.items():
        sums.add("stages", bucket, len(shoppers))


def _was_in(order: OrderRow) -> bool:
    """Whether the order had a seat when its team completed."""
    completed_at = order.team__completed_at
    return completed_at is not None and (order.closed_at is None or order.closed_at >= completed_at)
