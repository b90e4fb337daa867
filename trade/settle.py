"""Settlement (结算): a shopper's money has arrived.

decide() returns the outcome of a payment, settle_order() applies it, ANSWERS maps it to the mall's
answer. Every payment is either seated or refunded; the promise of the refund is written in the same
transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from groupbuy import rows, switches
from groupbuy.channels import KnownChannel
from groupbuy.errors import ErrorCode, GroupBuyError
from trade import metrics
from trade.endings import close_order, complete_team
from trade.models import Order, RefundType, Team
from trade.rowlocks import lock_team_of
from trade.turns import free_turn, live_seats

CLOCK_SKEW = timedelta(minutes=5)  # how far a mall's clock may be ahead of ours
SEAT_FIELDS = ("take_no", "take_limit", "seat_of", "hold_no", "closed_at", "close_reason")


@dataclass(frozen=True, slots=True)
class SettleCommand:
    channel: KnownChannel
    user_id: str
    out_trade_no: str
    paid_at: datetime


class Payment(Enum):
    """The outcome of a payment."""

    REPEATED = "the order is paid already"
    SEATED = "the held seat is paid"
    RESEATED = "the hold had timed out, but a seat is still free"
    LATE = "no seat is left for it: refund"
    BLOCKED = "its channel is blacklisted: refund"
    LATE_REPEATED = "late, and its refund is promised already"
    BLOCKED_REPEATED = "blacklisted, and its refund is promised already"
    REFUNDED = "it was seated and refunded before"


ANSWERS = {
    Payment.LATE: ErrorCode.PAID_TOO_LATE,
    Payment.LATE_REPEATED: ErrorCode.PAID_TOO_LATE,
    Payment.BLOCKED: ErrorCode.BLACKLISTED,
    Payment.BLOCKED_REPEATED: ErrorCode.BLACKLISTED,
    Payment.REFUNDED: ErrorCode.ORDER_NOT_FOUND,
}
REFUNDS = {
    Payment.LATE: Order.CloseReason.LATE_PAYMENT,
    Payment.BLOCKED: Order.CloseReason.BLACKLISTED,
}


def settle_order(command: SettleCommand, *, now: datetime) -> Order:
    """Seat the payment and return its order, or promise its refund and raise the reason.

    A repeat returns the same order or raises the same refusal, and changes nothing.
    """
    _require_plausible_time(command, now)
    blocked = switches.is_blacklisted(command.channel.source, command.channel.channel)

    def settle() -> Order:
        order, payment = rows.retry(lambda: _settle(command, blocked=blocked, now=now))
        if error := ANSWERS.get(payment):
            raise GroupBuyError(error)
        return order

    return rows.settled(settle)


def decide(team: Team, order: Order, *, paid_at: datetime, blocked: bool) -> Payment:
    """Judge an order and its locked team. RESEATED also needs a free turn of the shopper."""
    in_time = team.status == Team.Status.FORMING and paid_at < team.expires_at
    match order.status:
        case Order.Status.PAID:
            return Payment.REPEATED
        case Order.Status.CLOSED if order.paid_at is not None:
            return {
                Order.CloseReason.LATE_PAYMENT: Payment.LATE_REPEATED,
                Order.CloseReason.BLACKLISTED: Payment.BLOCKED_REPEATED,
            }.get(Order.CloseReason(order.close_reason), Payment.REFUNDED)
        case _unpaid if blocked:
            return Payment.BLOCKED
        case Order.Status.LOCKED if in_time:
            return Payment.SEATED
        case Order.Status.CLOSED if in_time and not team.is_full():
            timed_out = order.close_reason == Order.CloseReason.HOLD_TIMEOUT
            return Payment.RESEATED if timed_out else Payment.LATE
        case _unpaid:
            return Payment.LATE


def _require_plausible_time(command: SettleCommand, now: datetime) -> None:
    if command.paid_at > now + CLOCK_SKEW:
        raise GroupBuyError(
            ErrorCode.ILLEGAL_PARAMETER, _("outTradeTime: more than 5 minutes in the future")
        )


def _settle(command: SettleCommand, *, blocked: bool, now: datetime) -> tuple[Order, Payment]:
    with transaction.atomic(durable=True):
        found = lock_team_of(
            channel_id=command.channel.pk,
            user_id=command.user_id,
            out_trade_no=command.out_trade_no,
        )
        if found is None:
            raise GroupBuyError(ErrorCode.BLACKLISTED if blocked else ErrorCode.ORDER_NOT_FOUND)
        team, order = found
        was = order.state
        payment = decide(team, order, paid_at=command.paid_at, blocked=blocked)
        if payment is Payment.RESEATED and not _take_seat_again(team, order):
            payment = Payment.LATE
        if payment in (Payment.SEATED, Payment.RESEATED):
            _mark_paid(team, order, was, paid_at=command.paid_at, now=now)
        elif reason := REFUNDS.get(payment):
            order.paid_at, order.settled_at = command.paid_at, now
            close_order(team, order, RefundType.PAID_UNFORMED, reason, now=now)
        metrics.count_payment(order, payment.name.lower())
    return order, payment


def _take_seat_again(team: Team, order: Order) -> bool:
    """Seat a closed order again, if its shopper has a turn left and no other seat in the team."""
    seats = live_seats(activity_id=order.activity_id, user_id=order.user_id)
    turn = free_turn(seats.values(), order.activity.take_limit)
    if turn is None or team.pk in seats:
        return False
    order.take_no, order.take_limit = turn, order.activity.take_limit
    order.seat_of = order.user_id
    order.closed_at, order.close_reason = None, ""
    team.locked_count += 1
    return True


def _mark_paid(
    team: Team, order: Order, was: Mapping[str, Any], *, paid_at: datetime, now: datetime
) -> None:
    order.status = Order.Status.PAID
    order.paid_at, order.settled_at = paid_at, now
    order.hold_no = None
    rows.update(order, "status", "paid_at", "settled_at", *SEAT_FIELDS, was=was)
    team.paid_count += 1
    if team.paid_count == team.target_count:
        complete_team(team, by_shop=False, now=now)
    else:
        rows.update(team, "locked_count", "paid_count")
