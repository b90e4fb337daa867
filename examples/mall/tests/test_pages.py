"""The pages: what a shopper sees and does, who sees what, and their headers."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from mall import orders, payments, returning
from mall.management.commands import prepare
from mall.middleware import loopback_only
from mall.models import Goods, Message, Order, Refund, Shopper
from mall.views.problems import server_error
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, pay, run_loop, trade
from tests.platform import ACTIVITY, Platform
from tests.test_returning import notify, refund_of, success

Status = Order.Status
OPEN = {"action": "open", "goodsId": "9890001", "activityId": str(ACTIVITY)}
pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor(db: None) -> Client:
    return Client(headers={"Accept-Language": "en"})


def text(client: Client, path: str, expected: int = 200, /, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == expected
    return answer.content.decode()


def test_everybody_sees_the_shop(visitor: Client, goods: Goods, platform: Platform) -> None:
    assert "a book" in text(visitor, "/")
    page = text(visitor, "/goods/9890001")
    assert ("¥80.00" in page, "Buy alone for ¥100.00" in page, "xf***e" in page) == (True,) * 3
    assert platform.called("index")[0]["userId"] == "guest"


def test_many_guests_at_once_cost_the_platform_one_query(
    visitor: Client, goods: Goods, platform: Platform
) -> None:
    """It limits the queries of each shopper, and all guests are one shopper."""
    for _ in range(3):
        assert "Open a team for ¥80.00" in text(visitor, "/goods/9890001")
    assert len(platform.called("index")) == 1

    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        platform.prices["payPrice"] = 70.0
        assert "Open a team for ¥70.00" in text(visitor, "/goods/9890001")


def test_a_picture_that_is_a_path_is_the_platforms(
    visitor: Client, goods: Goods, settings: Any
) -> None:
    Goods.objects.update(picture="/static/goods/1.svg")
    settings.PLATFORM_URL = "http://platform.example:9"
    assert 'src="http://platform.example:9/static/goods/1.svg"' in text(visitor, "/")
    Goods.objects.update(picture="https://pictures.example/1.svg")
    assert 'src="https://pictures.example/1.svg"' in text(visitor, "/")
    Goods.objects.update(picture="", name="《书》")
    assert '<span class="picture"><i aria-hidden="true">书</i></span>' in text(visitor, "/")


def test_the_demos_pictures_follow_the_platforms_address(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "call_command", lambda *_, **__: None)
    call_command("prepare", verbosity=0)
    assert Goods.objects.get(pk="9890001").picture == "/static/goods/9890001.svg"


def test_a_shoppers_own_team_leads_to_the_order(
    browser: Client, goods: Goods, platform: Platform
) -> None:
    page = text(browser, "/goods/9890001")
    assert ("2 more needed" in page, ">Join</a>" in page, "Your team" in page) \
        == (True, True, False)  # fmt: skip
    platform.team = {"outTradeNo": "7", "lockCount": 2}
    page = text(browser, "/goods/9890001")
    assert ("1 more needed" in page, ">Join</a>" in page) == (True, False)
    assert '<a class="small" href="/orders/7">Your order</a>' in page


def test_goods_are_sold_alone_while_the_platform_is_down(
    visitor: Client, goods: Goods, platform: Platform
) -> None:
    platform.refusals["index"] = "0001"
    page = text(visitor, "/goods/9890001")
    assert ("¥100.00" in page, "Open a team" in page) == (True, False)


def test_every_page_has_its_headers(visitor: Client, goods: Goods) -> None:
    answer = visitor.get("/")
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert (answer["X-Frame-Options"], answer["Cache-Control"]) == ("DENY", "no-store")
    assert "<style" not in answer.content.decode()


@pytest.mark.parametrize("path", ["/goods/1", "/checkout", "/checkout?goodsId=1", "/nowhere",
                                  "/paid", "/paid?out_trade_no=1", "/paid/state"])  # fmt: skip
def test_unknown_addresses(visitor: Client, path: str) -> None:
    assert "To the shop" in text(visitor, path, 404)


@pytest.mark.parametrize(
    "change",
    [{"action": "x"}, {"action": "join"}, {"activityId": "x"}, {"activityId": "9" * 20},
     {"goodsId": "x"}, {"action": "join", "teamId": "a b"}],
)  # fmt: skip
def test_a_checkout_with_invalid_parameters_is_not_found(
    browser: Client, goods: Goods, platform: Platform, change: dict[str, str]
) -> None:
    for ask in (browser.get, browser.post):
        assert ask("/checkout", OPEN | change).status_code == 404
    assert (Order.objects.count(), platform.calls) == (0, [])


@pytest.mark.parametrize("path", ["/orders", "/messages", "/orders/1", "/go/order/1"])
def test_own_pages_lead_to_the_login_and_back(visitor: Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer["Location"]).query) == {"next": [path]}


def test_a_checkout_leads_to_the_login_and_back(visitor: Client, goods: Goods) -> None:
    answer = visitor.get("/checkout", OPEN)
    assert answer["Location"].startswith("/login?next=%2Fcheckout%3Faction%3Dopen%26goodsId")
    assert visitor.post("/checkout", OPEN)["Location"] == "/login?next=%2F"
    assert Order.objects.count() == 0


def test_checkout_shows_the_trials_price_and_places_an_order(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    page = text(browser, "/checkout", **OPEN)
    assert ('name="price" value="80.00"' in page, "Order for ¥80.00" in page) == (True, True)
    assert "<dt>Saved in the team</dt><dd>−¥20.00</dd>" in page
    assert "Saved" not in text(browser, "/checkout", **(OPEN | {"action": "alone"}))
    assert platform.called("lock") == []  # looking holds nothing
    join = OPEN | {"action": "join", "teamId": "7", "price": "80.00"}
    answers = [browser.post("/checkout", join) for _ in range(2)]
    order = Order.objects.get()
    assert {answer["Location"] for answer in answers} == {f"/orders/{order.number}"}
    assert platform.called("lock")[0]["teamId"] == "7"
    page = text(browser, f"/orders/{order.number}")
    assert f'action="{gateway.url}/gateway.do?charset=utf-8"' in page
    assert "Pay ¥80.00 with Alipay" in page


def test_a_refusal_offers_to_buy_alone(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    platform.refusals["lock"] = "E0006"
    answer = browser.post("/checkout", OPEN | {"price": "80.00"})
    page = answer.content.decode()
    assert answer.status_code == 409
    assert ("This team is full." in page, "Buy alone for ¥100.00" in page) == (True, True)
    platform.refusals["trial"] = "E0002"
    assert "There is no group offer for this." in text(browser, "/checkout", 409, **OPEN)
    assert "Order for ¥100.00" in text(browser, "/checkout", **(OPEN | {"action": "alone"}))


def test_a_price_that_has_changed_is_not_charged(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    platform.prices["payPrice"] = 85.0
    answer = browser.post("/checkout", OPEN | {"price": "80.00"})
    assert answer.status_code == 409
    assert "has changed to ¥85.00" in answer.content.decode()
    assert Order.objects.get().status == Status.CLOSE


@pytest.mark.parametrize("action", ["pay", "return", "view"])
def test_the_checkout_url_leads_to_an_order(browser: Client, place: Place, action: str) -> None:
    order = place()
    asked = OPEN | {"action": action, "outTradeNo": order.number}
    assert browser.get("/checkout", asked)["Location"] == f"/orders/{order.number}"


def test_nobody_sees_the_order_of_somebody_else(browser: Client, place: Place) -> None:
    order = place(who=Shopper.objects.create(user_id="liergou"))
    for path in ("", "/state"):
        assert browser.get(f"/orders/{order.number}{path}").status_code == 404
    assert browser.post(f"/orders/{order.number}/back").status_code == 404
    assert browser.get(f"/go/order/{order.number}").status_code == 404
    order.refresh_from_db()
    assert order.wants_back is False


def test_forms_need_their_token(shopper: Shopper, place: Place) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Accept-Language": "en"})
    for path in ("/checkout", "/login/again", "/login/check", "/logout", "/orders/1/back"):
        answer = client.post(path)
        assert (answer.status_code, "That did not come from this page" in answer.content.decode()) \
            == (403, True)  # fmt: skip


def test_back_from_alipay_without_a_session(visitor: Client, place: Place, gateway: Alipay) -> None:
    order = place()
    assert "We are waiting for Alipay" in text(visitor, "/paid", out_trade_no=order.number)
    state = {"out_trade_no": order.number}
    assert visitor.get("/paid/state", state).json() == {"state": "waiting"}
    pay(gateway, order)
    text(visitor, "/paid", out_trade_no=order.number, trade_status="TRADE_SUCCESS")
    order.refresh_from_db()
    assert order.status == Status.PAY_WAIT  # the page's address pays nothing
    run_loop()  # and Alipay is asked at once
    assert visitor.get("/paid/state", state).json() == {"state": "paid"}
    page = text(visitor, "/paid", out_trade_no=order.number)
    assert "Your payment has arrived" in page
    assert ("¥" in page, "a book" in page) == (False, False)
    assert f'<a class="main" href="/go/order/{order.number}">To your team</a>' in page


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
    assert [page.count("/go/order/") for page in seen] == [1] * 6  # one way to the team
    assert "the team needs one more person" in seen[1]  # before it is given back
    assert "The other members of your team keep their price" in seen[3]
    assert ("Cancel the order" in seen[4], "Money back · confirmed" in seen[5]) == (False, True)


def test_the_time_left_is_counted_by_the_servers_clock(browser: Client, place: Place) -> None:
    order = place()
    page = text(browser, f"/orders/{order.number}")
    assert order.pay_by is not None
    assert f'data-until="{int(order.pay_by.timestamp())}"' in page
    assert re.search(r'<body data-now="\d{10}">', page)


def test_an_error_page_needs_no_template(settings: Any) -> None:
    answer = server_error(RequestFactory().get("/"))
    page = answer.content.decode()
    assert (answer.status_code, "出错了" in page, "/static/mall.css" in page) == (500, True, True)
    assert "{%" not in page
    settings.STATIC_URL = "/mall/static/"  # as below a path of a common host
    page = server_error(RequestFactory().get("/")).content.decode()
    assert '<link rel="stylesheet" href="/mall/static/mall.css">' in page


def test_given_back_by_its_page(browser: Client, place: Place) -> None:
    order = place()
    assert browser.post(f"/orders/{order.number}/back").status_code == 303
    assert "Being cancelled" in text(browser, f"/orders/{order.number}")
    state = browser.get(f"/orders/{order.number}/state").json()
    assert state == {"state": "PAY_WAIT..True."}
    run_loop()
    assert "It was not paid" in text(browser, f"/orders/{order.number}")


def test_inside_wechat_the_page_says_what_to_do(browser: Client, place: Place) -> None:
    agent = {"User-Agent": "Mozilla/5.0 MicroMessenger/8.0"}
    page = browser.get(f"/orders/{place().number}", headers=agent).content.decode()
    assert ("open this page in your browser" in page, "gateway.do" in page) == (True, False)


def test_a_message_is_marked_as_new_once(browser: Client, place: Place, gateway: Alipay) -> None:
    pay(gateway, place())
    run_loop(timedelta(seconds=31))
    assert 'class="count">1<' in text(browser, "/")
    assert "You have opened a team" in text(browser, "/messages")
    assert 'class="count"' not in text(browser, "/")
    assert Message.objects.get().read_at is not None


def test_a_shopper_is_handed_over_to_the_platform(
    browser: Client, visitor: Client, goods: Goods, place: Place, settings: Any
) -> None:
    order = place()
    link = urlsplit(browser.get(f"/go/order/{order.number}")["Location"])
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert (link.path, query["userId"], query["to"]) == (
        "/h/s01/c01", "xiaofuge", f"/my/s01/c01/order?no={order.number}")  # fmt: skip
    assert 290 <= int(query["until"]) - timezone.now().timestamp() <= 300
    assert visitor.get("/go/offers")["Location"] == f"{settings.PLATFORM_URL}/o/s01/c01"
    assert visitor.get("/go/offer/1").status_code == 404


def test_the_console_shows_what_needs_attention(
    admin_client: Client, place: Place, gateway: Alipay
) -> None:
    order = place(Order.Kind.ALONE)
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    order.refresh_from_db()
    returning.give_back(order, now=timezone.now())
    run_loop()
    Refund.objects.update(requested_at=timezone.now() - timedelta(days=2))
    for path in ("order", "refund", "notice", "goods", "shopper"):
        assert admin_client.get(f"/admin/mall/{path}/").status_code == 200
    late = admin_client.get("/admin/mall/refund/?overdue=yes").content.decode()
    assert "2 days" in late
    assert admin_client.get("/admin/mall/order/add/").status_code == 403


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("10.0.0.1", 403)])
def test_the_demo_answers_this_machine_only(address: str, status: int) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    assert loopback_only(lambda _: HttpResponse())(request).status_code == status


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "x", "1e999999"])
def test_an_invalid_price_is_ignored(
    browser: Client, platform: Platform, goods: Goods, price: str
) -> None:
    assert browser.post("/checkout", OPEN | {"price": price}).status_code == 303


def test_an_invalid_order_number_is_not_found(visitor: Client) -> None:
    assert visitor.get("/checkout?action=view&outTradeNo=a/b").status_code == 404


def test_the_language_can_be_changed_after_a_refusal(
    browser: Client, platform: Platform, goods: Goods
) -> None:
    page = browser.post("/checkout", OPEN | {"price": "0.01"})

    assert page.status_code == 409
    assert '<input type="hidden" name="next" value="/">' in page.content.decode()


def test_the_login_page_does_not_link_to_itself(visitor: Client) -> None:
    assert '<a href="/login?next=' not in visitor.get("/login").content.decode()
