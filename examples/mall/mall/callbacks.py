"""Apply the platform's notifications (回调): from HTTP, from RabbitMQ, or fetched as events.

The id of a notification is stored together with its effect, so that copies change nothing.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from groupbuy_client import TeamRefund, TeamSuccess
from mall import market, orders, returning
from mall.models import Cursor, Order, Received

log = logging.getLogger(__name__)
NIGHTLY = timedelta(days=1)
Notification = TeamSuccess | TeamRefund


def apply(notification: Notification, payload: Any, *, via: str, now: datetime) -> bool:
    """Apply a notification once. False for a copy, which changes nothing."""
    try:
        with transaction.atomic(durable=True):
            Received.objects.create(key=notification.id, via=via, payload=payload, received_at=now)
            _change(notification, now)
    except IntegrityError:
        if Received.objects.filter(key=notification.id).exists():
            return False
        raise
    return True


def catch_up(*, now: datetime, again: bool = False) -> int:
    """Fetch and apply missed notifications; return how many were new. Raises GroupBuyError.

    again: start from the first event, as a platform restored from a backup may renumber its events.
    """
    cursor, _ = Cursor.objects.get_or_create(pk=1)
    if again:
        cursor.after = 0
        cursor.save(update_fields=["after"])
    missed = 0
    for event in market.client().events(after=cursor.after):
        try:
            notification = event.notification
        except ValueError:
            log.warning("event %s has an unknown type: %s", event.no, event.event)
        else:
            missed += apply(notification, event.payload, via="events", now=now)
        Cursor.objects.filter(pk=1, after__lt=event.no).update(after=event.no)
    return missed


def claim_catch_up(*, now: datetime) -> bool:
    """Claim the daily catch-up, at most once a day. False if another process has claimed it."""
    Cursor.objects.get_or_create(pk=1)
    stale = Q(read_at=None) | Q(read_at__lte=now - NIGHTLY)
    return Cursor.objects.filter(stale, pk=1).update(read_at=now) == 1


def catch_up_again(*, at: datetime) -> None:
    """Make the catch-up claimable again at this time, instead of a day after the last claim."""
    Cursor.objects.filter(pk=1).update(read_at=at - NIGHTLY)


def _change(notification: Notification, now: datetime) -> None:
    """Change the orders named. Orders of other malls, which share the exchange, are not found."""
    match notification:
        case TeamSuccess(out_trade_no_list=numbers):
            for order in Order.objects.filter(number__in=numbers):
                orders.complete(order, now=now)
        case TeamRefund(out_trade_no=number):
            for order in Order.objects.filter(number=number):
                _let_go(order, notification, now)


def _let_go(order: Order, refund: TeamRefund, now: datetime) -> None:
    if refund.money_is_due:
        returning.owe_order(order, refund.type, now=now)
    else:
        mark_seat_gone(order, now=now)


def mark_seat_gone(order: Order, *, now: datetime) -> None:
    """Let the loop close an order that waits for its payment. The loop queries Alipay first."""
    waiting = Order.objects.filter(pk=order.pk, status=Order.Status.PAY_WAIT)
    waiting.update(seat_gone=True, due_at=now, tries=0)
