"""After a restore of the mall, the platform and Alipay have what happened since the backup."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.utils import timezone

from mall import work
from mall.models import Cursor, Message, Notice, Order, Received, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, kinds, notify, pay, run_loop
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
