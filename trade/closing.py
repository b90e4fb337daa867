"""Close an order: give back its seat and turn, and promise its mall what is due.

Refund, late payment and time all end here, so there is one place where an order closes.
"""

from dataclasses import dataclass
from datetime import datetime

from groupbuy import rows
from trade import outbox
from trade.models import NotifyTask, Order, RefundType, Team


@dataclass(frozen=True, slots=True)
class Effect:
    """What closing one order adds to its team's counters."""

    locked: int
    paid: int


EFFECTS = {
    RefundType.UNPAID_UNLOCK: Effect(locked=-1, paid=0),
    RefundType.PAID_UNFORMED: Effect(locked=-1, paid=-1),
    RefundType.PAID_FORMED: Effect(locked=-1, paid=-1),
}
NO_EFFECT = Effect(locked=0, paid=0)


def close_order(
    team: Team,
    order: Order,
    kind: RefundType,
    reason: Order.CloseReason,
    *,
    effect: Effect,
    now: datetime,
) -> None:
    """Close a locked order of a locked team. Call inside a transaction; saves both rows.

    A completed team never reopens: it becomes complete with refunds, or failed with the last.
    """
    order.status = Order.Status.CLOSED
    order.close_reason = reason
    order.closed_at = now
    order.take_no = order.seat_of = None
    rows.update(
        order,
        *("status", "close_reason", "closed_at", "take_no", "seat_of", "paid_at", "settled_at"),
    )
    team.locked_count += effect.locked
    team.paid_count += effect.paid
    if kind is RefundType.PAID_FORMED:
        left = team.paid_count
        team.status = Team.Status.COMPLETE_WITH_REFUNDS if left else Team.Status.FAILED
    rows.update(team, "locked_count", "paid_count", "status")
    outbox.record(
        NotifyTask.Event.TEAM_REFUND,
        key=f"team_refund-{order.pk}-{kind}",
        team=team,
        target=team.channel.refund_notify_url,
        payload={
            "type": kind,
            "userId": order.user_id,
            "teamId": str(team.pk),
            "orderId": str(order.pk),
            "outTradeNo": order.out_trade_no,
            "activityId": order.activity_id,
        },
        now=now,
    )
