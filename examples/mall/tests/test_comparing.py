"""After a restore of the platform, the mall has orders and payments that the platform lacks."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from mall import returning
from mall.models import Cursor, Order, Received, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, books, notify, pay, run_loop
from tests.platform import Platform, refund_of, success

pytestmark = pytest.mark.django_db
Status = Order.Status
LOCKED, PAID, CLOSED = 0, 1, 2
AT = "2036-05-01T04:00:00.000+00:00"
WAS_PAID = [{"event": "paid", "at": AT}]


def compare(*options: str) -> tuple[list[str], str]:
    """Run the command; return the lines of its output and its error."""
    out = StringIO()
    try:
        call_command("compare", *options, stdout=out)
    except CommandError as error:
        return out.getvalue().splitlines(), str(error)
    return out.getvalue().splitlines(), ""


def unknown(platform: Platform) -> None:
    platform.refusals["orders"] = "E0104"


def says(status: int, **fields: Any) -> Callable[[Platform], None]:
    def answer(platform: Platform) -> None:
        platform.order = {"tradeOrderStatus": status} | fields

    return answer


def sent(order: Order) -> None:
    notify(success(order.number))
    run_loop()


def given_back(order: Order) -> None:
    notify(refund_of(order, "paid_unformed"))
    run_loop()
    run_loop(timedelta(seconds=11))


def left_paid(order: Order) -> None:
    """It waits for its team."""


@pytest.mark.parametrize(
    ("here", "there", "found"),
    [
        (left_paid, says(PAID), None),
        (left_paid, says(PAID, teamStatus=1), "not sent here, complete there"),
        (left_paid, says(LOCKED), "paid here, not paid there"),
        (left_paid, says(CLOSED), "paid here, not paid there"),
        (left_paid, says(CLOSED, timeline=WAS_PAID), "paid here, refunded there"),
        (left_paid, unknown, "paid here, unknown there"),
        (sent, says(PAID), "sent, not complete there"),
        (sent, says(PAID, teamStatus=1), None),
        (sent, says(LOCKED), "paid here, not paid there"),
        (sent, says(CLOSED), "sent, not complete there"),
        (sent, unknown, "sent, not complete there"),
        (given_back, says(PAID), "given back here, paid there"),
        (given_back, says(LOCKED), None),
        (given_back, unknown, None),
        (given_back, says(CLOSED, timeline=WAS_PAID), "refunded here, not confirmed there"),
        (given_back, says(CLOSED, timeline=WAS_PAID, refundAmount=80.0, refundTime=AT), None),
    ],
)
def test_differences_are_listed_and_not_changed(
    paid: Order,
    platform: Platform,
    here: Callable[[Order], None],
    there: Callable[[Platform], None],
    found: str | None,
) -> None:
    here(paid)
    there(platform)
    before = [list(model.objects.values()) for model in (Order, Refund)]
    platform.calls.clear()

    lines, failed = compare()

    assert lines == ["0 missed notifications", *([f"{paid.number}: {found}"] if found else [])]
    assert failed == ("1 differences are left." if found else "")
    assert [list(model.objects.values()) for model in (Order, Refund)] == before
    assert {name for name, _fields in platform.calls} == {"events", "orders"}


@pytest.mark.django_db(transaction=True)
def test_an_order_that_changes_while_the_platform_is_asked_does_not_differ(
    paid: Order, platform: Platform
) -> None:
    """Mutation: compare() does not read the status again."""

    def complete() -> None:
        Order.objects.update(status=Status.DEAL_DONE)
        connection.close()

    platform.during["orders"] = complete
    says(PAID, teamStatus=1)(platform)

    assert compare("--mend") == (["0 missed notifications"], "")
    assert Order.objects.get().status == Status.DEAL_DONE


def test_a_lost_settlement_is_sent_again(paid: Order, platform: Platform) -> None:
    says(LOCKED)(platform)

    lines, failed = compare("--mend")

    assert (lines[1:], failed) == (
        [f"{paid.number}: paid here, not paid there: settled again"], "")  # fmt: skip
    [settled] = platform.called("settlement")
    assert paid.paid_at is not None
    assert settled["outTradeNo"] == paid.number
    assert settled["outTradeTime"] == paid.paid_at.isoformat(timespec="milliseconds")


def test_a_payment_for_an_order_that_is_unknown_there_goes_back_once(
    paid: Order, platform: Platform, gateway: Alipay
) -> None:
    unknown(platform)
    platform.refusals["confirm"] = "E0104"

    compare("--mend")
    run_loop()
    run_loop(timedelta(seconds=11))
    compare("--mend")
    run_loop(timedelta(minutes=1))

    paid.refresh_from_db()
    refund = Refund.objects.get()
    assert (paid.status, paid.close_reason) == (Status.CLOSE, "refunded")
    assert (refund.state, refund.due_at, len(books(gateway))) == ("confirmed", None, 1)
    assert compare() == (["0 missed notifications"], "")


def test_goods_that_were_sent_are_left_to_a_person(paid: Order, platform: Platform) -> None:
    sent(paid)
    unknown(platform)

    lines, failed = compare("--mend")

    assert lines[1:] == [f"{paid.number}: sent, not complete there: left as it is"]
    assert failed == "1 differences are left."
    paid.refresh_from_db()
    assert (paid.status, Refund.objects.count()) == (Status.DEAL_DONE, 0)


def test_a_seat_that_was_given_back_is_given_back_again(
    paid: Order, platform: Platform, gateway: Alipay
) -> None:
    given_back(paid)
    run_loop(timedelta(seconds=12))
    says(PAID)(platform)
    platform.calls.clear()

    compare("--mend")
    notify(refund_of(paid, "paid_unformed"), "n2")  # which the refund there causes
    run_loop(timedelta(minutes=1))

    called = [name for name, _fields in platform.calls if name not in ("events", "orders")]
    assert called == ["refund", "confirm"]
    assert len(books(gateway)) == 1


def test_events_are_read_from_the_first_one_again(paid: Order, platform: Platform) -> None:
    says(PAID)(platform)
    Cursor.objects.update_or_create(pk=1, defaults={"after": 500})
    payload = refund_of(paid, "paid_unformed")
    platform.events = [
        {"no": 1, "id": "n1", "event": "team_refund", "payload": payload, "createdAt": AT}
    ]

    lines, _failed = compare()

    assert lines[0] == "1 missed notifications"
    assert (Cursor.objects.get().after, Received.objects.get().via) == (1, "events")


def test_unpaid_and_old_orders_are_not_compared(
    paid: Order, place: Place, gateway: Alipay, platform: Platform
) -> None:
    Order.objects.update(created_at=timezone.now() - timedelta(days=8))
    place()  # not paid
    alone = place(Order.Kind.ALONE)
    pay(gateway, alone)
    platform.calls.clear()

    compare()

    assert platform.called("orders") == []
    returning.give_back(alone, now=timezone.now())
    compare("--days", "9")
    assert len(platform.called("orders")) == 1


def test_a_refusal_of_the_platform_is_shown(paid: Order, platform: Platform) -> None:
    platform.refusals["orders"] = "0403"

    assert compare()[1] == "The platform answers: 0403"
