"""Record payments (支付), from Alipay's notifications and from queries.

The first payment of an order that waits for one pays the order. Any other payment is refunded: one
for a closed order, or a second one.
"""

import logging
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from mall import alipay, market, orders, returning
from mall.alipay import AlipayError, Trade
from mall.models import Message, Notice, Order

log = logging.getLogger(__name__)


def record(order: Order, trade: Trade, *, now: datetime) -> str:
    """Store a payment and return the verdict on it. A repeat changes nothing."""
    with transaction.atomic(durable=True):
        return _record(order, trade, now)


def look(order: Order, *, now: datetime) -> Trade | None:
    """Query Alipay and record a payment. Returns a trade that is not paid.

    Raises AlipayError; for an order in CREATE also GroupBuyError.
    """
    trade = alipay.query(order.number, now=now)
    if trade is None or not trade.is_paid:
        return trade
    if order.status == Order.Status.CREATE:  # set back by a restore: it had a form
        _await_payment_again(order, now)
    verdict = record(order, trade, now=now)
    if verdict == "other amount":
        raise AlipayError(f"order {order.number}: {trade.amount} paid instead of {order.amount}")
    return None


def close_unpaid(order: Order, reason: str, *, now: datetime) -> None:
    """Close at Alipay, then at the platform, then here; if Alipay has a payment, record that.

    Raises AlipayError or GroupBuyError; the order then stays open, and the loop tries again.
    """
    close_trade(order, now=now)
    if order.status != Order.Status.PAY_WAIT:
        return
    returning.release(order)
    with transaction.atomic(durable=True):
        if orders.close_unpaid(order, reason, now=now):
            orders.send_message(order, Message.Kind.CANCELLED, now=now)


def close_trade(order: Order, *, now: datetime) -> None:
    """Query Alipay, record a payment, or close a trade that waits for one. Raises as look()."""
    trade = look(order, now=now)
    if trade is not None and trade.status == "WAIT_BUYER_PAY":
        alipay.close(order.number, now=now)


def receive(body: bytes, *, now: datetime) -> str:
    """Process Alipay's notification and return the stored verdict. Raises ForgedError."""
    fields = alipay.read_notice(body)
    with transaction.atomic(durable=True):
        notice, is_new = Notice.objects.get_or_create(
            notify_id=fields.get("notify_id", fields["sign"])[:128],
            defaults={
                "received_at": now,
                "out_trade_no": fields.get("out_trade_no", "")[:64],
                "trade_no": fields.get("trade_no", "")[:64],
                "trade_status": fields.get("trade_status", "")[:32],
                "total_amount": fields.get("total_amount", "")[:32],
                "fields": fields,
            },
        )
        if is_new:
            notice.verdict = _judge(fields, now)
            notice.save(update_fields=["verdict"])
    if notice.verdict not in ("paid", "repeated", "nothing"):
        log.warning("notice %s of order %s: %s", notice.pk, notice.out_trade_no, notice.verdict)
    return notice.verdict


def _await_payment_again(order: Order, now: datetime) -> None:
    """Let an order in CREATE wait for its payment; the platform knows its seat and its price."""
    held: dict[str, Any] = {"amount": order.price, "pay_by": now}
    if order.in_team:
        theirs = market.client().order(order.number)
        held = {
            "amount": theirs.pay_price,
            "activity_id": theirs.activity_id,
            "team_id": theirs.team_id,
            "pay_by": theirs.pay_deadline,
        }
    orders.take(orders.AWAIT_PAYMENT, order, due_at=now, wants_back=False, **held)


def _judge(fields: dict[str, str], now: datetime) -> str:
    if fields.get("app_id") != settings.ALIPAY_APP_ID:
        return "other app"
    if fields.get("seller_id") != settings.ALIPAY_SELLER_ID:
        return "other seller"
    try:
        trade = alipay.trade_of(fields)
    except AlipayError:
        return "not readable"
    order = Order.objects.filter(number=trade.out_trade_no).first()
    if order is None or order.amount is None:
        return "unknown order"
    if not trade.is_paid:
        return "nothing"
    return _record(order, trade, now)


def _record(order: Order, trade: Trade, now: datetime) -> str:
    """Do the work of record(), inside the caller's transaction."""
    if trade.amount != (order.amount or Decimal(0)):
        return "other amount"
    paid = {"trade_no": trade.trade_no, "paid_at": trade.paid_at or now}
    if orders.take(orders.PAY, order, due_at=now, **paid):
        return "paid"
    order.refresh_from_db()
    if order.trade_no == trade.trade_no:
        return "repeated"
    cause = "second payment" if order.trade_no else "paid after closing"
    is_new = returning.owe(order, trade.trade_no, trade.amount, cause, now=now)
    return cause if is_new else "repeated"
