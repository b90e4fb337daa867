"""Refund (退单): a shopper cancels an order.

decide() returns the kind of a refund, refund_order() applies it. Payments that settle.py
refuses, because they come too late or the channel is blacklisted, are always PAID_UNFORMED.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from django.db import transaction

from groupbuy import rows
from groupbuy.channels import KnownChannel
from groupbuy.errors import ErrorCode, GroupBuyError
from trade.endings import close_order
from trade.models import Order, RefundType, Team
from trade.rowlocks import lock_team_of, require_unchanged


@dataclass(frozen=True, slots=True)
class RefundCommand:
    channel: KnownChannel
    user_id: str
    out_trade_no: str


class Outcome(Enum):
    """The answer's inner code and info. Source: docs/contract.md, section 2.4."""

    SUCCESS = "success", "成功"
    REPEAT = "repeat", "重复"
    FAIL = "fail", "失败"

    def __init__(self, code: str, info: str) -> None:
        self.code = code
        self.info = info


@dataclass(frozen=True, slots=True)
class Refund:
    order: Order
    outcome: Outcome


def refund_order(command: RefundCommand, *, now: datetime) -> Refund:
    """Close the order and promise the mall its notification. A repeat changes nothing.

    Raises ORDER_NOT_FOUND for an order that this user does not have.
    """
    return rows.settled(lambda: rows.retry(lambda: _refund(command, now)))


def _refund(command: RefundCommand, now: datetime) -> Refund:
    with transaction.atomic(durable=True):
        return apply(command, now=now)


def apply(command: RefundCommand, *, now: datetime) -> Refund:
    """refund_order() inside the caller's transaction."""
    found = lock_team_of(
        channel_id=command.channel.pk,
        user_id=command.user_id,
        out_trade_no=command.out_trade_no,
    )
    if found is None:
        raise GroupBuyError(ErrorCode.ORDER_NOT_FOUND)
    team, order = found
    if order.status == Order.Status.CLOSED:
        return Refund(order, Outcome.REPEAT)
    kind = decide(Team.Status(team.status), Order.Status(order.status))
    if kind is None:
        require_unchanged(order)  # its team may have ended since it was read
        return Refund(order, Outcome.FAIL)
    close_order(team, order, kind, Order.CloseReason.REFUNDED, now=now)
    return Refund(order, Outcome.SUCCESS)


def decide(team: Team.Status, order: Order.Status) -> RefundType | None:
    """Decide the kind of refund; None for a combination that no rule produces."""
    match team, order:
        case Team.Status.FORMING, Order.Status.LOCKED:
            return RefundType.UNPAID_UNLOCK
        case Team.Status.FORMING, Order.Status.PAID:
            return RefundType.PAID_UNFORMED
        case ((Team.Status.COMPLETE | Team.Status.COMPLETE_WITH_REFUNDS), Order.Status.PAID):
            return RefundType.PAID_FORMED
        case _:
            return None
