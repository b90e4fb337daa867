"""Orders that shoppers give back."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from mall import buying, orders, returning, work
from mall.models import Order, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, kinds, notify, pay, run_loop
from tests.platform import Platform, refund_of

Status, ALONE = Order.Status, Order.Kind.ALONE
pytestmark = pytest.mark.django_db


def test_given_back_while_the_team_forms(paid: Order, platform: Platform) -> None:
    returning.give_back(paid, now=timezone.now())
    returning.give_back(paid, now=timezone.now())
    run_loop()
    assert len(platform.called("refund")) == 1
    assert Refund.objects.count() == 0  # not on the answer, only on team_refund
    platform.close_reason = "refunded"
    notify(refund_of(paid, "paid_unformed"))
    run_loop()
    run_loop(timedelta(seconds=11))
    paid.refresh_from_db()
    assert (paid.status, kinds()) == (Status.CLOSE, ["opened", "cancelled", "returned"])


def test_given_back_before_the_platform_knows_of_the_payment(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    """Settled first: a seat given back unpaid would never return the money."""
    order = place()
    pay(gateway, order)
    returning.give_back(order, now=timezone.now())
    run_loop()
    names = [name for name, _ in platform.calls if name in ("settlement", "refund")]
    assert names == ["settlement", "refund"]


def test_given_back_unpaid_it_is_closed_at_once(place: Place, platform: Platform) -> None:
    order = place()
    returning.give_back(order, now=timezone.now())
    run_loop()
    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Status.CLOSE, "refunded")
    assert (len(platform.called("refund")), Refund.objects.count()) == (1, 0)


@pytest.mark.usefixtures("_time_stands")
def test_a_seat_that_the_platform_does_not_release_is_given_back_later(
    place: Place, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    order = place()
    platform.refund_code = "fail"
    returning.give_back(order, now=timezone.now())
    now = run_loop()
    order.refresh_from_db()
    assert (order.status, order.due_at) == (Status.PAY_WAIT, now + work.PAUSES[0])
    assert len(platform.called("refund")) == 1
    assert f"{order}: fail the seat is not released" in caplog.text

    platform.refund_code = "repeat"  # its hold has ended meanwhile
    run_loop(work.PAUSES[0])
    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Status.CLOSE, "refunded")


@pytest.mark.parametrize("delivered", [False, True])
def test_bought_alone_and_given_back(
    place: Place, gateway: Alipay, platform: Platform, delivered: bool
) -> None:
    order = place(ALONE)
    pay(gateway, order)
    if delivered:
        run_loop(timedelta(seconds=31))
    returning.give_back(order, now=timezone.now())
    run_loop()
    run_loop(timedelta(seconds=11))
    order.refresh_from_db()
    assert (order.status, len(books(gateway))) == (Status.CLOSE, 1)
    assert kinds() == ["cancelled", "returned"]
    assert platform.called("confirm") == []  # it does not know of the order


def test_a_loop_that_dies_before_the_refund_row_still_owes_it(
    place: Place, gateway: Alipay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: owe_order() without its transaction."""
    order = place(ALONE)
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    returning.give_back(order, now=timezone.now())

    def die(*_row: Any, **_options: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(returning, "owe", die)
        with pytest.raises(SystemExit):
            run_loop()
    run_loop(work.LEASE + timedelta(seconds=1))
    run_loop(work.LEASE + timedelta(seconds=12))

    order.refresh_from_db()
    assert (order.status, len(books(gateway))) == (Status.CLOSE, 1)


def test_an_order_given_back_while_it_is_delivered_returns_its_money(
    place: Place, gateway: Alipay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: take() does not check wants_back."""
    order = place(ALONE)
    pay(gateway, order)
    deliver = orders.deliver

    def slowly(step: Any, row: Order) -> None:
        """The shopper's request comes after the loop has read the row, before its UPDATE."""
        returning.give_back(Order.objects.get(pk=row.pk), now=timezone.now())
        deliver(step, row)

    with monkeypatch.context() as patch:
        patch.setattr(orders, "deliver", slowly)
        run_loop(timedelta(seconds=31))
    run_loop(timedelta(seconds=40))
    run_loop(timedelta(seconds=60))

    order.refresh_from_db()
    assert (order.status, len(books(gateway))) == (Status.CLOSE, 1)


def test_an_order_that_is_given_back_has_no_payment_form(place: Place) -> None:
    order = place(ALONE)
    returning.give_back(order, now=timezone.now())
    order.refresh_from_db()

    with pytest.raises(buying.RefusedError, match="NOT_OPEN"):
        buying.pay_form(order, now=timezone.now())
