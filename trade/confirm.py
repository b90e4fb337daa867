"""Confirmed refunds (退款到账): a mall reports that the money of an order is back.

The platform moves no money: it records the report, once for an order, and changes nothing else.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

from django.db import transaction
from django.utils.translation import gettext as _

from groupbuy import rows
from groupbuy.channels import KnownChannel
from groupbuy.errors import ErrorCode, GroupBuyError
from trade.models import Order
from trade.settle import CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class ConfirmCommand:
    """refund_at: when the payment provider returned the money; None: now."""

    channel: KnownChannel
    user_id: str
    out_trade_no: str
    refund_amount: Decimal
    refund_at: datetime | None = None


def confirm_refund(command: ConfirmCommand, *, now: datetime) -> Order:
    """Record the amount and the moment, and return the order.

    A repeat with the same amount returns what was recorded first. Raises ORDER_NOT_FOUND, and
    ILLEGAL_PARAMETER for an order whose money is not due back and for an amount or a time that
    cannot be true.
    """
    return rows.settled(lambda: rows.retry(lambda: _confirm(command, now)))


def _confirm(command: ConfirmCommand, now: datetime) -> Order:
    with transaction.atomic(durable=True):
        order = rows.read(Order, channel_id=command.channel.pk, out_trade_no=command.out_trade_no)
        if order is None or order.user_id != command.user_id:
            raise GroupBuyError(ErrorCode.ORDER_NOT_FOUND)
        if order.refund_at is None:
            _require_due(order)
            _require_plausible(command, order, now)
            _record(order, command.refund_amount, command.refund_at or now)
        elif order.refund_amount != command.refund_amount:
            amount = {"amount": order.refund_amount}
            _refuse(_("refundAmount: %(amount)s was confirmed before") % amount)
    return order


def _record(order: Order, amount: Decimal, at: datetime) -> None:
    """Store the report. Locks no row: a closed and paid order changes only here, and only once."""
    unconfirmed = Order.objects.filter(pk=order.pk, refund_at=None)
    if not unconfirmed.update(refund_amount=amount, refund_at=at):
        raise rows.StaleRowError(f"the refund of order {order.pk} is confirmed already")
    order.refund_amount, order.refund_at = amount, at


def _require_due(order: Order) -> None:
    if order.paid_at is None:
        _refuse(_("outTradeNo: nothing was paid for this order"))
    if order.status != Order.Status.CLOSED:
        _refuse(_("outTradeNo: the order is not closed, so no money is due back"))


def _require_plausible(command: ConfirmCommand, order: Order, now: datetime) -> None:
    at = command.refund_at or now
    if command.refund_amount > order.pay_price:
        paid = {"amount": order.pay_price}
        _refuse(_("refundAmount: more than the %(amount)s that was paid") % paid)
    if at > now + CLOCK_SKEW:
        _refuse(_("refundTime: more than 5 minutes in the future"))
    if order.paid_at and at < order.paid_at - CLOCK_SKEW:
        _refuse(_("refundTime: more than 5 minutes before the payment"))


def _refuse(reason: str) -> NoReturn:
    raise GroupBuyError(ErrorCode.ILLEGAL_PARAMETER, reason)
