"""The loop (定时任务): all work that no request does.

It claims due orders and refunds by a conditional UPDATE, so any number of loops may run. A claim is
a lease: if the process dies, the row is due again after LEASE.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import F

from groupbuy_client import GroupBuyError
from mall import callbacks, login, market, orders, payments, returning
from mall.alipay import AlipayError
from mall.models import Message, Order, Refund

log = logging.getLogger(__name__)
LEASE = timedelta(minutes=1)  # longer than the calls of a step take
PAUSES = [timedelta(seconds=each) for each in (5, 15, 30, 60, 120, 300, 600)]
BATCH = 50
Status = Order.Status
Row = TypeVar("Row", Order, Refund)


def work(*, now: datetime, clock: Callable[[], datetime]) -> int:
    """Take one step of each order and refund due at `now`; return how many. Steps read `clock`."""
    done = 0
    for order in _claim(Order, now, clock):
        done += _attempt(order, _step, clock)
    for refund in _claim(Refund, now, clock):
        done += _attempt(refund, returning.send, clock)
    return done


def daily(*, now: datetime, at_start: bool = False) -> None:
    """Once a day and at the start, fetch missed notifications and delete expired logins."""
    if not (callbacks.claim_catch_up(now=now) or at_start):
        return
    login.forget(now=now)
    try:
        missed = callbacks.catch_up(now=now)
    except GroupBuyError as error:
        level = logging.INFO if error.retryable else logging.WARNING
        log.log(level, "events could not be read: %s", error)
        callbacks.catch_up_again(at=now + PAUSES[0])
    else:
        log.info("%s missed notifications", missed)


def _step(order: Order, *, now: datetime) -> datetime | None:
    """Take an order's next step. Returns when the one after is due; None: after another event."""
    match order.status:
        case Status.CREATE:
            _drop(order, now)
        case Status.PAY_WAIT:
            return _look_for_payment(order, now)
        case Status.PAY_SUCCESS if not order.in_team:
            _deliver_alone(order, now)
        case Status.PAY_SUCCESS if order.settled_at is None and not order.settle_code:
            return _settle(order, now)
        case Status.PAY_SUCCESS | Status.MARKET | Status.DEAL_DONE if order.wants_back:
            _give_back(order, now)
        case Status.MARKET:
            orders.deliver(orders.DELIVER, order)
        case Status.CLOSE:
            payments.close_trade(order, now=now)
    return None


def _drop(order: Order, now: datetime) -> None:
    """Close an order whose request died, or got no answer from the platform.

    After a restore from an older backup, it may have been paid, and is then recorded as paid.
    """
    payments.close_trade(order, now=now)
    if order.status != Status.CREATE:
        return
    returning.release(order)
    refused = orders.take(orders.REFUSE, order, due_at=None, close_reason="not_placed")
    if order.in_team and not refused:  # the shopper tried again, and has just lost that seat
        callbacks.mark_seat_gone(order, now=now)


def _look_for_payment(order: Order, now: datetime) -> datetime | None:
    if order.wants_back or order.seat_gone or order.pay_by is None or order.pay_by <= now:
        reason = "refunded" if order.wants_back else "hold_timeout"
        payments.close_unpaid(order, reason, now=now)
        return None
    Order.objects.filter(pk=order.pk).update(asked_at=now)
    payments.look(order, now=now)
    due_at = min(order.pay_by, now + _pause(order))
    if due_at == order.pay_by:  # closing it starts with short pauses again
        Order.objects.filter(pk=order.pk).update(tries=0)
    return due_at


def _settle(order: Order, now: datetime) -> datetime | None:
    """Report the payment to the platform. After a final refusal, team_refund orders the refund."""
    if order.paid_at is None:
        raise ValueError(f"order {order.number} is paid, but has no time of payment")
    try:
        market.client().settle(
            user_id=order.shopper.user_id, out_trade_no=order.number, paid_at=order.paid_at
        )
    except GroupBuyError as error:
        if error.code not in market.FINAL:
            raise
        Order.objects.filter(pk=order.pk).update(settle_code=error.code)
        return None
    kind = Message.Kind.JOINED if order.wanted_team else Message.Kind.OPENED
    with transaction.atomic():
        Order.objects.filter(pk=order.pk).update(settled_at=now)
        orders.send_message(order, kind, now=now)
    return now if order.wants_back else None


def _deliver_alone(order: Order, now: datetime) -> None:
    if order.wants_back:
        returning.owe_order(order, "refunded", now=now)
    else:
        orders.deliver(orders.DELIVER_ALONE, order)


def _give_back(order: Order, now: datetime) -> None:
    if order.in_team:
        returning.release(order)  # the money follows on team_refund
    else:
        returning.owe_order(order, "refunded", now=now)


def _claim(model: type[Row], now: datetime, clock: Callable[[], datetime]) -> Iterator[Row]:
    for row in model.objects.filter(due_at__lte=now).order_by("due_at")[:BATCH]:
        lease = clock() + LEASE
        claimed = model.objects.filter(pk=row.pk, due_at=row.due_at)
        if claimed.update(due_at=lease, tries=F("tries") + 1):
            row.due_at, row.tries = lease, row.tries + 1
            yield row


def _attempt(row: Row, step: Callable[..., datetime | None], clock: Callable[[], datetime]) -> bool:
    """Take one step of a row. An error is logged, and delays this row only."""
    lease, problem = row.due_at, ""
    try:
        due_at = step(row, now=clock())
    except (GroupBuyError, AlipayError) as error:
        problem, due_at = str(error), clock() + _pause(row)
        log.warning("%s: %s", row, error)
    except Exception as error:
        problem, due_at = repr(error), clock() + _pause(row)
        log.exception("%s", row)
    # Only if neither the step nor another process has set due_at meanwhile.
    unchanged = type(row)._default_manager.filter(pk=row.pk, due_at=lease)
    unchanged.update(due_at=due_at)
    if problem and isinstance(row, Refund):
        Refund.objects.filter(pk=row.pk).update(problem=problem[:255])
    return True


def _pause(row: Row) -> timedelta:
    return PAUSES[min(row.tries, len(PAUSES)) - 1]
