"""The checkout: its price, its refusals, and where it leads."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client

from mall import login
from mall.models import Goods, Order, Shopper
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, text
from tests.platform import ACTIVITY, Platform

Status = Order.Status
OPEN = {"action": "open", "goodsId": "9890001", "activityId": str(ACTIVITY)}
pytestmark = pytest.mark.django_db


def links(page: str) -> dict[str, tuple[str, str]]:
    """The buttons that are links: their texts, classes and addresses."""
    found = re.findall(r'<a class="(main|second)" href="(.*?)">(.*?)</a>', page)
    return {name: (look, path) for look, path, name in found}


def test_checkout_shows_the_trials_price_and_places_an_order(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    page = text(browser, "/checkout", **OPEN)
    assert ('name="price" value="80.00"' in page, "Order for ¥80.00" in page) == (True, True)
    assert "<dt>Saved in the team</dt><dd>−¥20.00</dd>" in page
    # Whether a team that is not full in time fails is the platform's to say.
    assert 'href="/go/offer/9890001">What if the team is not full in time?</a>' in page
    assert "your money comes back" not in page
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
    assert "This team is full." in page
    assert links(page) == {
        "Open a team of your own": ("main", "/checkout?action=open&amp;goodsId=9890001"),
        "Buy alone for ¥100.00": ("second", "/checkout?action=alone&amp;goodsId=9890001"),
    }
    platform.refusals["trial"] = "E0002"
    assert "There is no group offer for this." in text(browser, "/checkout", 409, **OPEN)
    assert "Order for ¥100.00" in text(browser, "/checkout", **(OPEN | {"action": "alone"}))


@pytest.mark.parametrize("code", ["0001", "E0005", "E0104"])
def test_an_order_that_a_passing_fault_stopped_can_be_tried_again(
    browser: Client, goods: Goods, platform: Platform, code: str
) -> None:
    join = OPEN | {"action": "join", "teamId": "7", "price": "80.00"}
    platform.refusals["lock"] = code
    page = browser.post("/checkout", join).content.decode()
    assert '<button class="main">Try again</button>' in page
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="(.*?)"', page))
    assert fields.items() >= join.items()
    assert links(page)["Buy alone for ¥100.00"][0] == "second"


def test_a_price_that_a_passing_fault_hides_can_be_asked_for_again(
    browser: Client, goods: Goods, platform: Platform
) -> None:
    platform.refusals["trial"] = "0001"
    page = text(browser, "/checkout", 409, **OPEN)
    path = f"/checkout?{urlencode(OPEN)}".replace("&", "&amp;")
    assert links(page)["Try again"] == ("main", path)
    assert 'name="price"' not in page


def test_a_price_that_has_changed_is_not_charged(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    platform.prices["payPrice"] = 85.0
    answer = browser.post("/checkout", OPEN | {"price": "80.00"})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "has changed to ¥85.00" in page
    assert "<dt>To pay</dt><dd>¥85.00</dd>" in page
    assert Order.objects.get().status == Status.CLOSE
    assert ('name="price" value="85.00"' in page, "Order for ¥85.00" in page) == (True, True)
    assert browser.post("/checkout", OPEN | {"price": "85.00"}).status_code == 303


def test_alone_an_order_can_be_placed_at_the_changed_price(
    browser: Client, goods: Goods, platform: Platform
) -> None:
    alone = OPEN | {"action": "alone"}
    page = browser.post("/checkout", alone | {"price": "90.00"}).content.decode()
    assert ("has changed to ¥100.00" in page, "Order for ¥100.00" in page) == (True, True)
    assert browser.post("/checkout", alone | {"price": "100.00"}).status_code == 303


def test_alone_a_refusal_leads_to_the_shop(
    browser: Client, goods: Goods, platform: Platform
) -> None:
    Goods.objects.update(on_sale=False)
    for ask in (browser.get, browser.post):
        answer = ask("/checkout", OPEN | {"action": "alone"})
        page = answer.content.decode()
        assert (answer.status_code, "This is sold out." in page) == (409, True)
        assert links(page) == {"To the shop": ("second", "/")}
        assert 'name="price"' not in page


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "x", "1e999999"])
def test_an_invalid_price_is_ignored(
    browser: Client, platform: Platform, goods: Goods, price: str
) -> None:
    assert browser.post("/checkout", OPEN | {"price": price}).status_code == 303


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


def test_an_invalid_order_number_is_not_found(visitor: Client) -> None:
    assert visitor.get("/checkout?action=view&outTradeNo=a/b").status_code == 404


@pytest.mark.parametrize("asked", [OPEN, OPEN | {"action": "join", "teamId": "7"},
                                   {"action": "alone", "goodsId": "9890001"}])  # fmt: skip
def test_a_checkout_leads_to_the_login_and_back(
    visitor: Client, shopper: Shopper, goods: Goods, platform: Platform, asked: dict[str, str]
) -> None:
    back = f"/checkout?{urlencode(asked)}"
    extra = {"price": "80.00", "next": "https://elsewhere.example/"}
    for ask in (visitor.get, visitor.post):
        [(name, path)] = parse_qsl(urlsplit(ask("/checkout", asked | extra)["Location"]).query)
        assert (name, path) == ("next", back)
    assert Order.objects.count() == 0

    login.remember(remembered := HttpResponse(), shopper)
    visitor.cookies.update(remembered.cookies)
    assert visitor.post("/login/again", {"next": back})["Location"] == back
    assert "Order for ¥" in visitor.get(back).content.decode()


@pytest.mark.parametrize(
    ("action", "part"), [("pay", ""), ("return", "?cancel=1#cancel"), ("view", "")]
)
def test_the_checkout_url_leads_to_an_order(
    browser: Client, place: Place, action: str, part: str
) -> None:
    order = place()
    asked = OPEN | {"action": action, "outTradeNo": order.number}
    path = browser.get("/checkout", asked)["Location"]
    assert path == f"/orders/{order.number}{part}"
    is_open = '<details class="card" id="cancel" open>' in browser.get(path).content.decode()
    assert is_open == (action == "return")


def test_the_language_can_be_changed_after_a_refusal(
    browser: Client, platform: Platform, goods: Goods
) -> None:
    page = browser.post("/checkout", OPEN | {"price": "0.01"})

    assert page.status_code == 409
    assert '<input type="hidden" name="next" value="/">' in page.content.decode()
