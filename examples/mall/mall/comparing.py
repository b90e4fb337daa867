"""Compare the mall's paid orders with the platform's (对账), after a restore of either.

compare() finds the differences, and mend() resolves one as the protocol asks for.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum

from groupbuy_client import GroupBuyError, OrderStatus, TeamStatus
from groupbuy_client import Order as Theirs
from mall import market, orders, returning
from mall.models import Order

Status = Order.Status
PAID = (Status.PAY_SUCCESS, Status.MARKET, Status.DEAL_DONE)
RETURNED = (Status.WAIT_REFUND, Status.CLOSE)


class Difference(Enum):
    """How the two sides differ, and what mend() does about it."""

    UNSETTLED = "paid here, not paid there", "settled again"
    UNKNOWN = "paid here, unknown there", "the money goes back"
    SENT = "sent, not complete there", "left as it is"
    COMPLETE = "not sent here, complete there", "sent"
    DUE = "paid here, refunded there", "the money goes back"
    SEATED = "given back here, paid there", "given back there"
    UNREPORTED = "refunded here, not confirmed there", "confirmed again"

    def __init__(self, found: str, mended: str) -> None:
        self.found = found
        self.mended = mended


def compare(*, since: datetime) -> Iterator[tuple[Order, Difference]]:
    """Find the paid team orders that differ, oldest first. Raises GroupBuyError."""
    in_teams = Order.objects.filter(kind=Order.Kind.TEAM, created_at__gte=since)
    # Excluded: orders that are not paid, and orders whose settlement is under way.
    paid = in_teams.exclude(trade_no="").exclude(
        status=Status.PAY_SUCCESS, settled_at=None, settle_code=""
    )
    for order in paid.select_related("shopper").order_by("pk"):
        theirs = _theirs(order.number)
        order.refresh_from_db(fields=["status"])  # the loop goes on meanwhile
        if found := difference(order, theirs):
            yield order, found


def difference(order: Order, theirs: Theirs | None) -> Difference | None:
    if order.status in PAID:
        return _of_paid(order, theirs)
    if theirs is None or order.status not in RETURNED:
        return None
    if theirs.trade_order_status == OrderStatus.PAID:
        return Difference.SEATED
    confirmed = theirs.refund_amount is not None or not _was_paid(theirs)
    return None if confirmed or order.status != Status.CLOSE else Difference.UNREPORTED


def mend(order: Order, difference: Difference, *, now: datetime) -> None:
    """Resolve a difference. A repeat changes nothing. Raises GroupBuyError."""
    match difference:
        case Difference.UNSETTLED:
            _settle(order)
        case Difference.UNKNOWN | Difference.DUE:
            returning.owe_order(order, difference.name.lower(), now=now)
        case Difference.COMPLETE:
            orders.complete(order, now=now)
        case Difference.SEATED:
            returning.release(order)
            returning.report_again(order, now=now)
        case Difference.UNREPORTED:
            returning.report_again(order, now=now)


def _of_paid(order: Order, theirs: Theirs | None) -> Difference | None:
    is_sent = order.status != Status.PAY_SUCCESS  # or is about to be
    if theirs is None:
        return Difference.SENT if is_sent else Difference.UNKNOWN
    match theirs.trade_order_status:
        case OrderStatus.LOCKED:
            return Difference.UNSETTLED
        case OrderStatus.PAID:
            is_complete = theirs.team_status != TeamStatus.FORMING
            differs = Difference.SENT if is_sent else Difference.COMPLETE
            return differs if is_sent != is_complete else None
        case _closed if is_sent:  # no new settlement: the platform would order a refund
            return Difference.SENT
        case _closed:
            return Difference.DUE if _was_paid(theirs) else Difference.UNSETTLED


def _was_paid(theirs: Theirs) -> bool:
    return any(step.event == "paid" for step in theirs.timeline)


def _theirs(number: str) -> Theirs | None:
    try:
        return market.client(patient=True).order(number)
    except GroupBuyError as error:
        if error.code != returning.UNKNOWN:
            raise
        return None


def _settle(order: Order) -> None:
    """Settle the order. A final refusal is not an error: team_refund follows it."""
    if order.paid_at is None:
        raise ValueError(f"order {order.number} is paid, but has no time of payment")
    try:
        market.client(patient=True).settle(
            user_id=order.shopper.user_id, out_trade_no=order.number, paid_at=order.paid_at
        )
    except GroupBuyError as error:
        if error.code not in market.FINAL:
            raise
