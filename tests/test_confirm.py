"""Confirmed refunds (退款到账): once, by the first amount, and only where money is due back."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from tests.checks import broken_invariants
from tests.factories import (
    NOW,
    api_client,
    confirm,
    lock,
    make_activity,
    make_channel,
    make_team,
    refund,
    settle,
)
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db
PATH = "/api/v1/gbm/trade/confirm_refund"
LATER = NOW + timedelta(hours=1)


@pytest.fixture(autouse=True)
def _later() -> Any:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def mall() -> APIClient:
    return api_client(make_channel())


@pytest.fixture
def given_back() -> Order:
    """Paid for a minute after NOW, and given back two minutes after it."""
    make_activity()
    make_team("a", "b", paid=2)
    refund("a", now=NOW + timedelta(minutes=2))
    return Order.objects.get(user_id="a")


def body(**fields: Any) -> dict[str, Any]:
    defaults = {"userId": "a", "source": "s01", "channel": "c01", "outTradeNo": "t-a"}
    return defaults | {"refundAmount": 80.0} | fields


def post(mall: APIClient, **fields: Any) -> Any:
    return mall.post(PATH, body(**fields), format="json").json()


def rows() -> list[Any]:
    return [list(model.objects.values()) for model in (Team, Order, NotifyTask)]


def test_it_answers_exactly_these_keys_and_a_repeat_the_same(
    mall: APIClient, given_back: Order
) -> None:
    first = post(mall, refundTime="2036-05-01T04:30:00.000+00:00")
    after = rows()
    again = [post(mall), post(mall, refundTime="2036-05-01T04:40:00.000+00:00")]

    assert first == {
        "code": "0000",
        "info": "成功",
        "data": {
            "userId": "a",
            "orderId": str(given_back.pk),
            "teamId": str(given_back.team_id),
            "outTradeNo": "t-a",
            "refundAmount": 80.0,
            "refundTime": "2036-05-01T04:30:00.000+00:00",
        },
    }
    assert again == [first, first]
    assert rows() == after
    assert broken_invariants() == {}


def test_nothing_else_changes(given_back: Order) -> None:
    before = rows()

    confirm("a", now=LATER)

    Order.objects.exclude(refund_at=None).update(refund_amount=None, refund_at=None)
    assert rows() == before


def test_without_a_time_the_moment_of_the_call_counts(mall: APIClient, given_back: Order) -> None:
    for time in ({}, {"refundTime": None}):
        assert post(mall, **time)["data"]["refundTime"] == "2036-05-01T05:00:00.000+00:00"


@pytest.mark.parametrize("amount", [79.9, "79.90", 79])
def test_a_part_may_go_back(mall: APIClient, given_back: Order, amount: Any) -> None:
    assert post(mall, refundAmount=amount)["data"]["refundAmount"] == float(amount)


def test_clocks_may_differ_by_five_minutes(mall: APIClient, given_back: Order) -> None:
    for moment in ("2036-05-01T03:56:00.000+00:00", "2036-05-01T05:05:00.000+00:00"):
        Order.objects.update(refund_amount=None, refund_at=None)
        assert post(mall, refundTime=moment)["data"]["refundTime"] == moment


def test_the_order_shows_the_refund_and_its_time(mall: APIClient, given_back: Order) -> None:
    confirm("a", now=LATER, refund_at=NOW + timedelta(minutes=30))

    data = mall.get("/api/v1/gbm/trade/orders/t-a").json()["data"]

    moment = "2036-05-01T04:30:00.000+00:00"
    assert (data["refundAmount"], data["refundTime"]) == (80.0, moment)
    assert data["timeline"][-1] == {"event": "refund_confirmed", "at": moment}


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        ({"refundAmount": 80.01}, "非法参数: refundAmount: "),
        ({"refundTime": "2036-05-01T05:05:00.001+00:00"}, "非法参数: refundTime: "),
        ({"refundTime": "2036-05-01T03:55:59.999+00:00"}, "非法参数: refundTime: "),
    ],
)
def test_an_implausible_report_is_refused_and_changes_nothing(
    mall: APIClient, given_back: Order, fields: dict[str, Any], info: str
) -> None:
    before = rows()

    answer = post(mall, **fields)

    assert (answer["code"], answer["data"]) == ("0002", None)
    assert answer["info"].startswith(info)
    assert rows() == before


def test_another_amount_than_before_is_refused_and_changes_nothing(
    mall: APIClient, given_back: Order
) -> None:
    confirm("a")
    before = rows()

    answer = post(mall, refundAmount=79)

    assert (answer["code"], answer["data"]) == ("0002", None)
    assert answer["info"].startswith("非法参数: refundAmount: 80.00")
    assert rows() == before


def test_an_order_without_money_to_return_is_refused_and_changes_nothing(mall: APIClient) -> None:
    make_activity()
    make_team("paid", "held", "left", paid=1)
    refund("left")
    before = rows()

    for user_id in ("paid", "held", "left"):
        answer = post(mall, userId=user_id, outTradeNo=f"t-{user_id}")
        assert (answer["code"], answer["data"]) == ("0002", None)
        assert answer["info"].startswith("非法参数: outTradeNo: ")

    assert rows() == before


def test_an_order_of_nobody_or_somebody_else_is_not_found(
    mall: APIClient, given_back: Order
) -> None:
    make_channel("s02", "c02", name="another mall")
    other = api_client(make_channel("s02", "c02"))
    before = rows()

    answers = [
        post(mall, outTradeNo="nothing"),
        post(mall, userId="b"),
        post(other, source="s02", channel="c02"),
    ]

    assert [answer["code"] for answer in answers] == ["E0104"] * 3
    assert rows() == before


def test_a_payment_that_came_too_late_is_confirmed_like_any_other(mall: APIClient) -> None:
    make_activity()
    lock("a")
    late = NOW + timedelta(minutes=20)
    with pytest.raises(Exception, match="E0106"):
        settle("a", now=late, paid_at=late)

    assert post(mall)["code"] == "0000"
    assert broken_invariants() == {}


def test_it_needs_the_key_of_the_channel(given_back: Order) -> None:
    for client, status in ((APIClient(), 401), (api_client(None), 403)):
        assert client.post(PATH, body(), format="json").status_code == status
    assert Order.objects.filter(refund_at=None).count() == 2
