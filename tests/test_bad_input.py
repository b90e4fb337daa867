"""Rubbish in every field of every endpoint: the answer names the field, and nothing is written."""

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from tests.factories import NOW, lock, make_activity
from tests.test_wire import (
    BASE,
    CONFIRM,
    INDEX,
    LOCK,
    REFUND,
    SETTLE,
    TRIAL,
    confirm_body,
    lock_body,
    settle_body,
    shopper,
)
from trade.models import NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]

MISSING = object()
TEXT = ["userId", "source", "channel", "goodsId", "outTradeNo"]
NOT_TEXT: list[Any] = [MISSING, None, "", "   ", "\u3000", [], {}, ["x"], {"a": 1}, True, 1.5]
NOT_TEXT += ["x" * 65, "nul\x00byte", 12345678901234567890123]
NOT_NUMBER: list[Any] = [MISSING, None, "", "x", 0, -1, 1.5, True, [], {}, 2**63, 10**40, "１"]
NOT_MOMENT: list[Any] = [MISSING, None, "", "x", 1.5, True, [], {}, -(10**30), 10**30, 0]
NOT_MOMENT += [
    "2026-05-01",
    "2026-05-01T04:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
]
NOT_MOMENT += ["1777608000000", "x" * 5000]
NOT_MONEY: list[Any] = [MISSING, None, "", "x", 0, 0.0, -80, 79.999, True, [], {}, 1e300]
NOT_MONEY += [10**10, "0.00", "8e1", "８０", " ", "1" * 5000]
NOT_CONFIG: list[Any] = [MISSING, None, "HTTP", [], 1, {}, {"notifyType": None}]
NOT_CONFIG += [
    {"notifyType": "http", "notifyUrl": "http://127.0.0.1/"},
    {"notifyType": "SMS", "notifyUrl": "http://127.0.0.1/"},
    {"notifyType": "MQ"},
    {"notifyType": "HTTP"},
    {"notifyType": "HTTP", "notifyUrl": ""},
    {"notifyType": "HTTP", "notifyUrl": {"a": 1}},
    {"notifyType": "HTTP", "notifyUrl": "ftp://127.0.0.1/"},
    {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1:99999/"},
    {"notifyType": "HTTP", "notifyUrl": "http://[::1"},
    {"notifyType": "HTTP", "notifyUrl": "http://user@127.0.0.1/"},
    {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1/\r\nX: y"},
    {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1/" + "x" * 512},
    {"notifyType": "HTTP", "notifyUrl": f"http://127.0.0.1:{'0' * 300}9/"},
    {"notifyType": "HTTP", "notifyUrl": "http://evil.example/"},
]

CASES = [
    *((INDEX, shopper, name, bad) for name in TEXT[:4] for bad in NOT_TEXT),
    *((TRIAL, shopper, name, bad) for name in TEXT[:4] for bad in NOT_TEXT),
    *((TRIAL, shopper, "activityId", bad) for bad in NOT_NUMBER[2:]),
    *((LOCK, lock_body, name, bad) for name in TEXT for bad in NOT_TEXT),
    *((LOCK, lock_body, "activityId", bad) for bad in NOT_NUMBER),
    *((LOCK, lock_body, "teamId", bad) for bad in NOT_TEXT[5:]),
    *((LOCK, lock_body, "notify", bad) for bad in NOT_CONFIG),
    *((SETTLE, settle_body, name, bad) for name in ("userId", "outTradeNo") for bad in NOT_TEXT),
    *((SETTLE, settle_body, "outTradeTime", bad) for bad in NOT_MOMENT),
    *((CONFIRM, confirm_body, name, bad) for name in TEXT if name != "goodsId" for bad in NOT_TEXT),
    *((CONFIRM, confirm_body, "refundAmount", bad) for bad in NOT_MONEY),
    *((CONFIRM, confirm_body, "refundTime", bad) for bad in NOT_MOMENT[2:]),
    *((REFUND, settle_body, name, bad) for name in TEXT if name != "goodsId" for bad in NOT_TEXT),
]


@pytest.fixture
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def rows() -> tuple[list[Any], ...]:
    return tuple(list(model.objects.values()) for model in (Team, Order, NotifyTask))


@pytest.mark.parametrize(("path", "make_body", "name", "bad"), CASES)
def test_a_bad_field_is_named_and_nothing_is_written(
    mall: APIClient, path: str, make_body: Any, name: str, bad: Any
) -> None:
    make_activity()
    lock("other")
    before = rows()
    body = make_body()
    field = "notifyConfigVO" if name == "notify" else name
    if bad is MISSING:
        del body[field]
    else:
        body[field] = bad

    response = mall.post(path, json.dumps(body), content_type="application/json")

    answer = response.json()
    assert (response.status_code, answer["code"], answer["data"]) == (200, "0002", None)
    assert name in answer["info"]
    assert rows() == before


@pytest.mark.parametrize("name", TEXT[1:3])
def test_an_unreadable_channel_is_named_without_a_key_too(client: APIClient, name: str) -> None:
    """Without a key an unreadable channel cannot be open, so it is 401 and not a 500."""
    for bad in NOT_TEXT[1:]:
        response = client.post(
            LOCK, json.dumps(lock_body(**{name: bad})), content_type="application/json"
        )
        assert (response.status_code, response.json()["code"]) == (401, "0401")


@pytest.mark.parametrize(
    "user_id", ["🐼" * 64, "Ünïcödé", "a'b\"c;--", "<script>", "../..", "a\u202eb", "a\nb"]
)
def test_odd_but_readable_ids_are_kept_to_the_letter(mall: APIClient, user_id: str) -> None:
    make_activity()

    response = mall.post(LOCK, lock_body(user_id, outTradeNo="🐼🐼"), format="json")

    assert response.json()["code"] == "0000"
    order = Order.objects.get()
    assert (order.user_id, order.out_trade_no) == (user_id, "🐼🐼")


def test_ids_are_compared_byte_by_byte(mall: APIClient) -> None:
    make_activity()
    for user_id in ("a", "A", "á", "🐼", "🐻"):
        body = lock_body(user_id, outTradeNo=f"t{user_id}")
        assert mall.post(LOCK, body, format="json").json()["code"] == "0000"

    assert Order.objects.count() == 5


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"nonsense", 400),
        (b"\xff\xfe", 400),
        (b'{"userId": NaN}', 400),
        (b'{"userId": Infinity}', 400),
        (b'{"userId": 1e400}', 400),
        (b'{"userId": "\\ud800"}', 400),
        (b"[" * 60_000, 400),
        (b"[" * 100_000, 413),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400),
        (b'"' + b"x" * 10_000_000 + b'"', 413),
        (b"[]", 200),
        (b"null", 200),
        (b"1", 200),
        (b'"text"', 200),
    ],
)
@pytest.mark.parametrize("path", [INDEX, TRIAL, LOCK, SETTLE, REFUND])
def test_a_body_that_is_not_an_object_is_refused(
    mall: APIClient, path: str, body: bytes, status: int
) -> None:
    response = mall.post(path, body, content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (status, "0002")
    assert Team.objects.count() == 0


@pytest.mark.parametrize("path", ["teams", "orders"])
@pytest.mark.parametrize(
    "given", ["%00", "%F0%9F%90%BC", "x" * 3000, "9" * 5000, "１", "'", "%2e%2e", "-1", "1e9"]
)
def test_odd_paths_are_not_found_and_never_a_500(mall: APIClient, path: str, given: str) -> None:
    response = mall.get(f"{BASE}/trade/{path}/{given}")

    assert response.status_code in (200, 404)
    assert response.json()["code"] in ("E0010", "E0104")


def test_notify_mq_is_ignored_whatever_it_is(mall: APIClient) -> None:
    make_activity()
    deep = json.loads("[" * 900 + "]" * 900)
    config = {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1/", "notifyMQ": deep}
    body = json.dumps(lock_body(notifyConfigVO=config))

    response = mall.post(LOCK, body, content_type="application/json")

    assert response.json()["code"] == "0000"


def test_a_payment_a_moment_too_far_ahead_names_its_field(mall: APIClient) -> None:
    make_activity()
    lock()
    before = rows()
    ahead = int((NOW + timedelta(minutes=5, seconds=1)).timestamp() * 1000)

    body = mall.post(SETTLE, settle_body(outTradeTime=ahead), format="json").json()

    assert body["code"] == "0002"
    assert "outTradeTime" in body["info"]
    assert rows() == before


def test_a_line_break_in_a_path_breaks_no_line_of_the_log(
    mall: APIClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    mall.get(f"{BASE}/trade/orders/x%0A2036-01-01 CRITICAL groupbuy: all is lost{'x' * 300}")

    assert caplog.messages == ["api_order 200 E0104"]
