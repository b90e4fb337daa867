"""The only module, besides the outbox's claim, that locks rows.

Lock order is always Team, then Order. A transaction that needs both takes them here, so two
transactions can never wait for each other.
"""

from collections.abc import Collection
from datetime import datetime

from groupbuy import rows
from trade.models import EventCounter, Order, Team


def lock_team_and_order(
    *, channel_id: int, user_id: str, out_trade_no: str
) -> tuple[Team, Order] | None:
    """This user's order and its team, or None. Call inside a transaction; it keeps them locked."""
    found = rows.read(Order, channel_id=channel_id, out_trade_no=out_trade_no)
    if found is None or found.user_id != user_id:
        return None
    team = rows.lock(Team, pk=found.team_id)
    order = rows.lock(Order, pk=found.pk)
    return (team, order) if team and order else None


def lock_hold(*, order_id: int, team_id: int) -> tuple[Team, Order] | None:
    """An order and its team, or None while somebody else works on the team."""
    team = rows.lock(Team, skip_locked=True, pk=team_id)
    order = rows.lock(Order, pk=order_id) if team else None
    return (team, order) if team and order else None


def lock_next_team(*, ended_before: datetime, but_not: Collection[int]) -> Team | None:
    """The forming team that ended first, of those that nobody else works on.

    The order follows the index team_by_end, so only the row that is returned is locked.
    """
    ended = Team.objects.filter(status=Team.Status.FORMING, expires_at__lte=ended_before)
    waiting = ended.exclude(pk__in=but_not).order_by("expires_at")
    return waiting.select_for_update(skip_locked=True).first()


def lock_event_counter(channel_id: int) -> EventCounter:
    """Whose turn it is to number the channel's events. Call inside a transaction."""
    return EventCounter.objects.select_for_update().get(pk=channel_id)
