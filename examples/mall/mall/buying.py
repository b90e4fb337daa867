"""Place an order (下单): first the row, then a seat in a team, then the payment form.

Nothing uses the network inside a transaction. If a process dies in between, the loop closes the row
and gives the seat back.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from groupbuy_client import GroupBuyError
from mall import alipay, market, orders, returning
from mall.alipay import AlipayError, Form
from mall.models import Goods, Order, Shopper

log = logging.getLogger(__name__)
PLACE_WITHIN = timedelta(minutes=1)  # then the loop closes it; longer than our three calls take
FIRST_LOOK = timedelta(seconds=30)  # until the loop queries Alipay
AGAIN = ""  # the code of a refusal that may be temporary
SEAT_FREE, TEAM_FULL = "E0005", ("E0006", "E0008")
SEAT_RETURNED = returning.UNKNOWN  # a repeated lock: its seat was given back meanwhile


class RefusedError(Exception):
    """The order is refused. `code` is the platform's or one of ours; `text` is for the shopper.

    price: the new price, if the refusal is that it has changed.
    """

    def __init__(self, code: str, text: str, price: Decimal | None = None) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.price = price

    @property
    def is_passing(self) -> bool:
        """May the same order succeed a moment later?"""
        return self.code in (AGAIN, SEAT_FREE, SEAT_RETURNED)

    @property
    def is_full(self) -> bool:
        return self.code in TEAM_FULL


@dataclass(frozen=True, slots=True)
class Wish:
    """What a shopper wants to buy. Only the shopper and the goods are trusted."""

    shopper: Shopper
    goods: Goods
    kind: Order.Kind
    activity_id: int | None = None  # None: the one that the platform sells now
    team_id: str = ""  # "" opens a team
    shown: Decimal | None = None  # the price that the shopper has seen


def place(wish: Wish, *, now: datetime) -> Order:
    """Place an order that waits for its payment. A repeat returns the open one. RefusedError."""
    require_on_sale(wish.goods)
    order = _open_order(wish, now)
    if order.status == Order.Status.CREATE:
        _hold(order, wish, now)
    return order


def require_on_sale(goods: Goods) -> None:
    if not goods.on_sale:
        raise RefusedError("SOLD_OUT", _("This is sold out."))


def pay_form(order: Order, *, now: datetime) -> Form:
    """Make a fresh payment form. If that fails, give the seat back and raise RefusedError."""
    waits = order.status == Order.Status.PAY_WAIT and not order.wants_back
    if not waits or order.amount is None or order.pay_by is None:
        raise RefusedError("NOT_OPEN", _("This order is no longer waiting for a payment."))
    if order.pay_by <= now or order.seat_gone:
        raise RefusedError("TOO_LATE", _("The time to pay for this order is over."))
    try:
        return alipay.pay_form(
            number=order.number,
            amount=order.amount,
            subject=order.goods_name,
            pay_by=order.pay_by,
            return_url=f"{settings.MALL_URL}/paid",
            now=now,
        )
    except AlipayError as error:
        returning.give_up(order, "no_form", now=now)
        if order.in_team:
            text = _("We cannot take payments just now. Your seat is free again.")
        else:
            text = _("We cannot take payments just now. Nothing was paid.")
        raise RefusedError("NO_FORM", text) from error


def reason(error: GroupBuyError) -> RefusedError:
    """The platform's refusal in the shopper's language."""
    if error.retryable:
        return RefusedError(AGAIN, _("The group offer is not responding. Try again."))
    texts = {
        "E0003": _("Group buying is paused at the moment."),
        "E0004": _("The offer is not open to you yet."),
        "E0005": _("A seat has just become free. Try again."),
        "E0006": _("This team is full."),
        "E0007": _("The offer is for invited customers."),
        "E0008": _("Somebody took the last seat a moment ago."),
        "E0009": _("You are in this team already."),
        "E0010": _("Nobody can join this team any more."),
        "E0101": _("The offer is not in effect."),
        "E0102": _("The offer has not begun, or has ended."),
        "E0103": _("You have taken part as often as this offer allows."),
        SEAT_RETURNED: _("Your earlier order was just closed. Try again."),
        "E0107": _("You hold too many unpaid seats. Pay for one, or cancel one."),
    }
    if not error.code.startswith("E"):  # our key, our channel or our request is wrong
        log.error("the platform refused our request: %s", error)
    return RefusedError(error.code, texts.get(error.code, _("There is no group offer for this.")))


def _open_order(wish: Wish, now: datetime) -> Order:
    """Create or find the shopper's one open order of this kind; a unique key decides races."""
    key = {
        "shopper": wish.shopper,
        "goods": wish.goods,
        "kind": wish.kind,
        "wanted_team": wish.team_id,
        "is_open": True,
    }
    try:
        with transaction.atomic(durable=True):
            return Order.objects.create(
                **key,
                number=orders.new_number(now),
                goods_name=wish.goods.name,
                price=wish.goods.price,
                created_at=now,
                due_at=now + PLACE_WITHIN,
            )
    except IntegrityError:
        order = Order.objects.filter(**key).first()
    if order is None:
        raise RefusedError(AGAIN, _("Your earlier order was just closed. Try again."))
    return order


