"""Time: holds that were not paid, teams and activities whose end has come.

Everything is read from the database when it is due, never from a timer in memory: any number
of workers share the work, and what a dead one held comes back by itself. Each order and each
team is a transaction of its own, so one that fails blocks no other.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import OperationalError, transaction

from activity.models import Activity
from groupbuy import changes, rows
from trade.endings import close_order, complete_team
from trade.models import Order, Team
from trade.notify import nudges
from trade.refund import decide
from trade.rowlocks import lock_next_team, lock_team_of_hold

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=2)  # for payments made in time that are still on their way
SWEEP = 20  # seconds after which a sweep leaves the rest to the next one
WINDOW = 500  # due holds looked at at once; workers take them in different orders


def close_overdue_holds(*, clock: Callable[[], datetime]) -> int:
    """Close the orders whose time to pay is over; return how many."""
    closed, failed = 0, set[int]()
    stop = time.monotonic() + SWEEP
    while time.monotonic() < stop:
        due = Order.objects.filter(status=Order.Status.LOCKED, pay_deadline__lte=clock())
        window = due.exclude(pk__in=failed).order_by("pay_deadline")
        holds = list(window.values_list("pk", "team_id")[:WINDOW])
        random.shuffle(holds)
        before = closed
        with nudges.bundled():
            for order_id, team_id in holds:
                try:
                    closed += _close_hold(order_id, team_id, now=clock())
                except Exception as exc:  # noqa: BLE001  one order's failure blocks no other
                    _skip(order_id, failed, exc)
        if closed == before:
            break
    return closed


def end_overdue_teams(*, clock: Callable[[], datetime]) -> int:
    """Complete or fail the teams whose end and grace have passed; return how many."""
    with nudges.bundled():
        return _end_overdue_teams(clock)


def expire_activities(*, now: datetime) -> int:
    """Mark the activities whose end has passed; return how many."""
    over = Activity.objects.filter(status=Activity.Status.IN_EFFECT, end_at__lte=now)
    expired = over.update(status=Activity.Status.EXPIRED)
    if expired:
        changes.announce()
    return expired


def _end_overdue_teams(clock: Callable[[], datetime]) -> int:
    ended, failed = 0, set[int]()
    stop = time.monotonic() + SWEEP
    while time.monotonic() < stop:
        now, team_id = clock(), 0
        try:
            with transaction.atomic(durable=True):
                team = lock_next_team(ended_before=now - GRACE, but_not=failed)
                if team is None:
                    break
                team_id = team.pk
                _end_team(team, now=now)
            ended += 1
        except Exception as exc:  # noqa: BLE001  one team's failure blocks no other
            _skip(team_id, failed, exc)
    return ended


def _skip(row_id: int, failed: set[int], exc: Exception) -> None:
    """Leave this row to the next sweep; a database that is away ends this one."""
    if isinstance(exc, OperationalError) and not rows.is_collision(exc):
        raise exc
    logger.error("order or team %s could not be ended", row_id, exc_info=exc)
    failed.add(row_id)


def _close_hold(order_id: int, team_id: int, *, now: datetime) -> bool:
    with transaction.atomic(durable=True):
        found = lock_team_of_hold(order_id=order_id, team_id=team_id)
        if found is None:
            return False
        team, order = found
        if order.status != Order.Status.LOCKED or order.pay_deadline > now:
            return False  # paid, or closed by somebody else, since we looked
        _close(team, order, Order.CloseReason.HOLD_TIMEOUT, now=now)
    return True


def _end_team(team: Team, *, now: datetime) -> None:
    """The shop completes a team of its kind that anybody has paid for; all others fail."""
    by_shop = team.group_type == Activity.GroupType.SHOP_COMPLETES and team.paid_count > 0
    live = team.orders.exclude(status=Order.Status.CLOSED).order_by("pk")
    for order in live.filter(status=Order.Status.LOCKED) if by_shop else live:
        _close(team, order, Order.CloseReason.TEAM_ENDED, now=now)
    if by_shop:
        complete_team(team, by_shop=True, now=now)
    else:
        team.status = Team.Status.FAILED
        rows.update(team, "status")


def _close(team: Team, order: Order, reason: Order.CloseReason, *, now: datetime) -> None:
    kind = decide(Team.Status(team.status), Order.Status(order.status))
    assert kind is not None  # a live order of a forming team
    close_order(team, order, kind, reason, now=now)
