"""The shop's other pages: what they show to whom, their headers, errors and ways to the login."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.core.cache import cache
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from mall import orders, returning
from mall.management.commands import prepare
from mall.middleware import loopback_only
from mall.models import Goods, Message, Order, Refund, Shopper
from mall.views import own
from mall.views.problems import server_error
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, pay, run_loop, text
from tests.platform import Platform

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize(("pays", "saved"), [(80.0, "20.00"), (100.0, ""), (110.0, "")])
def test_the_saving_is_what_the_team_pays_less_than_alone(
    browser: Client, goods: Goods, platform: Platform, place: Place, pays: float, saved: str
) -> None:
    """The platform's own original price is not the mall's."""
    platform.prices |= {"originalPrice": 120.0, "deductionPrice": 120.0 - pays, "payPrice": pays}
    page = text(browser, "/goods/9890001")
    assert re.findall(r'¥([\d.-]+)</s> <span class="tag">¥(.*?) less<', page) == (
        [("100.00", saved)] if saved else [])  # fmt: skip

    asked = {"action": "open", "goodsId": "9890001", "activityId": "100123"}
    for page in (text(browser, "/checkout", **asked), text(browser, f"/orders/{place().number}")):
        alone = re.findall("<dt>Price alone</dt><dd>¥(.*?)</dd>", page)
        less = re.findall("<dt>Saved in the team</dt><dd>−¥(.*?)</dd>", page)
        assert (alone, less) == ((["100.00"], [saved]) if saved else ([], []))
        assert f"<dt>To pay</dt><dd>¥{pays:.2f}</dd>" in page


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
    browser: Client, goods: Goods, platform: Platform, place: Place
) -> None:
    page = text(browser, "/goods/9890001")
    assert ("2 more needed" in page, ">Join</a>" in page, "Your team" in page) \
        == (True, True, False)  # fmt: skip
    number = place().number
    for told, link in (
        (number, f'href="/orders/{number}">Your order</a>'),
        ("a/1", 'href="/go/offer/9890001">Your team</a>'),  # placed by another system
    ):
        platform.team = {"outTradeNo": told, "lockCount": 2}
        page = text(browser, "/goods/9890001")
        assert ("1 more needed" in page, ">Join</a>" in page) == (True, False)
        assert f'<a class="small" {link}' in page


def test_goods_are_sold_alone_while_the_platform_is_down(
    visitor: Client, goods: Goods, platform: Platform
) -> None:
    problem = "The group offer is not responding. Try again."
    for code, is_said in (("0001", True), ("E0002", False)):
        platform.refusals["index"] = code
        for _guest in range(2):
            page = text(visitor, "/goods/9890001")
            assert [each in page for each in ("¥100.00", "Open a team", problem)] == [
                True, False, is_said]  # fmt: skip
            assert ('href="/goods/9890001">Try again</a>' in page) == is_said
        assert len(platform.called("index")) == 1  # guests share a refusal, too
        platform.calls.clear()
        cache.clear()


def test_goods_that_are_sold_out_lead_on(visitor: Client, goods: Goods, platform: Platform) -> None:
    Goods.objects.update(on_sale=False)
    page = text(visitor, "/goods/9890001")
    assert ("¥100.00" in page, "/checkout" in page) == (True, False)
    assert '<a class="second" href="/">To the shop</a>' in page


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


@pytest.mark.parametrize("path", ["/orders", "/messages", "/orders/1", "/go/order/1"])
def test_own_pages_lead_to_the_login_and_back(visitor: Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer["Location"]).query) == {"next": [path]}


def test_forms_need_their_token(shopper: Shopper, place: Place) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Accept-Language": "en"})
    for path in ("/checkout", "/login/again", "/login/check", "/logout", "/orders/1/back"):
        answer = client.post(path)
        assert (answer.status_code, "That did not come from this page" in answer.content.decode()) \
            == (403, True)  # fmt: skip


def test_an_error_page_needs_no_template(settings: Any) -> None:
    answer = server_error(RequestFactory().get("/"))
    page = answer.content.decode()
    assert (answer.status_code, "出错了" in page, "/static/mall.css" in page) == (500, True, True)
    assert "{%" not in page
    settings.STATIC_URL = "/mall/static/"  # as below a path of a common host
    page = server_error(RequestFactory().get("/")).content.decode()
    assert '<link rel="stylesheet" href="/mall/static/mall.css">' in page


def test_a_message_is_marked_as_new_once(browser: Client, place: Place, gateway: Alipay) -> None:
    pay(gateway, place())
    run_loop(timedelta(seconds=31))
    assert 'class="count">1<' in text(browser, "/")
    assert "You have opened a team" in text(browser, "/messages")
    assert 'class="count"' not in text(browser, "/")
    assert Message.objects.get().read_at is not None


def test_older_orders_and_messages_follow_on_further_pages(
    browser: Client, goods: Goods, shopper: Shopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "NEWEST", 2)
    for number in range(3):
        order = Order.objects.create(
            shopper=shopper, goods=goods, kind=0, number=f"n{number}", is_open=None,
            price=goods.price, created_at=timezone.now())  # fmt: skip
        orders.send_message(order, Message.Kind.RETURNED, now=timezone.now())
    for path in ("/orders", "/messages"):
        seen = [text(browser, path)]
        while link := re.search(r'href="(\?before=\d+)">Older</a>', seen[-1]):
            seen.append(text(browser, f"{path}{link[1]}"))
        numbers = [re.findall(r'href="/orders/(n\d)"', page) for page in seen]
        assert numbers == [["n2", "n1"], ["n0"]]
    assert 'Messages <span class="count">1</span>' in seen[0]  # the one that is not shown
    assert Message.objects.filter(read_at=None).count() == 0
    for before in ("x", "9" * 30, "-1", "²"):
        assert 'href="/orders/n2"' in text(browser, "/orders", before=before)


def test_an_id_of_goods_may_contain_a_slash(
    visitor: Client, goods: Goods, platform: Platform, settings: Any
) -> None:
    Goods.objects.create(goods_id="cup/red", name="a cup", price=goods.price)
    assert 'href="/goods/cup/red"' in text(visitor, "/")
    page = text(visitor, "/goods/cup/red")
    assert ("<h1>a cup</h1>" in page, 'href="/go/offer/cup/red"' in page) == (True, True)
    link = f"{settings.PLATFORM_URL}/o/s01/c01/cup~1red"
    assert visitor.get("/go/offer/cup/red")["Location"] == link
    assert "<h1>a book</h1>" in text(visitor, "/goods/9890001")


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


def test_the_console_changes_goods_and_keeps_their_id(admin_client: Client, goods: Goods) -> None:
    fields = {"goods_id": "9890002", "name": "two books", "price": "150.00", "on_sale": "on"}
    assert admin_client.post("/admin/mall/goods/9890001/change/", fields).status_code == 302
    rows = Goods.objects.order_by("pk").values_list("pk", "name")
    assert list(rows) == [("9890001", "two books")]
    assert admin_client.post("/admin/mall/goods/add/", fields).status_code == 302
    assert list(rows.all()) == [("9890001", "two books"), ("9890002", "two books")]


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("10.0.0.1", 403)])
def test_the_demo_answers_this_machine_only(address: str, status: int) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    assert loopback_only(lambda _: HttpResponse())(request).status_code == status


def test_the_login_page_does_not_link_to_itself(visitor: Client) -> None:
    assert '<a href="/login?next=' not in visitor.get("/login").content.decode()
