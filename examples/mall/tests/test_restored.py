"""After a restore of the mall, the platform and Alipay have what happened since the backup."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.utils import timezone

from mall import work
from mall.models import Cursor, Message, Notice, Order, Received, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, kinds, notify, open_form, pay, run_loop
from tests.platform import Platform, refund_of, success

pytestmark = pytest.mark.django_db
TABLES = (Order, Refund, Notice, Received, Cursor, Message)
Status = Order.Status


class Backup:
    def __init__(self) -> None:
        rows = [row for table in TABLES for row in table.objects.all()]
        self._rows = serializers.serialize("json", rows)

    def restore(self) -> None:
        for table in reversed(TABLES):
            table.objects.all().delete()
        for row in serializers.deserialize("json", self._rows):
            row.save()


def happened(platform: Platform, payload: dict[str, Any]) -> None:
    """Deliver this notification, and let GET events return it as the channel's first."""
    notify(payload)
    name = "team_success" if "outTradeNoList" in payload else "team_refund"
    at = timezone.now().isoformat()
    platform.events = [{"no": 1, "id": "n1", "event": name, "payload": payload, "createdAt": at}]


def go_on() -> None:
    """Start the loop, and run it for 43 seconds."""
    work.daily(now=timezone.now(), at_start=True)
    for seconds in (0, 31, 43):
        run_loop(timedelta(seconds=seconds))


def mend() -> None:
    """Run `compare --mend`: a notification had no effect, as its order's payment was missing."""
    call_command("compare", "--mend", stdout=StringIO())
    for seconds in (44, 56):
        run_loop(timedelta(seconds=seconds))


def test_a_payment_and_a_completion_are_found_again(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    backup = Backup()
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    happened(platform, success(order.number))
    run_loop()
    assert Order.objects.get().status == Status.DEAL_DONE

    backup.restore()
    go_on()
    platform.order = {"tradeOrderStatus": 1, "teamStatus": 1}
    mend()

    order.refresh_from_db()
    assert (order.status, books(gateway)) == (Status.DEAL_DONE, [])
    assert kinds() == ["opened", "complete"]


def test_a_payment_and_its_refund_are_found_again(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    backup = Backup()
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    happened(platform, refund_of(order, "paid_unformed"))
    run_loop()
    run_loop(timedelta(seconds=11))
    assert Order.objects.get().status == Status.CLOSE

    backup.restore()
    platform.refusals["settlement"] = "E0104"  # refunded
    go_on()
    timeline = [{"event": "paid", "at": timezone.now().isoformat()}]
    platform.order = {"tradeOrderStatus": 2, "timeline": timeline}
    mend()

    order.refresh_from_db()
    assert (order.status, Refund.objects.get().state) == (Status.CLOSE, "confirmed")
    assert len(books(gateway)) == 1


@pytest.mark.parametrize("backed_up", ["before the notification", "after it"])
def test_money_that_went_back_goes_back_once(
    place: Place, gateway: Alipay, platform: Platform, backed_up: str
) -> None:
    order = place()
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    backup = Backup()
    happened(platform, refund_of(order, "paid_unformed"))
    if backed_up == "after it":
        backup = Backup()
    run_loop()
    run_loop(timedelta(seconds=11))
    assert (Refund.objects.get().state, len(books(gateway))) == ("confirmed", 1)

    backup.restore()
    go_on()

    order.refresh_from_db()
    assert (order.status, Refund.objects.get().state) == (Status.CLOSE, "confirmed")
    assert len(books(gateway)) == 1


def being_placed() -> None:
    """Set the order back to what a backup from before its form has: it was to be given up."""
    Order.objects.update(
        status=Status.CREATE, is_open=True, amount=None, pay_by=None, activity_id=None, team_id="",
        wants_back=True, due_at=timezone.now())  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "status", "amount", "team", "messages"),
    [
        (Order.Kind.TEAM, Status.PAY_SUCCESS, "80.00", "7001", ["opened"]),
        (Order.Kind.ALONE, Status.DEAL_DONE, "100.00", "", []),
    ],
)
def test_a_payment_is_found_for_an_order_that_was_being_placed(
    place: Place,
    gateway: Alipay,
    platform: Platform,
    kind: Order.Kind,
    status: Order.Status,
    amount: str,
    team: str,
    messages: list[str],
) -> None:
    trade_no = pay(gateway, place(kind))
    being_placed()

    go_on()

    order = Order.objects.get()
    assert (order.status, order.amount, order.team_id) == (status, Decimal(amount), team)
    assert (order.trade_no, order.is_open, kinds()) == (trade_no, None, messages)
    assert len(platform.called("settlement")) == order.in_team
    assert (platform.called("refund"), Refund.objects.count()) == ([], 0)


def test_a_form_of_an_order_that_was_being_placed_cannot_be_paid_any_more(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    trade_no = open_form(gateway, place())
    being_placed()

    go_on()

    order = Order.objects.get()
    assert (order.status, order.close_reason) == (Status.CLOSE, "not_placed")
    assert (len(platform.called("refund")), gateway.trades.pay(trade_no)) == (1, False)


@pytest.mark.usefixtures("_time_stands")
@pytest.mark.parametrize("fault", ["Alipay is down", "the platform lacks the order"])
def test_no_seat_is_given_back_before_a_payment_is_ruled_out(
    place: Place, gateway: Alipay, platform: Platform, settings: Any, fault: str
) -> None:
    pay(gateway, place())
    being_placed()
    if fault == "Alipay is down":
        settings.ALIPAY_GATEWAY = "http://127.0.0.1:1"
    else:
        platform.refusals["orders"] = "E0104"

    now = run_loop()

    order = Order.objects.get()
    assert (order.status, order.due_at) == (Status.CREATE, now + timedelta(seconds=5))
    assert (platform.called("refund"), Refund.objects.count()) == ([], 0)


def test_a_payment_that_is_not_the_platforms_price_is_left_to_a_person(
    place: Place, gateway: Alipay, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    pay(gateway, place())
    being_placed()
    platform.prices["payPrice"] = 85.0

    run_loop()

    order = Order.objects.get()
    assert (order.status, order.due_at is not None) == (Status.PAY_WAIT, True)
    assert f"order {order.number}: 80.00 paid instead of 85.0" in caplog.text
    assert (platform.called("refund"), Refund.objects.count()) == ([], 0)
