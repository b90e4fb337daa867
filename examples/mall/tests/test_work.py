"""The loop does what is due to each row, once, and an error in one row stays there."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from mall import alipay, buying, orders, work
from mall.alipay import Trade
from mall.buying import RefusedError
from mall.models import Order
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, pay, run_loop
from tests.platform import Platform

Status, ALONE = Order.Status, Order.Kind.ALONE
pytestmark = pytest.mark.django_db


def test_two_loops_do_each_thing_once(
    place: Place, gateway: Alipay, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one runs while the first, which has read both rows, is at its first row."""
    for team in ("7", "8"):
        pay(gateway, place(team_id=team))
    now = timezone.now() + timedelta(seconds=31)
    looked: list[str] = []
    query = alipay.query

    def watched(number: str, *, now: datetime) -> Trade | None:
        looked.append(number)
        if len(looked) == 1:
            assert work.work(now=now, clock=lambda: now) == 1  # the other row
        return query(number, now=now)

    monkeypatch.setattr(alipay, "query", watched)
    assert work.work(now=now, clock=lambda: now) == 1
    assert len(looked) == len(set(looked)) == 2


def test_an_error_in_one_row_does_not_stop_the_others(
    place: Place, platform: Platform, gateway: Alipay
) -> None:
    broken, other = place(ALONE), place()
    pay(gateway, other)
    Order.objects.filter(pk=broken.pk).update(status=Status.PAY_SUCCESS, kind=1, is_open=None)
    run_loop(timedelta(seconds=31))
    other.refresh_from_db()
    assert other.settled_at is not None


@pytest.mark.django_db(transaction=True)
def test_nobody_pays_for_a_seat_that_the_loop_released_during_a_retry(
    place: Place, platform: Platform
) -> None:
    """The shopper's second request takes the seat just before the loop drops the first one."""
    platform.refusals["lock"] = "0001"
    with pytest.raises(RefusedError):
        place()
    platform.refusals.clear()
    now = timezone.now() + buying.PLACE_WITHIN

    def retry() -> None:
        pay_by = now + timedelta(minutes=5)
        Order.objects.update(status=Status.PAY_WAIT, amount=Decimal("80.00"), pay_by=pay_by)
        connection.close()

    platform.during["refund"] = retry
    work.work(now=now, clock=lambda: now)

    order = Order.objects.get()
    assert (order.status, order.seat_gone) == (Status.PAY_WAIT, True)
    with pytest.raises(RefusedError, match="TOO_LATE"):
        buying.pay_form(order, now=now)
    work.work(now=now, clock=lambda: now)
    order.refresh_from_db()
    assert order.status == Status.CLOSE


def test_a_settlement_is_tried_until_it_is_answered(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    pay(gateway, order)
    platform.refusals["settlement"] = "0001"
    now = run_loop(timedelta(seconds=31))
    order.refresh_from_db()
    assert (order.settled_at, order.due_at) == (None, now + timedelta(seconds=5))
    platform.refusals.clear()
    run_loop(timedelta(seconds=37))
    order.refresh_from_db()
    assert (order.settled_at is not None, order.due_at) == (True, None)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (orders.COMPLETE, Status.WAIT_REFUND),
        (orders.OWE, Status.CLOSE),
        (orders.PAY, Status.CLOSE),
        (orders.DELIVER, Status.PAY_SUCCESS),
        (orders.REPAID, Status.DEAL_DONE),
        (orders.CLOSE_UNPAID, Status.PAY_SUCCESS),
    ],
)
def test_each_change_names_the_statuses_it_starts_from(
    place: Place, step: orders.Step, status: Order.Status
) -> None:
    order = place()
    Order.objects.filter(pk=order.pk).update(status=status)
    assert not orders.take(step, order, due_at=None)
    order.refresh_from_db()
    assert order.status == status
