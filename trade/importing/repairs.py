"""Repairs of a team that breaks a rule of the platform.

Prices, seats and out_trade_no stay. Each repair is a Finding, and each payment either keeps its
seat or goes back.
"""

from datetime import timedelta
from decimal import Decimal

from groupbuy.fields import read_id
from trade.expire import GRACE
from trade.importing.plan import CLOSED, LOCKED, PAID, Plan, read_order
from trade.importing.promises import add_promises, completed_at, notified_at, refund_tasks
from trade.importing.report import Finding
from trade.importing.source import Row
from trade.models import Order, Team

COMPLETE = (Team.Status.COMPLETE, Team.Status.COMPLETE_WITH_REFUNDS)


def make_plan(plan: Plan, kept: dict[tuple[str, str, str], int]) -> None:
    """Add the orders, repair what the rules do not allow, and add the notifications.

    kept: out_trade_no that a channel has twice -> the order of the source that keeps it.
    """
    for row in plan.source.orders:
        _add_order(plan, row, kept)
    _check_counts(plan)
    if plan.team.status in COMPLETE:
        _repair_complete(plan)
    elif plan.team.status == Team.Status.FAILED:
        _repair_failed(plan)
    else:
        _repair_forming(plan)
    team = plan.team
    team.locked_count, team.paid_count = len(plan.live()), len(plan.live(PAID))
    for order in plan.live():
        order.seat_of = order.user_id
    add_promises(plan)


def _add_order(plan: Plan, row: Row, kept: dict[tuple[str, str, str], int]) -> None:
    number = (row["source"], row["channel"], row["out_trade_no"])
    order = read_order(plan, row)
    wrong = Finding.BAD_ORDER if order is None else None
    if kept.get(number, row["id"]) != row["id"]:
        wrong = Finding.REPEATED_NUMBER
    if wrong or order is None:
        where = f"team {plan.source.team_id} order {row['out_trade_no']}"
        plan.findings.append((wrong or Finding.BAD_ORDER, where, f"id {row['id']}"))
        plan.left_out.append(row)
        return
    plan.orders.append(order)
    tasks = list(refund_tasks(plan, order))
    if order.status != CLOSED and tasks:
        plan.found(Finding.REFUND_NOTIFIED, order)
        plan.close(order, Order.CloseReason.REFUNDED)
        order.closed_at = min(task["create_time"] for task in tasks)
        order.paid_at = order.settled_at = row["out_trade_time"]
    if order.status == LOCKED and row["out_trade_time"]:
        plan.found(Finding.UNSETTLED, order)
    if order.status == PAID and not row["out_trade_time"]:
        plan.found(Finding.NO_PAYMENT_TIME, order)


def _check_counts(plan: Plan) -> None:
    row = plan.source.team
    assert row is not None  # else read_team() makes no plan
    counted = (row["lock_count"], row["complete_count"])
    statuses = [order["status"] for order in plan.source.orders]
    has = (statuses.count(LOCKED) + statuses.count(PAID), statuses.count(PAID))
    if counted != has:
        detail = "counts {} taken and {} paid, has {} and {}".format(*counted, *has)
        plan.found(Finding.WRONG_COUNTS, detail=detail)


def _repair_forming(plan: Plan) -> None:
    team, reasons = plan.team, Order.CloseReason
    for order in plan.live():
        if order.paid_at and order.paid_at >= team.expires_at:
            plan.found(Finding.PAID_LATE, order, f"{order.pay_price}")
            plan.close(order, reasons.LATE_PAYMENT)
        elif order.created_at >= team.expires_at:
            plan.found(Finding.LOCKED_LATE, order)
            plan.close(order, reasons.TEAM_ENDED)
    for order in _second_seats(plan):
        plan.found(Finding.TWO_SEATS, order)
        plan.close(order, reasons.REFUNDED)
    paid_first = plan.live(PAID) + plan.live(LOCKED)
    for order in paid_first[team.target_count :]:
        plan.found(Finding.OVERSOLD, order)
        plan.close(order, reasons.REFUNDED)
    paid = plan.live(PAID)
    if len(paid) == team.target_count:
        plan.found(Finding.NEVER_COMPLETED)
        team.status, team.completed_at = Team.Status.COMPLETE, plan.now
    elif team.expires_at <= plan.now:
        _end(plan)


def _end(plan: Plan) -> None:
    """End a team as trade/expire.py does, but in its batch: an old source has many of them."""
    team, by_shop, paid = plan.team, plan.completed_at_its_end, plan.live(PAID)
    money = sum((order.pay_price for order in paid), Decimal(0))
    plan.found(
        Finding.PAST_END_COMPLETES if by_shop else Finding.PAST_END_FAILS,
        detail=f"{len(plan.live(LOCKED))} unpaid, {len(paid)} paid, {money:.2f}",
    )
    if team.expires_at + GRACE > plan.now:
        return
    for order in plan.live(LOCKED) if by_shop else plan.live():
        plan.close(order, Order.CloseReason.TEAM_ENDED)
    team.status = Team.Status.FAILED
    if by_shop:
        team.status, team.completed_at = Team.Status.COMPLETE, plan.now
        team.completed_by_shop = True


def _repair_complete(plan: Plan) -> None:
    team = plan.team
    for order in plan.live(LOCKED):
        plan.found(Finding.UNPAID_COMPLETE, order)
        plan.close(order, Order.CloseReason.TEAM_ENDED)
    for order in _second_seats(plan):
        plan.found(Finding.TWO_SEATS_COMPLETE, order)
        plan.orders.remove(order)
        plan.left_out += [row for row in plan.source.orders if read_id(row["order_id"]) == order.pk]
    paid = plan.live(PAID)
    for order in paid:
        if order.paid_at and order.paid_at >= team.expires_at:
            plan.found(Finding.PAID_LATE_COMPLETE, order)
            team.expires_at = order.paid_at + timedelta(seconds=1)
    if len(paid) > team.target_count:
        plan.found(Finding.OVERSOLD_COMPLETE, detail=f"{len(paid)} of {team.target_count}")
        team.target_count = len(paid)
    team.completed_at = completed_at(plan)
    _repair_short(plan, len(paid))


def _repair_short(plan: Plan, paid: int) -> None:
    """Set the status of a complete team with fewer payments than its target."""
    team = plan.team
    refunded = any(order.paid_at for order in plan.live(CLOSED))
    if paid == 0:
        team.status = Team.Status.FAILED
    elif paid < team.target_count and refunded:
        team.status = Team.Status.COMPLETE_WITH_REFUNDS
    elif paid < team.target_count and team.status == Team.Status.COMPLETE:
        plan.found(Finding.SHORT_COMPLETE, detail=f"{paid} of {team.target_count}")
        team.completed_by_shop = True


def _repair_failed(plan: Plan) -> None:
    plan.team.completed_at = notified_at(plan)  # it failed with its last refund
    for order in plan.live():
        plan.found(Finding.LIVE_IN_FAILED, order, f"{order.pay_price if order.paid_at else 0}")
        plan.close(order, Order.CloseReason.TEAM_ENDED)


def _second_seats(plan: Plan) -> list[Order]:
    """Live orders of users who have another one in the team; one that is paid comes first."""
    seen: set[str] = set()
    second = []
    for order in plan.live(PAID) + plan.live(LOCKED):
        if order.user_id in seen:
            second.append(order)
        seen.add(order.user_id)
    return second
