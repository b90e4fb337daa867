"""Orders that are given back (退单) or never paid, and the money that is due back (退款).

A refund is a row: requested, sent, confirmed. Its out_request_no and amount are the same in every
attempt, so that Alipay returns the money once. A confirmed refund that is due still has to be
reported to the platform.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from groupbuy_client import GroupBuyError
from mall import alipay, market, orders
from mall.models import Message, Order, Refund

UNKNOWN = "E0104"  # the platform has no such order, or it is closed there
UNREPORTABLE = (UNKNOWN, "0002")  # refused for good; 0002: an older platform lacks the call
ASK_AFTER = timedelta(seconds=10)  # Alipay wants no query sooner than this after a refund


def give_back(order: Order, *, now: datetime) -> None:
    """Mark an order as given back by its shopper; the loop's next step, due now, does the rest."""
    own = Order.objects.filter(pk=order.pk).exclude(status__in=("CREATE", "WAIT_REFUND", "CLOSE"))
    own.filter(wants_back=False).update(wants_back=True, due_at=now, tries=0)


def give_up(order: Order, reason: str, *, now: datetime) -> None:
    """Give an unpaid order's seat back and close the order; if that fails, the loop will do it."""
    try:
        release(order)
    except GroupBuyError:
        Order.objects.filter(pk=order.pk).update(wants_back=True, due_at=now)
    else:
        if not orders.take(orders.REFUSE, order, due_at=None, close_reason=reason):
            orders.close_unpaid(order, reason, now=now)


def release(order: Order) -> None:
    """Give the seat back at the platform. Raises GroupBuyError if it may not have succeeded."""
    if not order.in_team:
        return
    try:
        answer = market.client().refund(user_id=order.shopper.user_id, out_trade_no=order.number)
    except GroupBuyError as error:
        if error.code != UNKNOWN:
            raise
        return
    if answer.code == "fail":  # no rule of the platform's applies yet, and nothing has changed
        raise GroupBuyError("fail", "the seat is not released", status=200)


def owe(order: Order, trade_no: str, amount: Decimal, cause: str, *, now: datetime) -> bool:
    """Create this payment's refund, which the loop sends. False if there is one already."""
    _refund, is_new = Refund.objects.get_or_create(
        trade_no=trade_no,
        defaults={
            "order": order,
            "out_request_no": f"{order.number}-{trade_no}"[:64],
            "amount": amount,
            "cause": cause,
            "requested_at": now,
            "due_at": now,
        },
    )
    return is_new


def owe_order(order: Order, cause: str, *, now: datetime) -> bool:
    """Create the refund of the order's own payment. False for a repeat, which changes nothing."""
    with transaction.atomic():
        if order.amount is None or not orders.take(orders.OWE, order, due_at=None):
            return False
        return owe(order, order.trade_no, order.amount, cause, now=now)


def send(refund: Refund, *, now: datetime) -> datetime | None:
    """Take the next step of a refund; return when the one after is due. AlipayError, GroupBuyError.

    Alipay returns the money even if the platform is down: its part comes last in each step.
    """
    if refund.state == Refund.State.CONFIRMED:
        _report(refund)
        return None
    if refund.state == Refund.State.SENT and alipay.is_refunded(
        trade_no=refund.trade_no, out_request_no=refund.out_request_no, now=now
    ):
        _store_reason(refund.order, now)
        _confirm(refund, now)
        return None
    # Not sent yet, or sent and not carried out: repeating the request cannot pay twice.
    alipay.refund(
        trade_no=refund.trade_no,
        amount=refund.amount,
        out_request_no=refund.out_request_no,
        now=now,
    )
    own = Refund.objects.filter(pk=refund.pk, state=Refund.State.REQUESTED)
    own.update(state=Refund.State.SENT, sent_at=now, problem="", tries=0)
    _store_reason(refund.order, now)
    return now + ASK_AFTER


def report_again(order: Order, *, now: datetime) -> None:
    """Let the loop report the refund of the order's own payment again, if it is confirmed."""
    own = Refund.objects.filter(trade_no=order.trade_no, state=Refund.State.CONFIRMED)
    own.update(due_at=now, tries=0)


def _confirm(refund: Refund, now: datetime) -> None:
    order = refund.order
    is_own = refund.trade_no == order.trade_no  # else it is a second payment
    done = {"state": Refund.State.CONFIRMED, "confirmed_at": now, "problem": "", "tries": 0}
    with transaction.atomic(durable=True):
        sent = Refund.objects.filter(pk=refund.pk, state=Refund.State.SENT)
        if sent.update(**done, due_at=now if is_own and order.in_team else None):
            if is_own:
                orders.take(orders.REPAID, order, due_at=None)
            orders.send_message(order, Message.Kind.RETURNED, now=now)


def _report(refund: Refund) -> None:
    """Report to the platform that the money is back. A repeat changes nothing."""
    order = refund.order
    try:
        market.client().confirm_refund(
            user_id=order.shopper.user_id,
            out_trade_no=order.number,
            amount=refund.amount,
            refunded_at=refund.confirmed_at or refund.requested_at,
        )
    except GroupBuyError as error:
        if error.code not in UNREPORTABLE:
            raise
        Refund.objects.filter(pk=refund.pk).update(problem=str(error)[:255])
    else:
        Refund.objects.filter(pk=refund.pk).update(problem="")


def _store_reason(order: Order, now: datetime) -> None:
    """Store why the order was closed, and send the shopper that message. Raises GroupBuyError.

    The notification's paid_unformed covers a failed team and a cancelled order; the platform's
    order has the reason.
    """
    if order.status != Order.Status.WAIT_REFUND or order.close_reason:
        return
    reason = _close_reason(order) or "refunded"
    failed = reason == "team_ended"
    with transaction.atomic(durable=True):
        if Order.objects.filter(pk=order.pk, close_reason="").update(close_reason=reason):
            kind = Message.Kind.FAILED if failed else Message.Kind.CANCELLED
            orders.send_message(order, kind, now=now)
    order.close_reason = reason


def _close_reason(order: Order) -> str:
    """The platform's close reason; "" for an order that it does not know."""
    if not order.in_team:
        return ""
    try:
        return market.client().order(order.number).close_reason
    except GroupBuyError as error:
        if error.code != UNKNOWN:
            raise
        return ""
