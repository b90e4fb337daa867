"""The state of a team or an order, for the mall that it belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db.models import Model, QuerySet

from groupbuy import rows
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.fields import read_id
from trade.market import countdown
from trade.models import NotifyTask, Order, RefundType, Team

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class TeamProgress:
    team: Team
    members: Sequence[Order]
    countdown: str


@dataclass(frozen=True, slots=True)
class OrderEvent:
    event: str  # locked, paid, team_complete, closed, team_success_delivered, ...
    at: datetime
    kind: str = ""  # RefundType of a team_refund_delivered


@dataclass(frozen=True, slots=True)
class OrderState:
    order: Order
    timeline: Sequence[OrderEvent]


def team_progress(*, channel_id: int, team_id: str, now: datetime) -> TeamProgress:
    """Raises TEAM_NOT_JOINABLE if the channel has no such team."""
    found = Team.objects.filter(channel_id=channel_id, pk=read_id(team_id))
    team = rows.settled(lambda: _first(found, ErrorCode.TEAM_NOT_JOINABLE))
    members = list(team.orders.filter(seat_of__isnull=False).order_by("pk"))
    return TeamProgress(team, members, countdown(team.expires_at, now))


def order_state(*, channel_id: int, out_trade_no: str) -> OrderState:
    """Raises ORDER_NOT_FOUND if the channel has no such order."""
    orders = Order.objects.filter(channel_id=channel_id, out_trade_no=out_trade_no)
    found = orders.select_related("team")
    order = rows.settled(lambda: _first(found, ErrorCode.ORDER_NOT_FOUND))
    return OrderState(order, timeline(order.team, order))


def _first(found: QuerySet[Row], error: ErrorCode) -> Row:
    row = found.first()
    if row is None:
        raise GroupBuyError(error)
    return row


def timeline(team: Team, order: Order) -> list[OrderEvent]:
    """The events of an order, oldest first."""
    moments = [
        ("locked", order.created_at),
        ("paid", order.settled_at),
        ("team_complete", None if order.closed_at else team.completed_at),
        ("closed", order.closed_at),
        ("refund_confirmed", order.refund_at),
    ]
    events = [OrderEvent(event, at) for event, at in moments if at is not None]
    return sorted([*events, *_deliveries(team, order)], key=lambda event: event.at)


def _deliveries(team: Team, order: Order) -> Iterator[OrderEvent]:
    """Of the notifications about the order, which may have been closed and then seated again."""
    if order.status == Order.Status.LOCKED:
        return
    keys = {NotifyTask.refund_key(order.pk, kind): kind.value for kind in RefundType}
    if order.status != Order.Status.CLOSED:
        keys[NotifyTask.success_key(team.pk)] = ""
    for promise in NotifyTask.objects.filter(key__in=keys):
        if promise.delivered_at:
            yield OrderEvent(f"{promise.event}_delivered", promise.delivered_at, keys[promise.key])
