"""Metrics (监控指标) and log of the trade: what was committed, and what waits.

A use case calls the count_…() functions in its transaction; after the commit each of them counts
and writes a line of log. Money is counted in fen. figures() reads the metrics of a scrape that only
the database has; an index serves each query, and counting stops at MOST.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from groupbuy import channels, metrics, tracing
from trade.models import NotifyAttempt, NotifyTask, Order, RefundType, Team

logger = logging.getLogger(__name__)

MOST = 100_000  # rows that a scrape counts
MOST_ENDPOINTS = 100  # endpoints that a process names; the others are one
LATE_REFUND = timedelta(hours=1)
MINUTES = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200)  # in seconds

State = NotifyTask.State

LOCKS = Counter("gbm_locks", "Seats locked.", ["kind"])
LOCKED_FEN = Counter("gbm_locked_fen", "Prices of locked seats.")
PAYMENTS = Counter("gbm_payments", "Payments reported, by what became of them.", ["outcome"])
PAYMENTS_FEN = Counter("gbm_payments_fen", "The same in fen, without repeats.", ["outcome"])
CLOSED = Counter("gbm_orders_closed", "Orders closed, which frees their seats.", ["reason"])
REFUNDS = Counter("gbm_refunds", "Refund notifications promised.", ["kind"])
REFUNDS_FEN = Counter("gbm_refunds_fen", "Money that malls were asked to pay back.", ["kind"])
COMPLETIONS = Counter("gbm_completions", "Teams completed.", ["by"])
COMPLETED_SEATS = Counter("gbm_completed_seats", "Paid seats of teams when they completed.")
FAILURES = Counter("gbm_team_failures", "Teams that ended without completing.")
ATTEMPTS = Counter("gbm_notification_attempts", "Callbacks sent.", ["endpoint", "outcome"])
ATTEMPT_SECONDS = Histogram(
    "gbm_notification_attempt_seconds", "Duration of a callback.", buckets=metrics.SECONDS
)
DELIVERY_SECONDS = Histogram(
    "gbm_notification_delivery_seconds", "From the promise to its delivery.", buckets=MINUTES
)
BROKEN = Gauge(
    "gbm_invariants_broken",
    "Invariants that the last check_invariants found broken.",
    multiprocess_mode="mostrecent",
)
NUDGES = Counter("gbm_nudges", "Nudges for the workers.", ["outcome"])

_endpoints: set[str] = set()


def count_lock(order: Order, *, opened: bool) -> None:
    def count() -> None:
        LOCKS.labels("open" if opened else "join").inc()
        LOCKED_FEN.inc(_fen(order.pay_price))
        _log("seat locked", order)

    _after_commit(count)


def count_payment(order: Order, outcome: str) -> None:
    """outcome: the name of a settle.Payment."""

    def count() -> None:
        PAYMENTS.labels(outcome).inc()
        if not outcome.endswith(("repeated", "refunded")):
            PAYMENTS_FEN.labels(outcome).inc(_fen(order.pay_price))
        _log(f"payment {outcome}", order, outcome=outcome)

    _after_commit(count)


def count_closing(order: Order, kind: RefundType) -> None:
    def count() -> None:
        CLOSED.labels(order.close_reason).inc()
        REFUNDS.labels(kind.value).inc()
        if kind is not RefundType.UNPAID_UNLOCK:
            REFUNDS_FEN.labels(kind.value).inc(_fen(order.pay_price))
        _log(f"order closed: {order.close_reason}", order, outcome=order.close_reason)

    _after_commit(count)


def count_completion(team: Team) -> None:
    def count() -> None:
        COMPLETIONS.labels("shop" if team.completed_by_shop else "members").inc()
        COMPLETED_SEATS.inc(team.paid_count)
        by = "by the shop" if team.completed_by_shop else "by its members"
        logger.info("team complete %s", by, extra=_about(team))

    _after_commit(count)


def count_failure(team: Team) -> None:
    def count() -> None:
        FAILURES.inc()
        logger.info("team failed", extra=_about(team))

    _after_commit(count)


def count_attempt(attempt: NotifyAttempt, *, is_last: bool) -> None:
    """Count an attempt. Call after its commit. is_last: if it has failed, no other one follows."""
    outcome = "delivered" if not attempt.error else "given_up" if is_last else "failed"
    ATTEMPTS.labels(_named(attempt.task.endpoint), outcome).inc()
    ATTEMPT_SECONDS.observe(attempt.duration_ms / 1000)
    _log_attempt(attempt, outcome)
    if outcome == "delivered":
        waited = attempt.started_at - attempt.task.created_at
        DELIVERY_SECONDS.observe(waited.total_seconds() + attempt.duration_ms / 1000)


def figures() -> Iterator[Metric]:
    """The rows that wait, and for how long."""
    now = timezone.now()
    waiting = GaugeMetricFamily(
        "gbm_notifications", "Notifications that are not delivered.", labels=["state"]
    )
    for state in (State.NEW, State.RETRYING, State.GIVEN_UP):
        rows = NotifyTask.objects.filter(state=state)
        waiting.add_metric([state.name.lower()], _count(rows))
    yield waiting
    undelivered = NotifyTask.objects.filter(state__in=[State.NEW, State.RETRYING, State.GIVEN_UP])
    late = undelivered.filter(
        event=NotifyTask.Event.TEAM_REFUND, created_at__lt=now - LATE_REFUND
    ).exclude(key__endswith=RefundType.UNPAID_UNLOCK)
    yield GaugeMetricFamily(
        "gbm_late_refunds", "Refunds of money not delivered for an hour.", _count(late)
    )
    forming = Team.objects.filter(status=Team.Status.FORMING)
    yield GaugeMetricFamily("gbm_teams_forming", "Teams that form.", _count(forming))
    holds = Order.objects.filter(status=Order.Status.LOCKED, close_reason="")
    yield GaugeMetricFamily("gbm_holds", "Orders that wait for payment.", _count(holds))
    lag = GaugeMetricFamily(
        "gbm_overdue_seconds", "How long the oldest row has been due.", labels=["rows"]
    )
    for name, queue, column in (
        ("notifications", NotifyTask.objects.exclude(next_attempt_at=None), "next_attempt_at"),
        ("holds", holds, "pay_deadline"),
        ("teams", forming, "expires_at"),
    ):
        due = queue.order_by(column).values_list(column, flat=True).first()
        lag.add_metric([name], max(0.0, (now - due).total_seconds()) if due else 0)
    yield lag


def _log(message: str, order: Order, **fields: Any) -> None:
    about = {"order": order.out_trade_no, "order_id": str(order.pk), "shopper": order.user_id}
    logger.info(message, extra=about | _about(order) | fields)


def _about(row: Order | Team) -> dict[str, Any]:
    return {
        "team": str(row.team_id if isinstance(row, Order) else row.pk),
        "activity": str(row.activity_id),
        "goods": row.goods_id,
        "channel": _name(channels.get(row.channel_id)),
    }


def _name(channel: channels.KnownChannel | None) -> str:
    return f"{channel.source}/{channel.channel}" if channel else ""


def _log_attempt(attempt: NotifyAttempt, outcome: str) -> None:
    """Log an attempt in the trace of its promise, whichever worker has sent it."""
    task = attempt.task
    channel, payload = channels.get(task.channel_id), orjson.loads(task.payload)
    fields = {
        "notification": task.key,
        "attempt": attempt.number,
        "outcome": outcome,
        "order": payload.get("outTradeNo") or payload.get("outTradeNoList"),
        "order_id": payload.get("orderId"),
        "team": payload.get("teamId"),
        "channel": _name(channel),
        "duration": attempt.duration_ms * 1_000_000,
        tracing.HEADER: task.traceparent,
    }
    level = {"delivered": logging.INFO, "failed": logging.WARNING}.get(outcome, logging.ERROR)
    text = f": {attempt.error}" if attempt.error else ""
    logger.log(level, "notification %s %s%s", task, outcome.replace("_", " "), text, extra=fields)


def _after_commit(count: Callable[[], Any]) -> None:
    transaction.on_commit(count, robust=True)


def _fen(price: Decimal) -> int:
    return int(price * 100)


def _named(endpoint: str) -> str:
    if endpoint not in _endpoints and len(_endpoints) >= MOST_ENDPOINTS:
        return "others"
    _endpoints.add(endpoint)
    return endpoint


def _count(rows: QuerySet[Any]) -> int:
    return rows.order_by()[:MOST].count()


metrics.FIGURES.append(figures)
