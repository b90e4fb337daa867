"""The row locks of trade: a team before its orders, always.

A change of an order needs its team's lock, so the order itself is not locked. It is read, and the
change is conditional on the state that was read (Order.state, rows.update).
"""

from collections.abc import Collection
from datetime import datetime

from activity.models import Activity
from groupbuy import rows
from trade.models import EventCounter, Order, Team


def lock_team_of(*, channel_id: int, user_id: str, out_trade_no: str) -> tuple[Team, Order] | None:
    """This user's order and its locked team, or None. Call inside a transaction.

    The order is read before the team is locked, so it may have changed in between.
    """
    order = rows.read(Order, channel_id=channel_id, out_trade_no=out_trade_no)
    if order is None or order.user_id != user_id:
        return None
    team = rows.lock(Team, pk=order.team_id)
    return (team, order) if team else None


def require_unchanged(order: Order) -> None:
    """Raise StaleRowError if the order has changed between lock_team_of()'s two statements."""
    now = rows.read(Order, pk=order.pk)
    if now is None or now.state != order.state:
        raise rows.StaleRowError(f"order {order.pk} is no longer {order.state}")


def lock_team(team_id: int) -> Team | None:
    return rows.lock(Team, pk=team_id)


def lock_team_of_hold(*, order_id: int, team_id: int) -> tuple[Team, Order] | None:
    """An order and its locked team, or None while another transaction has locked the team."""
    team = rows.lock(Team, skip_locked=True, pk=team_id)
    order = rows.read(Order, pk=order_id) if team else None
    return (team, order) if team and order else None


def lock_next_team(*, ended_before: datetime, but_not: Collection[int]) -> Team | None:
    """The forming team that ended first, of those that no other transaction has locked.

    The order follows the index team_by_end, so only the row that is returned is locked.
    """
    ended = Team.objects.filter(status=Team.Status.FORMING, expires_at__lte=ended_before)
    waiting = ended.exclude(pk__in=but_not).order_by("expires_at")
    return waiting.select_for_update(skip_locked=True).first()


def lock_forming_team(*, activity_id: int, but_not: Collection[int]) -> Team | None:
    """A forming team of the activity that no other transaction has locked."""
    forming = Team.objects.filter(activity=activity_id, status=Team.Status.FORMING)
    waiting = forming.exclude(pk__in=but_not).order_by("expires_at")
    return waiting.select_for_update(skip_locked=True).first()


def lock_activity(activity_id: int) -> Activity | None:
    """The activity, locked; new teams of it wait. Call inside a transaction."""
    return rows.lock(Activity, pk=activity_id)


def lock_event_counter(channel_id: int) -> EventCounter:
    """Make this transaction the only one that numbers the channel's events."""
    return EventCounter.objects.select_for_update().get(pk=channel_id)
