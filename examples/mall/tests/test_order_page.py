"""The page of an order in each of its states, and the page after Alipay."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from mall import orders, payments
from mall.buying import RefusedError
from mall.models import Order, Shopper
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, notify, pay, run_loop, text, trade
from tests.platform import Platform, refund_of, success

Status = Order.Status
pytestmark = pytest.mark.django_db


def test_an_order_page_in_each_state(browser: Client, place: Place, gateway: Alipay,
                                     platform: Platform) -> None:  # fmt: skip
    order = place()
    path = f"/orders/{order.number}"
    seen = [text(browser, path)]
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    seen.append(text(browser, path))
    notify(success(order.number))
    seen.append(text(browser, path))
    run_loop()
    seen.append(text(browser, path))
    notify(refund_of(order, "paid_formed"), "n2")
    seen.append(text(browser, path))
    run_loop()
    run_loop(timedelta(seconds=11))
    seen.append(text(browser, path))
    titles = ("Your seat is held", "<h1>Paid</h1>", "Your team is complete", "Sent to you",
              "Your money is on its way back", "Your money is back")  # fmt: skip
    assert [title in page for title, page in zip(titles, seen, strict=True)] == [True] * 6
    heads = [re.search("<title>(.*) · Order</title>.*<h1>(.*)</h1>", each, re.S) for each in seen]
    assert [each and each[1] == each[2] for each in heads] == [True] * 6  # read after a reload
    assert ["aria-live" in page for page in seen] == [False] * 6  # the clock ticks
    assert [page.count("/go/order/") for page in seen] == [1] * 6  # one way to the team
    for sign in (f'data-poll="{path}/state"', '<noscript><meta http-equiv="refresh" content="15">'):
        assert [sign in page for page in seen] == [True, True, True, False, True, False]
    assert "the team needs one more person" in seen[1]  # before it is given back
    assert "The other members of your team keep their price" in seen[3]
    assert ("Cancel the order" in seen[4], "Money back · confirmed" in seen[5]) == (False, True)


def test_nobody_sees_the_order_of_somebody_else(browser: Client, place: Place) -> None:
    order = place(who=Shopper.objects.create(user_id="liergou"))
    for path in ("", "/state"):
        assert browser.get(f"/orders/{order.number}{path}").status_code == 404
    assert browser.post(f"/orders/{order.number}/back").status_code == 404
    assert browser.get(f"/go/order/{order.number}").status_code == 404
    order.refresh_from_db()
    assert order.wants_back is False


def test_back_from_alipay_without_a_session(visitor: Client, place: Place, gateway: Alipay) -> None:
    order = place()
    page = text(visitor, "/paid", out_trade_no=order.number)
    reload = '<noscript><meta http-equiv="refresh" content="15"></noscript>'
    assert ("<title>We are waiting for Alipay</title>" in page, reload in page) == (True, True)
    assert "aria-live" not in page
    state = {"out_trade_no": order.number}
    assert visitor.get("/paid/state", state).json() == {"state": "waiting"}
    pay(gateway, order)
    text(visitor, "/paid", out_trade_no=order.number, trade_status="TRADE_SUCCESS")
    order.refresh_from_db()
    assert order.status == Status.PAY_WAIT  # the page's address pays nothing
    run_loop()  # and Alipay is asked at once
    assert visitor.get("/paid/state", state).json() == {"state": "paid"}
    page = text(visitor, "/paid", out_trade_no=order.number)
    assert "<title>Your payment has arrived</title>" in page
    assert ("¥" in page, "a book" in page) == (False, False)
    assert f'<a class="main" href="/go/order/{order.number}">To your team</a>' in page


def test_back_from_alipay_with_a_payment_that_goes_back(
    visitor: Client, place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    query = {"out_trade_no": order.number}
    pay(gateway, order)
    platform.refusals["settlement"] = "0001"
    run_loop(timedelta(seconds=31))
    assert visitor.get("/paid/state", query).json() == {"state": "paid"}

    platform.refusals["settlement"] = "E0106"
    run_loop(timedelta(seconds=37))
    states = [visitor.get("/paid/state", query).json()["state"]]
    pages = [text(visitor, "/paid", **query)]
    notify(refund_of(order, "paid_unformed"))
    Order.objects.update(settle_code="")  # as of an order that was settled
    for seconds in (37, 48):
        run_loop(timedelta(seconds=seconds))
        states.append(visitor.get("/paid/state", query).json()["state"])
        pages.append(text(visitor, "/paid", **query))

    assert (Order.objects.get().status, states) == (Status.CLOSE, ["refund"] * 3)
    link = f'<a class="main" href="/orders/{order.number}">To your order</a>'
    for page in pages:
        assert ("<p>Your money comes back.</p>" in page, link in page) == (True, True)
        assert ("Thank you" in page, "/go/order/" in page) == (False, False)


def test_a_payment_after_closing_is_not_called_unpaid(
    visitor: Client, browser: Client, place: Place, gateway: Alipay
) -> None:
    order, late = place(), "Your payment came after the order was closed."
    trade_no, query = pay(gateway, order), {"out_trade_no": order.number}
    assert orders.take(orders.CLOSE_UNPAID, order, due_at=None)
    assert "Nothing was paid" in text(visitor, "/paid", **query)
    assert "It was not paid" in text(browser, f"/orders/{order.number}")

    payments.record(order, trade(order, trade_no), now=timezone.now())

    assert visitor.get("/paid/state", query).json() == {"state": "returned"}
    page = text(visitor, "/paid", **query)
    assert (late in page, "Nothing was paid" in page) == (True, False)
    page = text(browser, f"/orders/{order.number}")
    assert (late in page, "It was not paid" in page) == (True, False)
    assert "<dt>Paid</dt><dd>¥80.00</dd>" in page
    assert "data-poll" in page  # until the refund is confirmed
    assert "<dt>Money back · to be sent</dt><dd>¥80.00</dd>" in page


def test_an_order_bought_alone_has_no_seat(browser: Client, place: Place) -> None:
    order = place(Order.Kind.ALONE)
    page = text(browser, f"/orders/{order.number}")
    assert ("You have not paid, so no money moves." in page, "seat" in page) == (True, False)

    browser.post(f"/orders/{order.number}/back")
    page = text(browser, f"/orders/{order.number}")
    assert ("If you have paid, your money will follow." in page, "seat" in page) == (True, False)

    run_loop()
    page = text(browser, f"/orders/{order.number}")
    assert ("It was not paid." in page, "seat" in page) == (True, False)


def test_an_order_that_was_refused_had_no_seat(
    browser: Client, place: Place, platform: Platform
) -> None:
    platform.refusals["lock"] = "E0006"
    with pytest.raises(RefusedError):
        place()
    refused = Order.objects.get()
    platform.refusals.clear()
    unpaid = place()
    assert orders.take(orders.CLOSE_UNPAID, unpaid, due_at=None)

    said = "It was not paid, and the seat is free again."
    assert said in text(browser, f"/orders/{unpaid.number}")
    page = text(browser, f"/orders/{refused.number}")
    assert ("<p>It was not paid.</p>" in page, "seat" in page) == (True, False)


def test_an_order_page_is_reloaded_after_a_final_refusal(
    browser: Client, place: Place, gateway: Alipay, platform: Platform
) -> None:
    order = place()
    path = f"/orders/{order.number}"
    pay(gateway, order)
    platform.refusals["settlement"] = "0001"
    run_loop(timedelta(seconds=31))
    page, before = text(browser, path), browser.get(f"{path}/state").json()["state"]
    assert "Your payment is being added to your team." in page
    assert f'data-state="{before}"' in page

    platform.refusals["settlement"] = "E0106"
    run_loop(timedelta(seconds=37))

    assert browser.get(f"{path}/state").json()["state"] != before
    assert "Your payment came too late for the seat." in text(browser, path)
    Order.objects.update(settle_code="E0105")  # the channel is blacklisted
    assert "Your payment could not be accepted." in text(browser, path)


def test_the_time_left_is_counted_by_the_servers_clock(browser: Client, place: Place) -> None:
    order = place()
    page = text(browser, f"/orders/{order.number}")
    assert order.pay_by is not None
    assert f'data-until="{int(order.pay_by.timestamp())}"' in page
    assert re.search(r'<body data-now="\d{10}">', page)


def test_given_back_by_its_page(browser: Client, place: Place) -> None:
    order = place()
    assert browser.post(f"/orders/{order.number}/back").status_code == 303
    assert "Being cancelled" in text(browser, f"/orders/{order.number}")
    state = browser.get(f"/orders/{order.number}/state").json()
    assert state == {"state": "PAY_WAIT..True."}
    run_loop()
    page = text(browser, f"/orders/{order.number}")
    assert ("It was not paid" in page, "data-poll" in page) == (True, False)


def test_an_order_given_back_after_delivery_is_polled_again(
    browser: Client, place: Place, gateway: Alipay
) -> None:
    order = place(Order.Kind.ALONE)
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    assert "data-poll" not in text(browser, f"/orders/{order.number}")
    browser.post(f"/orders/{order.number}/back")
    assert "data-poll" in text(browser, f"/orders/{order.number}")


def test_inside_wechat_the_page_says_what_to_do(browser: Client, place: Place) -> None:
    agent = {"User-Agent": "Mozilla/5.0 MicroMessenger/8.0"}
    page = browser.get(f"/orders/{place().number}", headers=agent).content.decode()
    assert ("open this page in your browser" in page, "gateway.do" in page) == (True, False)
