"""The endpoints of the existing static pages: shapes, strict and compatible, and bad input."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mall.models import Goods, Order, Refund, Shopper
from pretend_alipay.__main__ import Alipay
from tests.conftest import Place, log_in, pay, run_loop
from tests.platform import ACTIVITY, Platform

ALIPAY = "/api/v1/alipay"
TEAM_ORDER = {"userId": "xiaofuge", "productId": "9890001", "teamId": None, "marketType": 1,
              "activityId": ACTIVITY}  # fmt: skip
pytestmark = pytest.mark.django_db


def post(client: Client, name: str, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"{ALIPAY}/{name}", fields, content_type="application/json")
    found: dict[str, Any] = answer.json() | {"status": answer.status_code}
    return found


def test_the_answer_to_an_order_is_one_form(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    answer = post(browser, "create_pay_order", **TEAM_ORDER)
    assert (answer["code"], answer["info"], answer["status"]) == ("0000", "成功", 200)
    html = answer["data"]
    assert (html.count("<form"), "<script" in html, 'name="submit"' in html) == (1, False, False)
    found = dict(re.findall(r'name="(\w+)" value="(.*?)"', html))
    order = Order.objects.get()
    assert f'"out_trade_no": "{order.number}"' in unescape(found["biz_content"])
    again = post(browser, "create_pay_order", **TEAM_ORDER)
    assert (again["code"], Order.objects.count()) == ("0000", 1)
    assert f'action="{gateway.url}/gateway.do?charset=utf-8"' in again["data"]


def test_a_refusal_contains_no_form(
    browser: Client, goods: Goods, platform: Platform, gateway: Alipay
) -> None:
    platform.refusals["lock"] = "E0006"
    answer = post(browser, "create_pay_order", **TEAM_ORDER)
    assert {name: answer[name] for name in ("code", "info", "data")} == {
        "code": "E0006", "info": "This team is full.", "data": None}  # fmt: skip
    platform.refusals["lock"] = "0001"
    assert post(browser, "create_pay_order", **TEAM_ORDER)["code"] == "0001"


def test_an_order_alone(browser: Client, goods: Goods, gateway: Alipay) -> None:
    answer = post(browser, "create_pay_order", userId="xiaofuge", productId="9890001", marketType=0)
    assert (answer["code"], Order.objects.get().kind) == ("0000", 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"productId": None}, "productId"),
        ({"productId": "unknown"}, "productId"),
        ({"productId": ["9890001"]}, "productId"),
        ({"productId": "x" * 33}, "productId"),
        ({"marketType": 2}, "marketType"),
        ({"marketType": True}, "marketType"),
        ({"activityId": -1}, "activityId"),
        ({"activityId": "x"}, "activityId"),
        ({"activityId": 2**63}, "activityId"),
        ({"teamId": "x" * 33}, "teamId"),
        ({"teamId": "a\nb"}, "teamId"),
        ({"userId": "liergou"}, "userId"),
        ({"userId": "x" * 65}, "userId"),
        ({"userId": {}}, "userId"),
    ],
)
def test_bad_fields_are_named(
    browser: Client, goods: Goods, platform: Platform, change: dict[str, Any], field: str
) -> None:
    answer = post(browser, "create_pay_order", **(TEAM_ORDER | change))
    assert (answer["code"], answer["status"], answer["data"]) == ("0002", 400, None)
    assert answer["info"].startswith(f"非法参数: {field}: ")
    assert (Order.objects.count(), platform.calls) == (0, [])


@pytest.mark.parametrize("name", ["create_pay_order", "query_user_order_list", "refund_order"])
@pytest.mark.parametrize("body", ["", "nonsense", "[]", "1", "[" * 5000, '{"userId": "\ud800"'])
def test_a_body_that_is_not_an_object_is_refused(browser: Client, name: str, body: str) -> None:
    data = body.encode("utf-8", "surrogatepass")
    answer = browser.post(f"{ALIPAY}/{name}", data, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "0002")


def test_a_body_that_is_too_long_is_refused(browser: Client) -> None:
    answer = post(browser, "refund_order", orderId="x" * 10_001)
    assert (answer["code"], answer["info"]) == ("0002", "非法参数: the body is too long")


@pytest.mark.parametrize("name", ["create_pay_order", "query_user_order_list", "refund_order"])
def test_in_strict_mode_the_session_identifies_the_shopper(
    goods: Goods, shopper: Shopper, name: str
) -> None:
    client = Client()
    answer = post(client, name, **TEAM_ORDER, orderId="1")
    assert (answer["code"], answer["status"]) == ("0003", 401)
    log_in(client, shopper)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # what another site can send
        forged = client.post(f"{ALIPAY}/{name}", json.dumps(TEAM_ORDER), content_type=kind)
        assert (forged.status_code, forged.json()["code"]) == (400, "0002")
    assert client.get(f"{ALIPAY}/{name}").status_code == 405
    assert Order.objects.count() == 0


def test_in_compatible_mode_the_user_id_identifies_the_shopper(
    goods: Goods, platform: Platform, gateway: Alipay, settings: Any
) -> None:
    settings.BELIEVE_USER_ID = True
    client = Client()
    assert post(client, "create_pay_order", **TEAM_ORDER)["code"] == "0000"
    assert Order.objects.get().shopper.user_id == "xiaofuge"
    assert post(client, "create_pay_order", **(TEAM_ORDER | {"userId": None}))["code"] == "0002"


def test_the_list_is_oldest_first_and_continues_after_the_last(
    browser: Client, place: Place, shopper: Shopper
) -> None:
    orders = [place(team_id=team) for team in ("1", "2", "3")]
    place(who=Shopper.objects.create(user_id="liergou"))
    asked = {"userId": "xiaofuge", "pageSize": 2}
    first = post(browser, "query_user_order_list", **asked, lastId=None)["data"]
    assert [row["orderId"] for row in first["orderList"]] == [orders[0].number, orders[1].number]
    assert (first["hasMore"], first["lastId"]) == (True, orders[1].pk)
    rest = post(browser, "query_user_order_list", **asked, lastId=first["lastId"])["data"]
    assert [row["orderId"] for row in rest["orderList"]] == [orders[2].number]
    assert (rest["hasMore"], rest["lastId"]) == (False, orders[2].pk)
    row = first["orderList"][0]
    assert (row["status"], row["productName"]) == ("PAY_WAIT", "a book")
    assert (row["payAmount"], row["totalAmount"]) == (80.0, 100.0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00", row["orderTime"])


def test_an_order_is_given_back(browser: Client, place: Place, platform: Platform) -> None:
    order = place()
    answer = post(browser, "refund_order", userId="xiaofuge", orderId=order.number)
    said = "退单已受理，款项原路退回"
    assert answer["data"] == {"success": True, "message": said, "orderId": order.number}
    assert answer["info"] == said
    run_loop()
    order.refresh_from_db()
    assert (order.status, Refund.objects.count()) == (Order.Status.CLOSE, 0)
    answer = post(browser, "refund_order", userId="xiaofuge", orderId=order.number)
    assert (answer["code"], answer["data"]["success"], answer["info"]) == (
        "0000", False, "订单已关闭")  # fmt: skip


def test_an_order_that_is_being_placed_is_not_called_closed(
    browser: Client, goods: Goods, platform: Platform
) -> None:
    platform.refusals["lock"] = "0001"
    post(browser, "create_pay_order", **TEAM_ORDER)
    before = Order.objects.values().get()
    answer = post(browser, "refund_order", userId="xiaofuge", orderId=before["number"])
    said = "订单正在创建，请稍后再试"
    assert (answer["code"], answer["info"]) == ("0000", said)
    assert answer["data"] == {"success": False, "message": said, "orderId": before["number"]}
    assert (Order.objects.values().get(), before["status"]) == (before, Order.Status.CREATE)


def test_nobody_gives_back_an_order_of_somebody_else(browser: Client, place: Place) -> None:
    order = place(who=Shopper.objects.create(user_id="liergou"))
    answer = post(browser, "refund_order", userId="xiaofuge", orderId=order.number)
    assert (answer["data"]["success"], answer["info"]) == (False, "订单不存在")
    order.refresh_from_db()
    assert order.wants_back is False


@pytest.mark.usefixtures("_time_stands")
@pytest.mark.parametrize("encoding", ["form", "query"])
def test_a_page_that_reports_a_payment_lets_alipay_be_queried(
    browser: Client, place: Place, gateway: Alipay, encoding: str
) -> None:
    order, url = place(Order.Kind.ALONE), f"{ALIPAY}/active_pay_notify"
    number = {"outTradeNo": order.number}
    for _ in range(2):
        if encoding == "form":
            answer = browser.post(url, number)
        else:
            answer = browser.post(f"{url}?outTradeNo={order.number}", content_type="text/plain")
        assert answer.json()["code"] == "0000"
    run_loop()
    order.refresh_from_db()
    assert (order.status, order.asked_at is not None) == (Order.Status.PAY_WAIT, True)  # not paid

    pay(gateway, order)
    browser.post(url, number)  # asked a moment ago
    run_loop()
    order.refresh_from_db()
    assert order.status == Order.Status.PAY_WAIT
    Order.objects.update(asked_at=timezone.now() - timedelta(seconds=4))
    browser.post(url, number)
    run_loop()
    order.refresh_from_db()
    assert order.status == Order.Status.DEAL_DONE


def test_only_the_shopper_lets_alipay_be_queried(place: Place) -> None:
    order = place()
    due_at = Order.objects.get().due_at
    Client().post(f"{ALIPAY}/active_pay_notify", {"outTradeNo": order.number})
    assert Order.objects.get().due_at == due_at


def test_pages_of_another_origin_must_be_allowed(
    goods: Goods, browser: Client, settings: Any
) -> None:
    ask = {"Origin": "https://old.example", "Access-Control-Request-Method": "POST"}
    url, name = f"{ALIPAY}/query_user_order_list", "Access-Control-Allow-Origin"
    assert name not in browser.options(url, headers=ask).headers
    settings.CORS_ALLOWED_ORIGINS = ["https://old.example"]
    assert browser.options(url, headers=ask)[name] == "https://old.example"
    assert name not in browser.options("/orders", headers=ask).headers


def test_a_subscription_is_delivered_as_a_key_until_it_is_given_back(
    browser: Client, goods: Goods, place: Place, gateway: Alipay
) -> None:
    goods.is_key = True
    goods.save()
    order = place(Order.Kind.ALONE)
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    key = listed(browser)["key"]
    assert re.fullmatch(r"[0-9A-F]{4}(-[0-9A-F]{4}){4}", key)
    assert key in browser.get(f"/orders/{order.number}").content.decode()

    post(browser, "refund_order", userId="xiaofuge", orderId=order.number)
    run_loop(timedelta(minutes=1))

    assert (listed(browser)["status"], listed(browser)["key"]) == ("WAIT_REFUND", "")
    assert key not in browser.get(f"/orders/{order.number}").content.decode()


def listed(browser: Client) -> dict[str, Any]:
    [row] = post(browser, "query_user_order_list", userId="xiaofuge")["data"]["orderList"]
    return dict(row)