def _hold(order: Order, wish: Wish, now: datetime) -> None:
    """Hold a seat if the order is for a team, and let the order wait for its payment."""
    held: dict[str, Any] = {"amount": order.price, "pay_by": now + settings.PAY_WITHIN}
    if order.in_team:
        held = _seat(order, wish)
    if wish.shown is not None and held["amount"] > wish.shown:
        returning.give_up(order, "price", now=now)
        text = _("The price has changed to ¥%(price)s. Check it before you buy.")
        raise RefusedError("PRICE", text % {"price": held["amount"]}, held["amount"])
    # wants_back: an earlier request may have left the order to the loop, by give_up().
    if orders.take(orders.AWAIT_PAYMENT, order, due_at=now + FIRST_LOOK, wants_back=False, **held):
        return
    order.refresh_from_db()  # another request of the shopper was faster, or the loop closed it
    if order.status == Order.Status.CLOSE:
        _release(order)
        raise RefusedError(AGAIN, _("This took too long. Try again."))


def _release(order: Order) -> None:
    """Give a closed order's seat back; if that fails, it becomes free at the end of its hold."""
    try:
        returning.release(order)
    except GroupBuyError as error:
        log.warning("order %s: its seat was not given back: %s", order.number, error)


def _seat(order: Order, wish: Wish) -> dict[str, Any]:
    """Lock a seat; return the order's columns. A refusal that is not temporary closes the order."""
    try:
        activity_id = wish.activity_id or _activity(wish)
        seat = market.client().lock(
            user_id=wish.shopper.user_id,
            goods_id=wish.goods.goods_id,
            activity_id=activity_id,
            out_trade_no=order.number,
            notify_url=market.notify_url(),
            team_id=wish.team_id or None,
        )
        pay_by = market.client().order(order.number).pay_deadline
    except GroupBuyError as error:
        refused = reason(error)
        if refused.code != AGAIN:
            orders.take(orders.REFUSE, order, due_at=None, close_reason=refused.code)
        raise refused from error
    return {
        "amount": seat.pay_price,
        "activity_id": activity_id,
        "team_id": seat.team_id,
        "pay_by": pay_by,
    }


def _activity(wish: Wish) -> int:
    """The activity in which the platform sells these goods now. Raises GroupBuyError."""
    trial = market.client().trial(user_id=wish.shopper.user_id, goods_id=wish.goods.goods_id)
    if trial.refusals or trial.activity_id is None:
        first = trial.refusals[0] if trial.refusals else None
        raise GroupBuyError(
            first.code if first else "E0002", first.info if first else "", status=200
        )
    return trial.activity_id
