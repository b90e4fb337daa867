"""A refund is sent to Alipay and confirmed by it, once, and then reported to the platform."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from mall import work
from mall.models import Order, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import books, kinds, notify, run_loop
from tests.platform import Platform, refund_of

Status = Order.Status
pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("_time_stands")
def test_a_failed_team_returns_the_money_once(
    paid: Order, gateway: Alipay, platform: Platform
) -> None:
    platform.close_reason = "team_ended"
    assert notify(refund_of(paid, "paid_unformed"))
    assert not notify(refund_of(paid, "paid_unformed"))
    assert notify(refund_of(paid, "paid_unformed"), "n2")  # notified again under another id
    paid.refresh_from_db()
    refund = Refund.objects.get()
    assert (paid.status, refund.state, refund.trade_no) == (
        Status.WAIT_REFUND, "requested", paid.trade_no)  # fmt: skip

    run_loop()
    refund.refresh_from_db()
    assert (refund.state, refund.confirmed_at, len(books(gateway))) == ("sent", None, 1)
    run_loop(timedelta(seconds=9))
    refund.refresh_from_db()
    assert refund.state == "sent"  # Alipay is asked no sooner than after ten seconds
    run_loop(timedelta(seconds=11))
    refund.refresh_from_db()
    paid.refresh_from_db()
    assert (refund.state, paid.status, paid.close_reason) == (
        "confirmed", Status.CLOSE, "team_ended")  # fmt: skip
    assert (kinds(), len(books(gateway))) == (["opened", "failed", "returned"], 1)


@pytest.fixture
def sent(paid: Order) -> Refund:
    """The refund of a paid order; Alipay will confirm it at the next query."""
    notify(refund_of(paid, "paid_unformed"))
    run_loop()
    return Refund.objects.get()


def test_the_refund_is_confirmed_to_the_platform(sent: Refund, platform: Platform) -> None:
    run_loop(timedelta(seconds=11))
    run_loop(timedelta(hours=1))

    [report] = platform.called("confirm")
    sent.refresh_from_db()
    assert (report["outTradeNo"], report["refundAmount"]) == (sent.order.number, 80.0)
    assert sent.confirmed_at is not None
    assert report["refundTime"] == sent.confirmed_at.isoformat(timespec="milliseconds")
    assert (sent.state, sent.due_at, sent.problem) == ("confirmed", None, "")


def test_a_report_is_repeated_after_its_loop_has_died(sent: Refund, platform: Platform) -> None:
    run_loop(timedelta(seconds=11))
    Refund.objects.update(due_at=timezone.now() + work.LEASE)  # as a claim leaves it
    run_loop(2 * work.LEASE)

    first, again = platform.called("confirm")
    assert first == again


def test_a_report_without_an_answer_is_tried_again(sent: Refund, platform: Platform) -> None:
    platform.refusals["confirm"] = "0001"
    run_loop(timedelta(seconds=11))
    sent.refresh_from_db()
    assert (sent.state, sent.order.status, sent.problem) == ("confirmed", "CLOSE", "0001")

    platform.refusals.clear()
    run_loop(timedelta(minutes=1))

    sent.refresh_from_db()
    assert len(platform.called("confirm")) == 2
    assert (sent.state, sent.due_at, sent.problem) == ("confirmed", None, "")


@pytest.mark.parametrize("code", ["0002", "E0104"])  # 0002 with 404: an earlier platform
def test_a_report_that_is_refused_is_not_repeated(
    sent: Refund, platform: Platform, code: str
) -> None:
    platform.refusals["confirm"] = code
    run_loop(timedelta(seconds=11))
    run_loop(timedelta(hours=1))

    sent.refresh_from_db()
    assert len(platform.called("confirm")) == 1
    assert (sent.state, sent.due_at, sent.problem) == ("confirmed", None, code)


def test_a_refund_whose_answer_was_lost_is_sent_again_and_paid_once(
    paid: Order, gateway: Alipay, settings: Any
) -> None:
    notify(refund_of(paid, "paid_unformed"))
    run_loop()
    Refund.objects.update(state="requested", due_at=timezone.now())  # it died before it noted it
    run_loop()
    assert (Refund.objects.get().state, len(books(gateway))) == ("sent", 1)


def test_a_refund_that_alipay_refuses_stores_the_reason(
    paid: Order, gateway: Alipay, settings: Any
) -> None:
    gateway_url = settings.ALIPAY_GATEWAY
    settings.ALIPAY_GATEWAY = "http://127.0.0.1:1"
    notify(refund_of(paid, "paid_unformed"))
    now = run_loop()
    refund = Refund.objects.get()
    assert (refund.state, refund.due_at) == ("requested", now + timedelta(seconds=5))
    assert refund.problem.startswith("no answer from Alipay")
    settings.ALIPAY_GATEWAY = gateway_url
    run_loop(timedelta(seconds=6))
    refund.refresh_from_db()
    assert (refund.state, refund.problem) == ("sent", "")


def test_a_loop_that_dies_leaves_the_row_to_the_next_one(paid: Order, gateway: Alipay) -> None:
    notify(refund_of(paid, "paid_unformed"))
    lease = timezone.now() + work.LEASE
    Refund.objects.update(due_at=lease)  # as a claim leaves it
    run_loop()
    assert Refund.objects.get().state == "requested"
    run_loop(work.LEASE + timedelta(seconds=1))
    assert Refund.objects.get().state == "sent"
