"""The platform's callbacks by HTTP: signed, each once, and forged ones."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as mall_settings
from django.test import Client
from standardwebhooks import Webhook

from mall.models import Order, Received
from tests.platform import refund_of, success

SUCCESS, REFUND = "/api/v1/alipay/group_buy_notify", "/api/v1/alipay/group_buy_refund_notify"
pytestmark = pytest.mark.django_db


def call(
    url: str, payload: Any, key: str = "n1", *, secret: str = "", age: int = 0, **changes: str
) -> tuple[int, str]:
    """Send a callback that another implementation of Standard Webhooks signs."""
    body, moment = json.dumps(payload), datetime.fromtimestamp(int(time.time()) - age, UTC)
    sign = Webhook(secret or mall_settings.WEBHOOK_SECRET).sign(key, moment, body)
    headers = {"webhook-id": key, "webhook-timestamp": str(int(moment.timestamp())),
               "webhook-signature": sign}  # fmt: skip
    answer = Client().post(url, body, content_type="application/json", headers=headers | changes)
    return answer.status_code, answer.content.decode()


def test_a_callback_is_applied_once_and_answered_each_time(paid: Order) -> None:
    payload = success(paid.number)
    assert [call(SUCCESS, payload), call(SUCCESS, payload)] == [(200, "success")] * 2
    paid.refresh_from_db()
    assert (paid.status, Received.objects.get().payload) == (Order.Status.MARKET, payload)


def test_a_refund_callback_makes_the_money_due(paid: Order) -> None:
    assert call(REFUND, refund_of(paid, "paid_unformed")) == (200, "success")
    paid.refresh_from_db()
    assert paid.status == Order.Status.WAIT_REFUND


def test_callbacks_for_orders_of_another_mall_change_nothing(paid: Order) -> None:
    assert call(SUCCESS, success("another")) == (200, "success")
    paid.refresh_from_db()
    assert (paid.status, Received.objects.count()) == (Order.Status.PAY_SUCCESS, 1)


@pytest.mark.parametrize(
    "forged",
    [
        {"secret": "whsec_b3RoZXItb3RoZXItb3RoZXItb3RoZXI="},
        {"age": 301},
        {"age": -310},  # -301 may be 300 seconds ahead by the time it is checked
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-id": "n2"},
        {"webhook-timestamp": "x"},
    ],
)
@pytest.mark.parametrize("url", [SUCCESS, REFUND])
def test_forged_callbacks_change_nothing(paid: Order, url: str, forged: dict[str, Any]) -> None:
    payload = success(paid.number) if url == SUCCESS else refund_of(paid, "paid_unformed")
    assert call(url, payload, **forged) == (401, "error")
    paid.refresh_from_db()
    assert (paid.status, Received.objects.count()) == (Order.Status.PAY_SUCCESS, 0)


@pytest.mark.parametrize("payload", [[], {}, "x", {"outTradeNoList": 1}, {"type": "other"}])
def test_a_signed_but_unreadable_callback_is_refused(paid: Order, payload: Any) -> None:
    assert call(SUCCESS, payload) == (401, "error")
    assert Received.objects.count() == 0


def test_a_callback_at_the_other_endpoint_is_refused(paid: Order) -> None:
    assert call(SUCCESS, refund_of(paid, "paid_unformed")) == (400, "error")
    assert call(REFUND, success(paid.number)) == (400, "error")
    assert Received.objects.count() == 0


@pytest.mark.parametrize("url", [SUCCESS, REFUND])
def test_unsigned_callbacks_and_gets_are_refused(db: None, url: str) -> None:
    assert Client().post(url, "{}", content_type="application/json").status_code == 401
    assert Client().get(url).status_code == 405
