"""Orders given back, the platform's notifications, and money that returns exactly once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from groupbuy_client import read_notification
from mall import alipay, buying, callbacks, orders, returning, work
from mall.alipay import Trade
from mall.models import Cursor, Message, Order, Received, Refund
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, pay, run_loop
from tests.platform import ACTIVITY, TEAM, Platform

Status, ALONE = Order.Status, Order.Kind.ALONE
pytestmark = pytest.mark.django_db


def success(*numbers: str) -> dict[str, Any]:
    return {"teamId": TEAM, "outTradeNoList": list(numbers)}


def refund_of(order: Order, kind: str) -> dict[str, Any]:
    ids = {"userId": order.shopper.user_id, "teamId": TEAM, "orderId": "1", "activityId": ACTIVITY}
    return {"type": kind, "outTradeNo": order.number, **ids}


def notify(payload: dict[str, Any], key: str = "n1") -> bool:
    notification = read_notification(key, json.dumps(payload))
    return callbacks.apply(notification, payload, via="http", now=timezone.now())


@pytest.fixture
def paid(place: Place, gateway: Alipay, platform: Platform) -> Order:
    """An order in a team, paid and settled."""
    order = place()
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    order.refresh_from_db()
    assert (order.status, order.settled_at is not None) == (Status.PAY_SUCCESS, True)
    platform.calls.clear()
    return order


def kinds() -> list[str]:
    return list(Message.objects.order_by("pk").values_list("kind", flat=True))


def books(gateway: Alipay) -> list[str]:
    return [row["out_request_no"] for row in gateway.trades.books()["returned"]]


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


def test_nothing_ships_after_a_refund_that_overtook_the_completion(paid: Order) -> None:
    notify(refund_of(paid, "paid_formed"))
    notify(success(paid.number), "n2")
    paid.refresh_from_db()
    assert paid.status == Status.WAIT_REFUND
    run_loop()
    run_loop(timedelta(seconds=11))
    paid.refresh_from_db()
    assert (paid.status, "complete" in kinds()) == (Status.CLOSE, False)


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


def test_a_loop_that_dies_leaves_the_row_to_the_next_one(paid: Order, gateway: Alipay) -> None:
    notify(refund_of(paid, "paid_unformed"))
    lease = timezone.now() + work.LEASE
    Refund.objects.update(due_at=lease)  # as a claim leaves it
    run_loop()
    assert Refund.objects.get().state == "requested"
    run_loop(work.LEASE + timedelta(seconds=1))
    assert Refund.objects.get().state == "sent"


def test_an_error_in_one_row_does_not_stop_the_others(
    place: Place, platform: Platform, gateway: Alipay
) -> None:
    broken, other = place(ALONE), place()
    pay(gateway, other)
    Order.objects.filter(pk=broken.pk).update(status=Status.PAY_SUCCESS, kind=1, is_open=None)
    run_loop(timedelta(seconds=31))
    other.refresh_from_db()
    assert other.settled_at is not None


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


def test_a_failed_catch_up_is_repeated_soon(paid: Order, platform: Platform) -> None:
    platform.refusals["events"] = "0001"
    work.daily(now=timezone.now(), at_start=True)
    platform.refusals.clear()
    platform.calls.clear()
    work.daily(now=timezone.now() + timedelta(seconds=3))
    assert platform.calls == []
    work.daily(now=timezone.now() + timedelta(seconds=6))
    assert [name for name, _ in platform.calls] == ["events"]


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
