"""Notifications of an imported team: the source's, and those that the source failed to make."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from groupbuy import switches
from groupbuy.fields import read_id
from trade.endings import refund_promise, success_promise
from trade.importing.plan import CLOSED, PAID, Plan
from trade.importing.report import Finding
from trade.importing.source import Row
from trade.models import NotifyTask, Order, RefundType

DELIVERED, GIVEN_UP = NotifyTask.State.DELIVERED, NotifyTask.State.GIVEN_UP


def notified_at(plan: Plan) -> datetime | None:
    """When the source promised the mall that the team is complete."""
    return min((row["create_time"] for row in _success_tasks(plan)), default=None)


def completed_at(plan: Plan) -> datetime:
    """When a complete team completed: its notification's time, else its last payment."""
    paid = [order.paid_at for order in plan.orders if order.paid_at]
    return notified_at(plan) or max(paid, default=plan.team.expires_at)


def add_promises(plan: Plan) -> None:
    """Add the notifications that the platform itself would have made for the team."""
    team = plan.team
    if team.completed_at:
        numbers = [order.out_trade_no for order in plan.live(PAID)]
        promise = success_promise(team, numbers, now=team.completed_at)
        _add(plan, promise, _success_tasks(plan))
    for order in plan.live(CLOSED):
        _add(plan, _refund(plan, order), refund_tasks(plan, order))


def _refund(plan: Plan, order: Order) -> NotifyTask:
    assert order.closed_at is not None
    kind = RefundType.UNPAID_UNLOCK
    if order.paid_at:
        completed_at = plan.team.completed_at
        formed = completed_at is not None and completed_at < order.closed_at
        kind = RefundType.PAID_FORMED if formed else RefundType.PAID_UNFORMED
    url = plan.team.channel.refund_notify_url
    return refund_promise(plan.team, order, kind, url, now=order.closed_at)


def _add(plan: Plan, promise: NotifyTask, tasks: Iterable[Row]) -> None:
    """Add a promise in the source's state. One that the source lacks is sent if it is recent."""
    tasks = list(tasks)
    states = {task["notify_status"] for task in tasks}
    promise.attempts = max((task["notify_count"] for task in tasks), default=0)
    if DELIVERED in states:
        promise.state, promise.next_attempt_at, promise.last_error = DELIVERED, None, ""
        promise.delivered_at = max(task["update_time"] for task in tasks)
    elif states == {GIVEN_UP}:
        plan.found(Finding.GIVEN_UP, detail=promise.key)
        promise.state, promise.next_attempt_at = GIVEN_UP, None
    else:
        is_new = promise.created_at == plan.now
        if not tasks and promise.created_at < plan.now - switches.EVENTS_KEPT:
            return  # deleted there, as it would be here
        if not tasks and not is_new:
            plan.found(Finding.NEVER_NOTIFIED, detail=promise.key)
        promise.attempts = 0
        if promise.target:
            promise.next_attempt_at = plan.now
    plan.promises.append(promise)


def _success_tasks(plan: Plan) -> Iterator[Row]:
    return (row for row in plan.source.tasks if "outTradeNoList" in _payload(row))


def refund_tasks(plan: Plan, order: Order) -> Iterator[Row]:
    for row in plan.source.tasks:
        if read_id(str(_payload(row).get("orderId"))) == order.pk:
            yield row


def _payload(row: Row) -> dict[str, Any]:
    try:
        found = json.loads(row["parameter_json"])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
