"""Place an order: one open order of a kind, a seat before the form, refusals with their reason."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from django.db import connection
from django.utils import timezone, translation

from mall import alipay, buying, market, orders, work
from mall.buying import RefusedError, Wish
from mall.models import Goods, Order, Shopper
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, run_loop
from tests.platform import ACTIVITY, Platform

Status, ALONE, IN_TEAM = Order.Status, Order.Kind.ALONE, Order.Kind.TEAM
pytestmark = pytest.mark.django_db


def test_a_seat_is_locked_and_its_price_asked_for(place: Place, platform: Platform) -> None:
    order = place(team_id="7")

    [lock] = platform.called("lock")
    assert lock == {
        "userId": "xiaofuge", "goodsId": "9890001", "activityId": ACTIVITY, "teamId": "7",
        "outTradeNo": order.number, "source": "s01", "channel": "c01", "key": "Bearer gbm_tests",
        "notifyConfigVO": {
            "notifyType": "HTTP",
            "notifyUrl": "http://127.0.0.1:8100/api/v1/alipay/group_buy_notify",
        },
    }  # fmt: skip
    order.refresh_from_db()
    assert (order.status, order.amount, order.price) == (
        Status.PAY_WAIT, Decimal("80.00"), Decimal("100.00"))  # fmt: skip
    assert (order.team_id, order.activity_id, order.pay_by) == (
        "7", ACTIVITY, platform.pay_deadline)  # fmt: skip
    assert (len(order.number), order.number.isdigit()) == (20, True)


def test_bought_alone_nothing_is_locked(place: Place, platform: Platform) -> None:
    order = place(ALONE)
    assert (order.status, order.amount) == (Status.PAY_WAIT, Decimal("100.00"))
    assert order.pay_by is not None
    assert timedelta(minutes=29) < order.pay_by - timezone.now() <= timedelta(minutes=30)
    assert platform.calls == []


def test_without_an_activity_the_trial_names_it(
    place: Place, goods: Goods, shopper: Shopper, platform: Platform
) -> None:
    order = buying.place(Wish(shopper, goods, IN_TEAM), now=timezone.now())
    assert order.activity_id == ACTIVITY
    assert len(platform.called("trial")) == 1


def test_a_repeat_is_the_same_order_with_a_fresh_form(place: Place, platform: Platform) -> None:
    first, second = place(), place()
    assert second.pk == first.pk
    assert len(platform.called("lock")) == 1
    earlier, later = timezone.now(), timezone.now() + timedelta(seconds=1)
    forms = [buying.pay_form(second, now=now).fields for now in (earlier, later)]
    assert forms[0]["biz_content"] == forms[1]["biz_content"]
    assert forms[0]["timestamp"] != forms[1]["timestamp"]


def test_another_team_another_kind_and_another_shopper_are_other_orders(place: Place) -> None:
    friend = Shopper.objects.create(user_id="liergou")
    found = [place(), place(team_id="7"), place(team_id="8"), place(ALONE), place(who=friend)]
    assert len({order.number for order in found}) == 5


def test_once_paid_or_closed_the_next_one_is_new(place: Place) -> None:
    first = place(ALONE)
    assert orders.take(orders.PAY, first, due_at=None, trade_no="1")
    assert first.is_open is None
    second = place(ALONE)
    assert second.pk != first.pk


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_make_one_order(place: Place, platform: Platform) -> None:
    """Two clicks, two tabs: the unique key decides."""
    barrier, found = threading.Barrier(4), []

    def click() -> None:
        barrier.wait()
        try:
            found.append(place().number)
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    order = Order.objects.get()
    assert (order.status, order.number) == (Status.PAY_WAIT, found[0])
    assert {call["outTradeNo"] for call in platform.called("lock")} == {order.number}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("E0006", "This team is full."),
        ("E0103", "You have taken part as often as this offer allows."),
        ("E0104", "Your earlier order was just closed. Try again."),
        ("E0002", "There is no group offer for this."),
        ("0403", "There is no group offer for this."),
    ],
)
def test_a_refused_lock_refuses_the_order(
    place: Place, platform: Platform, code: str, says: str
) -> None:
    platform.refusals["lock"] = code
    with translation.override("en"), pytest.raises(RefusedError, match=says) as refused:
        place()
    assert refused.value.code == code
    order = Order.objects.get()
    assert (order.status, order.amount, order.close_reason, order.is_open, order.due_at) == (
        Status.CLOSE, None, code, None, None)  # fmt: skip


def test_while_the_platform_is_down_an_order_is_refused_and_closed_by_the_loop(
    place: Place, platform: Platform
) -> None:
    platform.refusals["lock"] = "0001"
    with pytest.raises(RefusedError) as refused:
        place()
    assert refused.value.code == ""
    assert Order.objects.get().status == Status.CREATE

    run_loop(buying.PLACE_WITHIN + timedelta(seconds=1))

    order = Order.objects.get()
    assert (order.status, order.close_reason, order.due_at) == (Status.CLOSE, "not_placed", None)
    assert len(platform.called("refund")) == 1  # it may have been locked after all


def test_a_slow_platform_is_waited_for() -> None:
    """By its guide for 15 seconds; nothing of ours may end sooner than the calls that it makes."""
    slowest, step = timedelta(seconds=market.TIMEOUT), timedelta(seconds=2 * alipay.TIMEOUT)
    assert slowest >= timedelta(seconds=15)
    assert 3 * slowest < buying.PLACE_WITHIN  # trial, lock, order
    assert step + slowest < work.LEASE  # closing an order, or sending a refund


def test_a_second_try_continues_with_the_same_order(place: Place, platform: Platform) -> None:
    platform.refusals["lock"] = "0001"
    with pytest.raises(RefusedError):
        place()
    platform.refusals.clear()
    assert place().status == Status.PAY_WAIT
    numbers = [call["outTradeNo"] for call in platform.called("lock")]
    assert numbers[0] == numbers[1]


def test_an_order_whose_seat_was_given_back_is_followed_by_a_new_one(
    place: Place, platform: Platform
) -> None:
    """The first lock had no answer, and the platform refuses its repeat."""
    for code in ("0001", "E0104"):
        platform.refusals["lock"] = code
        with pytest.raises(RefusedError) as refused:
            place()
        assert refused.value.is_passing
    platform.refusals.clear()

    assert place().status == Status.PAY_WAIT
    first, repeat, new = [call["outTradeNo"] for call in platform.called("lock")]
    assert (repeat == first, new == first) == (True, False)
    old = Order.objects.get(number=first)
    assert (old.status, old.close_reason, old.due_at) == (Status.CLOSE, "E0104", None)


@pytest.mark.django_db(transaction=True)
def test_an_order_closed_while_it_is_placed_gives_the_seat_back(
    place: Place, platform: Platform
) -> None:
    def close() -> None:
        Order.objects.update(status=Status.CLOSE, is_open=None)
        connection.close()

    platform.during["lock"] = close
    with pytest.raises(RefusedError):
        place()
    assert Order.objects.get().status == Status.CLOSE
    assert len(platform.called("refund")) == 1


@pytest.mark.django_db(transaction=True)
def test_an_order_closed_while_it_is_placed_is_refused_even_if_its_seat_stays_held(
    place: Place, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    def close() -> None:
        Order.objects.update(status=Status.CLOSE, is_open=None)
        connection.close()

    platform.during["lock"] = close
    platform.refusals["refund"] = "0001"
    with pytest.raises(RefusedError) as refused:
        place()
    assert (refused.value.code, Order.objects.get().status) == (buying.AGAIN, Status.CLOSE)
    assert f"order {Order.objects.get().number}: its seat was not given back" in caplog.text


def test_a_seat_that_costs_more_than_shown_is_given_back(
    place: Place, platform: Platform, goods: Goods, shopper: Shopper
) -> None:
    wish = Wish(shopper, goods, IN_TEAM, ACTIVITY, shown=Decimal("79.99"))
    with pytest.raises(RefusedError) as refused:
        buying.place(wish, now=timezone.now())
    assert refused.value.code == "PRICE"
    assert (Order.objects.get().status, len(platform.called("refund"))) == (Status.CLOSE, 1)


def test_an_order_that_is_confirmed_at_the_changed_price_is_kept(
    place: Place, platform: Platform, goods: Goods, shopper: Shopper
) -> None:
    """Its seat could not be given back before, which left it to the loop."""
    platform.refusals["refund"] = "0001"
    with pytest.raises(RefusedError, match="PRICE"):
        buying.place(Wish(shopper, goods, IN_TEAM, ACTIVITY, shown=Decimal("79.99")),
                     now=timezone.now())  # fmt: skip
    assert Order.objects.get().wants_back is True
    platform.refusals.clear()

    wish = Wish(shopper, goods, IN_TEAM, ACTIVITY, shown=Decimal("80.00"))
    order = buying.place(wish, now=timezone.now())
    platform.calls.clear()
    run_loop()
    run_loop(timedelta(seconds=31))

    order.refresh_from_db()
    assert (order.status, order.wants_back) == (Status.PAY_WAIT, False)
    assert platform.called("refund") == []
    assert buying.pay_form(order, now=timezone.now()).fields["method"] == "alipay.trade.page.pay"


def test_a_price_that_rose_since_it_was_shown_is_not_charged(
    goods: Goods, shopper: Shopper
) -> None:
    wish = Wish(shopper, goods, ALONE, shown=Decimal("99.99"))
    with pytest.raises(RefusedError, match="PRICE"):
        buying.place(wish, now=timezone.now())
    assert Order.objects.get().status == Status.CLOSE


def test_a_form_that_cannot_be_made_gives_the_seat_back(
    place: Place, platform: Platform, settings: Any
) -> None:
    order = place()
    settings.ALIPAY_PRIVATE_KEY = "wrong"
    with pytest.raises(RefusedError) as refused:
        buying.pay_form(order, now=timezone.now())
    assert refused.value.code == "NO_FORM"
    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Status.CLOSE, "no_form")
    assert len(platform.called("refund")) == 1


def test_sold_out_goods_cannot_be_ordered(place: Place, goods: Goods) -> None:
    goods.on_sale = False
    with pytest.raises(RefusedError, match="SOLD_OUT"):
        place()
    assert Order.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_during_a_network_call(
    place: Place, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, request = [], requests.Session.request

    def checked(*args: Any, **kwargs: Any) -> Any:
        assert not connection.in_atomic_block
        seen.append(args)
        return request(*args, **kwargs)

    monkeypatch.setattr(requests.Session, "request", checked)
    place()
    run_loop(timedelta(hours=1))
    assert len(seen) >= 4


def test_no_form_is_made_for_an_order_that_is_over(place: Place, gateway: Alipay) -> None:
    order = place(ALONE)
    with pytest.raises(RefusedError, match="TOO_LATE"):
        buying.pay_form(order, now=timezone.now() + timedelta(minutes=31))
    assert orders.take(orders.PAY, order, due_at=None, trade_no="1")
    with pytest.raises(RefusedError, match="NOT_OPEN"):
        buying.pay_form(order, now=timezone.now())
