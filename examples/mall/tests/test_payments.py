"""What a payment changes, and what happens to one that does not match its order."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from mall import orders, payments
from mall.models import Message, Notice, Order, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, open_form, pay, run_loop, trade
from tests.platform import Platform
from tests.test_alipay import notice

Status, ALONE = Order.Status, Order.Kind.ALONE
URL = "/api/v1/alipay/alipay_notify_url"
FORM = "application/x-www-form-urlencoded"
pytestmark = pytest.mark.django_db


def send(body: bytes) -> str:
    answer = Client().post(URL, body, content_type=FORM)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_notification_pays_its_order_once(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order, body = place(), None
    body = notice(gateway, order)
    assert [send(body), send(body)] == ["success", "success"]

    order.refresh_from_db()
    assert (order.status, order.trade_no, order.is_open) == (Status.PAY_SUCCESS, "2026", None)
    assert Notice.objects.get().verdict == "paid"
    assert platform.called("settlement") == []  # the loop does that

    run_loop()
    run_loop()
    [settlement] = platform.called("settlement")
    assert settlement["outTradeTime"] == "2026-01-31T04:00:00.000+00:00"  # Alipay's, not ours
    order.refresh_from_db()
    assert order.settled_at is not None
    assert list(Message.objects.values_list("kind", flat=True)) == ["opened"]


def test_another_notification_of_the_same_payment_changes_nothing(
    place: Place, gateway: Alipay
) -> None:
    order = place()
    assert [send(notice(gateway, order)) for _ in range(2)] == ["success", "success"]
    assert sorted(Notice.objects.values_list("verdict", flat=True)) == ["paid", "repeated"]
    assert Refund.objects.count() == 0


@pytest.mark.parametrize(
    ("falsify", "verdict"),
    [("amount", "other amount"), ("app_id", "other app"), ("order", "unknown order")],
)
def test_a_signed_notification_that_does_not_match_is_stored_without_effect(
    place: Place, gateway: Alipay, falsify: str, verdict: str
) -> None:
    order = place()
    gateway.notices.knobs.falsify = falsify
    assert send(notice(gateway, order)) == "success"
    assert Notice.objects.get().verdict == verdict
    order.refresh_from_db()
    assert (order.status, order.trade_no) == (Status.PAY_WAIT, "")


def test_a_notification_for_another_seller_is_stored(
    place: Place, gateway: Alipay, settings: object
) -> None:
    order = place()
    settings.ALIPAY_SELLER_ID = "2088000000000000"  # type: ignore[attr-defined]
    assert send(notice(gateway, order)) == "success"
    assert Notice.objects.get().verdict == "other seller"
    order.refresh_from_db()
    assert order.status == Status.PAY_WAIT


@pytest.mark.parametrize("body", [b"", b"nonsense", b"out_trade_no=1&sign_type=RSA2&sign=AAAA"])
def test_an_unsigned_notification_leaves_no_trace(gateway: Alipay, db: None, body: bytes) -> None:
    assert send(body) == "false"
    assert Notice.objects.count() == 0


def test_a_falsified_signature_leaves_no_trace(place: Place, gateway: Alipay) -> None:
    order = place()
    gateway.notices.knobs.falsify = "signature"
    assert send(notice(gateway, order)) == "false"
    order.refresh_from_db()
    assert (order.status, Notice.objects.count()) == (Status.PAY_WAIT, 0)


def test_a_get_is_refused(gateway: Alipay, db: None) -> None:
    assert Client().get(URL).status_code == 405


@pytest.mark.usefixtures("_time_stands")
def test_a_payment_is_found_without_a_notification(place: Place, gateway: Alipay) -> None:
    order = place(ALONE)
    pay(gateway, order)
    run_loop(timedelta(seconds=29))
    order.refresh_from_db()
    assert order.status == Status.PAY_WAIT

    run_loop(timedelta(seconds=31))
    order.refresh_from_db()
    assert order.status == Status.DEAL_DONE  # alone there is nobody to wait for


def test_a_second_payment_of_an_order_goes_back(place: Place, gateway: Alipay) -> None:
    order, now = place(ALONE), timezone.now()
    trade_no = pay(gateway, order)
    assert payments.record(order, trade(order, "first", "100.00"), now=now) == "paid"
    assert payments.record(order, trade(order, trade_no, "100.00"), now=now) == "second payment"
    assert payments.record(order, trade(order, trade_no, "100.00"), now=now) == "repeated"

    run_loop()
    run_loop(timedelta(seconds=11))
    refund = Refund.objects.get()
    assert (refund.trade_no, refund.cause) == (trade_no, "second payment")
    assert (refund.state, refund.amount) == ("confirmed", Decimal("100.00"))
    order.refresh_from_db()
    assert (order.status, order.trade_no) == (Status.DEAL_DONE, "first")


def test_a_payment_after_closing_goes_back(place: Place, gateway: Alipay) -> None:
    order, now = place(ALONE), timezone.now()
    trade_no = pay(gateway, order)
    assert orders.take(orders.CLOSE_UNPAID, order, due_at=None)
    paid = trade(order, trade_no, "100.00")
    assert payments.record(order, paid, now=now) == "paid after closing"
    run_loop()
    run_loop(timedelta(seconds=11))
    assert Refund.objects.get().state == "confirmed"
    assert [row["trade_no"] for row in gateway.trades.books()["returned"]] == [trade_no]
    order.refresh_from_db()
    assert order.status == Status.CLOSE


def test_a_payment_of_another_amount_is_not_recorded(place: Place, gateway: Alipay) -> None:
    order = place(ALONE)
    paid = trade(order, "1", "0.01")
    assert payments.record(order, paid, now=timezone.now()) == "other amount"
    order.refresh_from_db()
    assert (order.status, Refund.objects.count()) == (Status.PAY_WAIT, 0)


def test_an_unpaid_order_is_closed_at_alipay_first(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    trade_no = open_form(gateway, order)
    run_loop(timedelta(minutes=16))
    order.refresh_from_db()
    assert (order.status, order.close_reason, order.due_at) == (Status.CLOSE, "hold_timeout", None)
    assert gateway.trades.find(trade_no=trade_no)["status"] == "TRADE_CLOSED"
    assert [call["outTradeNo"] for call in platform.called("refund")] == [order.number]
    assert list(Message.objects.values_list("kind", flat=True)) == ["cancelled"]


def test_a_payment_found_while_closing_is_recorded(
    place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    pay(gateway, order)
    run_loop(timedelta(minutes=16))
    order.refresh_from_db()
    assert (order.status, order.settled_at is not None) == (Status.PAY_SUCCESS, True)
    assert platform.called("refund") == []


def test_an_order_stays_open_while_alipay_is_down(
    place: Place, gateway: Alipay, platform: Platform, settings: object
) -> None:
    order = place()
    settings.ALIPAY_GATEWAY = "http://127.0.0.1:1"  # type: ignore[attr-defined]
    now = run_loop(timedelta(minutes=16))
    order.refresh_from_db()
    assert (order.status, platform.called("refund")) == (Status.PAY_WAIT, [])
    assert order.due_at == now + timedelta(seconds=5)


@pytest.mark.usefixtures("_time_stands")
def test_closing_is_tried_again_soon_after_many_looks(
    place: Place, gateway: Alipay, settings: object
) -> None:
    order = place(ALONE)
    assert order.pay_by is not None
    left = order.pay_by - timezone.now()
    for minutes in range(1, 30):
        run_loop(timedelta(minutes=minutes))
    order.refresh_from_db()
    assert (order.status, order.due_at) == (Status.PAY_WAIT, order.pay_by)

    settings.ALIPAY_GATEWAY = "http://127.0.0.1:1"  # type: ignore[attr-defined]
    for after, pause in ((left, 5), (left + timedelta(seconds=5), 15)):
        now = run_loop(after)
        order.refresh_from_db()
        assert (order.status, order.due_at) == (
            Status.PAY_WAIT, now + timedelta(seconds=pause))  # fmt: skip
