"""Expiry (超时): unpaid holds past their deadline, teams and activities past their end.

Sweeps read what is due from the database; there are no timers in memory. Any number of workers
share the work, and the rows of a dead worker become free again. Each order and each team has a
transaction of its own, so a failure of one does not block the others.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import OperationalError, transaction
from django.db.models import Exists, F, OuterRef, Q

from activity.models import Activity
from groupbuy import changes, rows
from trade import metrics
from trade.endings import close_order, complete_team
from trade.models import Order, Team
from trade.refund import decide
from trade.rowlocks import lock_forming_team, lock_next_team, lock_team_of_hold

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=2)  # for payments made in time whose settlement is still to arrive
SWEEP = 20  # seconds until a sweep stops; the next one continues
WINDOW = 500  # due holds read at once; each worker shuffles them


def close_overdue_holds(*, clock: Callable[[], datetime]) -> int:
    """Close unpaid orders past their deadline; return how many.

    A hold that ends with its team is closed with it: the payment may still arrive during GRACE.
    """
    closed, failed, collided = 0, set[int](), set[int]()
    stop = time.monotonic() + SWEEP
    while time.monotonic() < stop:
        held = Order.objects.filter(status=Order.Status.LOCKED, close_reason="")  # order_by_state
        due = held.filter(pay_deadline__lte=clock(), pay_deadline__lt=F("team__expires_at"))
        window = due.exclude(pk__in=failed).order_by("pay_deadline")
        holds = list(window.values_list("pk", "team_id")[:WINDOW])
        random.shuffle(holds)
        before = closed, len(failed)
        for order_id, team_id in holds:
            try:
                closed += _close_hold(order_id, team_id, now=clock())
            except Exception as exc:  # noqa: BLE001  one order's failure blocks no other
                _skip(order_id, failed, collided, exc)
        if (closed, len(failed)) == before:
            break
    _report(collided)
    return closed


def end_overdue_teams(*, clock: Callable[[], datetime]) -> int:
    """Complete or fail the teams that are past their end and GRACE; return how many."""

    def next_team(but_not: set[int]) -> Team | None:
        return lock_next_team(ended_before=clock() - GRACE, but_not=but_not)

    return _sweep(next_team, _end_team, clock, stop=time.monotonic() + SWEEP)


def fail_teams_of_closed(*, clock: Callable[[], datetime]) -> int:
    """Fail the forming teams of activities that were closed with their money back; return how many.

    A later run also fails a team that was opened while its activity was being closed.
    """
    forming = Team.objects.filter(activity=OuterRef("pk"), status=Team.Status.FORMING)
    closed = Activity.objects.filter(
        Exists(forming), status=Activity.Status.ABANDONED, gives_back=True
    )
    fail, stop = partial(end_team, completes=False), time.monotonic() + SWEEP
    return sum(
        _sweep(partial(_next_forming, activity_id), fail, clock, stop=stop)
        for activity_id in closed.values_list("pk", flat=True)
    )


def _next_forming(activity_id: int, but_not: set[int]) -> Team | None:
    return lock_forming_team(activity_id=activity_id, but_not=but_not)


def _sweep(
    next_team: Callable[[set[int]], Team | None],
    end: Callable[..., None],
    clock: Callable[[], datetime],
    *,
    stop: float,
) -> int:
    """End one team after the other, each in a transaction of its own; return how many.

    It stops when time.monotonic() reaches `stop`.
    """
    ended, failed, collided = 0, set[int](), set[int]()
    while time.monotonic() < stop:
        team_id = 0
        try:
            with transaction.atomic(durable=True):
                team = next_team(failed)
                if team is None:
                    break
                team_id = team.pk
                end(team, now=clock())
            ended += 1
        except Exception as exc:
            if not team_id and not isinstance(exc, OperationalError):
                raise  # the look-up failed, and would fail again until the sweep stops
            _skip(team_id, failed, collided, exc)  # one team's failure blocks no other
    _report(collided)
    return ended


def expire_activities(*, now: datetime) -> int:
    """Mark activities past their end as expired; return how many.

    A paused one waits until none of its teams is forming: teams of an expired one take members.
    """
    in_effect, paused = Activity.Status.IN_EFFECT, Activity.Status.PAUSED
    over = Activity.objects.filter(end_at__lte=now)
    forming = Team.objects.filter(activity=OuterRef("pk"), status=Team.Status.FORMING)
    done = list(over.filter(~Exists(forming), status=paused).values_list("pk", flat=True))
    over = over.filter(Q(status=in_effect) | Q(status=paused, pk__in=done))
    expired = over.update(status=Activity.Status.EXPIRED)
    if expired:
        changes.announce()
    return expired


def _skip(row_id: int, failed: set[int], collided: set[int], exc: Exception) -> None:
    """Leave the row to the next sweep. Raises, and ends the sweep, if the database is down."""
    if isinstance(exc, OperationalError | rows.StaleRowError):
        if not rows.is_collision(exc):
            raise exc
        collided.add(row_id)
    else:
        logger.error("order or team %s could not be ended", row_id, exc_info=exc)
    failed.add(row_id)


def _report(collided: set[int]) -> None:
    """Log collisions: on a cluster SKIP LOCKED does not see the locks of workers at other nodes."""
    if collided:
        logger.warning("%d orders or teams were changed elsewhere meanwhile", len(collided))


def _close_hold(order_id: int, team_id: int, *, now: datetime) -> bool:
    with transaction.atomic(durable=True):
        found = lock_team_of_hold(order_id=order_id, team_id=team_id)
        if found is None:
            return False
        team, order = found
        if order.status != Order.Status.LOCKED or order.pay_deadline > now:
            return False  # paid or closed since it was read
        _close(team, order, Order.CloseReason.HOLD_TIMEOUT, now=now)
    return True


def _end_team(team: Team, *, now: datetime) -> None:
    """Complete a team with a payment if the shop completes such teams; fail it otherwise."""
    by_shop = team.group_type == Activity.GroupType.SHOP_COMPLETES and team.paid_count > 0
    end_team(team, completes=by_shop, now=now)


def end_team(team: Team, *, completes: bool, now: datetime) -> None:
    """Complete a locked, forming team with those who have paid, or fail it and close all orders."""
    live = team.orders.exclude(status=Order.Status.CLOSED).order_by("pk")
    for order in live.filter(status=Order.Status.LOCKED) if completes else live:
        _close(team, order, Order.CloseReason.TEAM_ENDED, now=now)
    if completes:
        complete_team(team, by_shop=True, now=now)
    else:
        team.status = Team.Status.FAILED
        rows.update(team, "status")
        metrics.count_failure(team)


def _close(team: Team, order: Order, reason: Order.CloseReason, *, now: datetime) -> None:
    kind = decide(Team.Status(team.status), Order.Status(order.status))
    assert kind is not None  # a live order of a forming team
    close_order(team, order, kind, reason, now=now)
