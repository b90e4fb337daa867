"""Every URL of the mall answers wrong methods, rubbish and strangers, and changes nothing."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern

from mall.models import Message, Notice, Order, Received, Refund, Shopper, Ticket
from mall.urls import urlpatterns
from tests.conftest import Place, log_in
from tests.platform import Platform

ALIPAY, LOGIN = "api/v1/alipay", "api/v1/login"
# Path -> allowed methods, and the answers to a stranger: by GET, or else by POST.
ADDRESSES: dict[str, tuple[str, int]] = {
    "": ("GET HEAD", 200),
    "goods/9890001": ("GET HEAD", 200),
    "checkout": ("GET HEAD POST", 404),
    "orders": ("GET HEAD", 303),
    "orders/1": ("GET HEAD", 303),
    "orders/1/state": ("GET HEAD", 303),
    "orders/1/back": ("POST", 303),
    "messages": ("GET HEAD", 303),
    "paid": ("GET HEAD", 404),
    "paid/state": ("GET HEAD", 404),
    "login": ("GET HEAD", 200),
    "login/check": ("POST", 303),
    "login/again": ("POST", 303),
    "logout": ("POST", 303),
    "phone": ("GET HEAD POST", 404),
    "go/offers": ("GET HEAD", 302),
    "go/offer/9890001": ("GET HEAD", 302),
    "go/order/1": ("GET HEAD", 303),
    f"{LOGIN}/weixin_qrcode_ticket": ("GET", 200),
    f"{LOGIN}/weixin_qrcode_ticket_scene": ("GET", 200),
    f"{LOGIN}/check_login": ("GET", 200),
    f"{LOGIN}/check_login_scene": ("GET", 200),
    "api/v1/weixin/portal/receive": ("GET POST", 403),
    f"{ALIPAY}/create_pay_order": ("POST", 400),
    f"{ALIPAY}/query_user_order_list": ("POST", 400),
    f"{ALIPAY}/refund_order": ("POST", 400),
    f"{ALIPAY}/active_pay_notify": ("POST", 200),
    f"{ALIPAY}/alipay_notify_url": ("POST", 200),
    f"{ALIPAY}/group_buy_notify": ("POST", 401),
    f"{ALIPAY}/group_buy_refund_notify": ("POST", 401),
}
NAMES = ("ticket", "sceneStr", "next", "user", "out_trade_no", "outTradeNo", "action", "goodsId",
         "activityId", "teamId", "price", "signature", "timestamp", "nonce", "echostr")  # fmt: skip
RUBBISH = ("\0", "x" * 5000, "' OR 1=1 --", "<b>", "9" * 400, "-1", "1e9", "\U0001f600", "../..")
JSON = "application/json"
pytestmark = pytest.mark.django_db


def rows() -> dict[str, list[Any]]:
    """All rows that a stranger must not change. Tickets are excluded: everybody gets one."""
    tables = (Order, Refund, Notice, Received, Message, Shopper)
    found = {each.__name__: list(each.objects.order_by("pk").values()) for each in tables}
    return found | {"scanned": list(Ticket.objects.exclude(shopper=None))}


def test_the_table_has_every_address() -> None:
    written = {str(each.pattern) for each in urlpatterns if isinstance(each, URLPattern)}
    names = {"9890001": "<path:goods_id>", "1": "<number>"}
    known = {"/".join(names.get(part, part) for part in path.split("/")) for path in ADDRESSES}
    assert known == written - {"language/"}


def test_other_methods_are_refused(place: Place) -> None:
    place()
    before = rows()
    for path, (methods, _status) in ADDRESSES.items():
        allowed = methods.split()
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed):
            answer = Client().generic(method, f"/{path}")
            assert (answer.status_code, answer["Allow"]) == (405, ", ".join(allowed)), path
    assert rows() == before


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_from_a_stranger_changes_nothing(place: Place, rubbish: str) -> None:
    place()
    before = rows()
    given = dict.fromkeys(NAMES, rubbish)
    bodies = (b"\xff\xfe", b'{"userId": 1', json.dumps(given).encode())
    for path, (methods, status) in ADDRESSES.items():
        send = Client().get if "GET" in methods else Client().post
        assert send(f"/{path}", given).status_code == status, path
        if "POST" in methods:
            sent = [Client().post(f"/{path}", given)]
            sent += [Client().post(f"/{path}", body, content_type=JSON) for body in bodies]
            assert all(each.status_code < 500 for each in sent), path
    assert rows() == before


@pytest.mark.parametrize(
    ("name", "change", "info"),
    [
        ("query_user_order_list", {"lastId": -1}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"lastId": "x"}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"lastId": True}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"lastId": 1.5}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"lastId": 2**63}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"lastId": "9" * 19}, "lastId: expected a number from 0 to"),
        ("query_user_order_list", {"pageSize": []}, "pageSize: expected a number from 0 to"),
        ("query_user_order_list", {"pageSize": "ten"}, "pageSize: expected a number from 0 to"),
        ("query_user_order_list", {"userId": "liergou"}, "userId: not the one that is logged in"),
        ("refund_order", {}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": ""}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": "9" * 33}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": ["1"]}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": True}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": "a\0b"}, "orderId: expected 1 to 32 characters"),
        ("refund_order", {"orderId": "1", "userId": 7}, "userId: not the one that is logged in"),
    ],
)
def test_the_wrong_field_is_named(
    browser: Client, place: Place, name: str, change: dict[str, Any], info: str
) -> None:
    place()
    before = rows()
    body = {"userId": "xiaofuge"} | change
    answer = browser.post(f"/{ALIPAY}/{name}", body, content_type=JSON)
    found = answer.json()
    assert (answer.status_code, found["code"], found["data"]) == (400, "0002", None)
    assert found["info"].startswith(f"非法参数: {info}")
    assert rows() == before


def test_a_page_of_any_size_is_a_page(browser: Client, place: Place) -> None:
    for team in ("1", "2"):
        place(team_id=team)
    for size, listed in ((0, 1), (None, 2), ("", 2), ("1", 1), (10**9, 2)):
        body = {"userId": "xiaofuge", "lastId": "", "pageSize": size}
        url = f"/{ALIPAY}/query_user_order_list"
        data = browser.post(url, body, content_type=JSON).json()["data"]
        assert (len(data["orderList"]), data["hasMore"]) == (listed, listed == 1)


@pytest.mark.parametrize(
    "path", ["group_buy_notify", "group_buy_refund_notify", "alipay_notify_url"]
)
def test_a_body_that_is_too_long_is_not_read(db: None, path: str) -> None:
    before = rows()
    answer = Client().post(f"/{ALIPAY}/{path}", b"x" * 100_001, content_type="text/plain")
    expected = {"alipay_notify_url": (200, b"false")}.get(path, (401, b"error"))
    assert ((answer.status_code, answer.content), rows()) == (expected, before)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/orders/{}", 404),
        ("get", "/orders/{}/state", 404),
        ("post", "/orders/{}/back", 404),
        ("get", "/go/order/{}", 404),
        ("get", "/checkout?action=pay&outTradeNo={}", 302),  # to a page that is not found
    ],
)
def test_a_shopper_cannot_reach_the_order_of_another(
    place: Place, platform: Platform, method: str, path: str, status: int
) -> None:
    order = place()
    before, called = rows(), len(platform.calls)
    other = Client()
    liergou = Shopper.objects.create(user_id="liergou")
    log_in(other, liergou)
    answer = getattr(other, method)(path.format(order.number))
    assert (answer.status_code, len(platform.calls)) == (status, called)
    for name in ("refund_order", "active_pay_notify"):
        body = {"userId": "liergou", "orderId": order.number, "outTradeNo": order.number}
        found = other.post(f"/{ALIPAY}/{name}", body, content_type=JSON).json()
        assert found["data"] in (
            {"success": False, "message": "订单不存在", "orderId": order.number},
            "正在向支付宝查询",
        )
    other.post(f"/{ALIPAY}/active_pay_notify", {"outTradeNo": order.number})
    liergou.delete()
    assert rows() == before


@pytest.mark.parametrize("path", ["checkout", "orders/1/back", "login/check", "login/again",
                                  "logout", "language/"])  # fmt: skip
def test_a_form_from_another_site_is_refused(place: Place, shopper: Shopper, path: str) -> None:
    place()
    before = rows()
    browser = Client(enforce_csrf_checks=True, headers={"Accept-Language": "en"})
    log_in(browser, shopper)
    answer = browser.post(f"/{path}", {"action": "alone", "goodsId": "9890001"})
    assert (answer.status_code, rows()) == (403, before)
    assert "That did not come from this page" in answer.content.decode()
