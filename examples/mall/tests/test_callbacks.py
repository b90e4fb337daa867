"""What the platform's notifications do to their orders, and what fetches the missed ones."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from mall import work
from mall.models import Cursor, Order, Received, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, kinds, notify, pay, run_loop
from tests.platform import Platform, refund_of, success

Status = Order.Status
pytestmark = pytest.mark.django_db


def test_a_complete_team_is_delivered_once(paid: Order) -> None:
    assert notify(success(paid.number, "another"))
    assert not notify(success(paid.number, "another"))
    paid.refresh_from_db()
    assert paid.status == Status.MARKET
    run_loop()
    paid.refresh_from_db()
    assert (paid.status, paid.due_at) == (Status.DEAL_DONE, None)
    assert kinds() == ["opened", "complete"]
    assert Received.objects.get().key == "n1"


def test_nothing_ships_after_a_refund_that_overtook_the_completion(paid: Order) -> None:
    notify(refund_of(paid, "paid_formed"))
    notify(success(paid.number), "n2")
    paid.refresh_from_db()
    assert paid.status == Status.WAIT_REFUND
    run_loop()
    run_loop(timedelta(seconds=11))
    paid.refresh_from_db()
    assert (paid.status, "complete" in kinds()) == (Status.CLOSE, False)


def test_a_seat_that_is_gone_closes_the_order(place: Place, gateway: Alipay) -> None:
    order = place()
    notify(refund_of(order, "unpaid_unlock"))
    run_loop()
    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Status.CLOSE, "hold_timeout")


def test_a_seat_that_is_gone_leaves_a_paid_order_to_its_settlement(paid: Order) -> None:
    notify(refund_of(paid, "unpaid_unlock"))
    before = (paid.status, paid.pay_by, paid.due_at)
    paid.refresh_from_db()
    assert (paid.status, paid.pay_by, paid.due_at) == before
    assert Refund.objects.count() == 0


def test_a_payment_on_its_way_when_the_seat_goes_is_settled(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    pay(gateway, order)
    platform.refusals["settlement"] = "E0106"
    notify(refund_of(order, "unpaid_unlock"))
    run_loop()
    order.refresh_from_db()
    assert (order.status, order.settle_code, order.due_at) == (Status.PAY_SUCCESS, "E0106", None)
    assert Refund.objects.count() == 0  # not on the answer
    platform.close_reason = "late_payment"
    notify(refund_of(order, "paid_unformed"), "n2")
    run_loop()
    run_loop(timedelta(seconds=11))
    order.refresh_from_db()
    assert (order.status, kinds()) == (Status.CLOSE, ["cancelled", "returned"])
    assert len(books(gateway)) == 1


def test_missed_notifications_are_fetched(paid: Order, platform: Platform) -> None:
    at = datetime.now(UTC).isoformat()
    platform.events = [
        {"no": 1, "id": "n1", "event": "team_success", "payload": success(paid.number),
         "createdAt": at},
        {"no": 2, "id": "n2", "event": "team_new", "payload": {"x": 1}, "createdAt": at},
    ]  # fmt: skip
    work.daily(now=timezone.now(), at_start=True)
    paid.refresh_from_db()
    assert (paid.status, Cursor.objects.get().after) == (Status.MARKET, 2)
    assert not notify(success(paid.number))  # the callback of the same, later

    platform.calls.clear()
    work.daily(now=timezone.now() + timedelta(hours=23))
    assert platform.calls == []
    work.daily(now=timezone.now() + timedelta(hours=25))
    assert [name for name, _ in platform.calls] == ["events"]


@pytest.mark.usefixtures("_time_stands")
def test_a_failed_catch_up_is_repeated_soon(paid: Order, platform: Platform) -> None:
    platform.refusals["events"] = "0001"
    work.daily(now=timezone.now(), at_start=True)
    platform.refusals.clear()
    platform.calls.clear()
    work.daily(now=timezone.now() + timedelta(seconds=3))
    assert platform.calls == []
    work.daily(now=timezone.now() + timedelta(seconds=6))
    assert [name for name, _ in platform.calls] == ["events"]
