"""A form that was still open when its order closed is paid, and the notification is lost."""

from datetime import timedelta

import pytest
from django.utils import timezone

from mall import buying, orders, payments, returning
from mall.buying import RefusedError
from mall.models import Order, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, kinds, notify, run_loop, submit
from tests.platform import Platform, refund_of

Status = Order.Status
pytestmark = pytest.mark.django_db


def close(order: Order) -> None:
    run_loop()
    order.refresh_from_db()
    assert order.status == Status.CLOSE


def pay_late(gateway: Alipay, order: Order) -> str:
    """Pay the form before its time limit, and run the loop until the limit has passed."""
    trade_no = submit(gateway, order)
    assert gateway.trades.pay(trade_no)
    run_loop()
    assert Refund.objects.count() == 0
    assert order.pay_by is not None
    run_loop(order.pay_by - timezone.now() + orders.LAST_LOOK)
    run_loop(order.pay_by - timezone.now() + 2 * orders.LAST_LOOK)
    return trade_no


def test_a_late_payment_of_an_order_that_was_given_back(place: Place, gateway: Alipay) -> None:
    order = place()
    returning.give_back(order, now=timezone.now())
    close(order)

    trade_no = pay_late(gateway, order)

    refund = Refund.objects.get()
    assert (refund.trade_no, refund.cause, refund.state) == (
        trade_no, "paid after closing", "confirmed")  # fmt: skip
    order.refresh_from_db()
    assert (order.status, order.due_at, len(books(gateway))) == (Status.CLOSE, None, 1)
    assert kinds() == ["cancelled", "returned"]


def test_a_late_payment_of_an_order_whose_seat_is_gone(place: Place, gateway: Alipay) -> None:
    order = place()
    notify(refund_of(order, "unpaid_unlock"))
    order.refresh_from_db()
    with pytest.raises(RefusedError, match="TOO_LATE"):
        buying.pay_form(order, now=timezone.now())
    close(order)
    assert order.close_reason == "hold_timeout"

    pay_late(gateway, order)

    assert (Refund.objects.get().state, len(books(gateway))) == ("confirmed", 1)


def test_a_late_payment_of_an_order_whose_next_form_failed(place: Place, gateway: Alipay) -> None:
    order = place()
    returning.give_up(order, "no_form", now=timezone.now())
    close(order)

    pay_late(gateway, order)

    assert (Refund.objects.get().state, len(books(gateway))) == ("confirmed", 1)


def test_a_trade_that_is_opened_after_closing_is_closed(place: Place, gateway: Alipay) -> None:
    order = place()
    returning.give_back(order, now=timezone.now())
    close(order)
    trade_no = submit(gateway, order)

    payments.close_trade(order, now=timezone.now())

    assert not gateway.trades.pay(trade_no)


def test_a_closed_order_without_a_payment_is_not_due_again(place: Place, gateway: Alipay) -> None:
    order = place()
    returning.give_back(order, now=timezone.now())
    close(order)
    assert order.pay_by is not None
    assert order.due_at == order.pay_by + orders.LAST_LOOK
    run_loop(order.due_at - timezone.now())
    rests = Order.objects.get(status=Status.CLOSE, due_at=None)
    assert (rests, kinds()) == (order, ["cancelled"])


def test_money_does_not_wait_for_the_platform(
    paid: Order, gateway: Alipay, platform: Platform
) -> None:
    """The refund is sent; the reason, which only the platform knows, is stored later."""
    platform.close_reason = "team_ended"
    platform.refusals["orders"] = "0001"
    notify(refund_of(paid, "paid_unformed"))
    run_loop()
    run_loop(timedelta(seconds=60))
    refund = Refund.objects.get()
    assert (refund.state, len(books(gateway)), kinds()) == ("sent", 1, ["opened"])

    platform.refusals.clear()
    run_loop(timedelta(hours=1))

    refund.refresh_from_db()
    assert (refund.state, len(books(gateway))) == ("confirmed", 1)
    assert kinds() == ["opened", "failed", "returned"]
