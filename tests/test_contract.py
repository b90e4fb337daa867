"""Details of docs/contract.md that a mall may rely on without thinking of them."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import time_machine
from django.utils import translation
from rest_framework.test import APIClient

from activity.models import Activity, Sku
from groupbuy.errors import ErrorCode
from groupbuy.models import SwitchChange
from tests.factories import GOODS, NOW, lock, make_activity, make_team, set_switch
from trade.models import NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
BASE = "/api/v1/gbm"
INDEX = f"{BASE}/index/query_group_buy_market_config"
LOCK = f"{BASE}/trade/lock_market_pay_order"
CONTRACT = (Path(__file__).parent.parent / "docs" / "contract.md").read_text("utf-8")


def body(user_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"userId": user_id, "source": "s01", "channel": "c01", "goodsId": GOODS} | fields


def lock_body(user_id: str = "a", **fields: Any) -> dict[str, Any]:
    notify = {"notifyConfigVO": {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1:9/callback"}}
    return body(user_id, activityId=100123, outTradeNo=f"t-{user_id}") | notify | fields


def post(client: APIClient, path: str, fields: dict[str, Any]) -> Any:
    return client.post(path, fields, format="json").json()


def test_codes_and_their_chinese_are_the_tables() -> None:
    table = CONTRACT.split("### 2.7 Codes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([0-9E /]+) \| ([^|]+) \|", table, re.M)
    listed = [
        pair
        for codes, texts in rows
        for pair in zip(codes.split(" / "), texts.split(" / "), strict=True)
    ]

    with translation.override("zh-hans"):
        assert listed == [(error.code, str(error.message)) for error in ErrorCode]


def test_numbers_on_the_wire_stay_what_they_are() -> None:
    assert [int(each) for each in Activity.Status] == [0, 1, 2, 3, 4]
    assert [int(each) for each in Activity.GroupType] == [0, 1]
    assert [int(each) for each in Team.Status] == [0, 1, 2, 3]
    assert [int(each) for each in Order.Status] == [0, 1, 2]
    assert [int(each) for each in NotifyTask.State] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ("39.90", '"originalPrice":39.9,"deductionPrice":20.0,"payPrice":19.9}'),
        ("21.99", '"originalPrice":21.99,"deductionPrice":20.0,"payPrice":1.99}'),
        ("20.01", '"originalPrice":20.01,"deductionPrice":20.0,"payPrice":0.01}'),
        (
            "99999999.99",
            '"originalPrice":99999999.99,"deductionPrice":20.0,"payPrice":99999979.99}',
        ),
    ],
)
def test_money_has_two_decimals_at_most(mall: APIClient, price: str, shown: str) -> None:
    make_activity()
    Sku.objects.update(original_price=Decimal(price))

    answer = mall.post(f"{BASE}/trade/trial", body(), format="json").content.decode()

    assert shown in answer


def test_a_countdown_goes_on_above_a_day_and_then_says_that_it_is_over(mall: APIClient) -> None:
    make_activity(valid_minutes=25 * 60, end_at=NOW + timedelta(days=2))
    team = lock("a").team_id
    path = f"{BASE}/trade/teams/{team}"

    assert mall.get(path).json()["data"]["validTimeCountdown"] == "25:00:00"
    with time_machine.travel(NOW + timedelta(hours=25), tick=False):
        assert mall.get(path).json()["data"]["validTimeCountdown"] == "已结束"


def test_a_shopper_sees_the_newest_of_several_own_teams(client: APIClient) -> None:
    make_activity(take_limit=9)
    lock("a", out_trade_no="t-1")
    newest = lock("a", out_trade_no="t-2").team_id
    lock("b")

    teams = post(client, INDEX, body("a"))["data"]["teamList"]

    assert [(each["teamId"], each["outTradeNo"]) for each in teams[:1]] == [(str(newest), "t-2")]
    assert [each["userId"] for each in teams[1:]] == ["b***"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_reads_answer_with_and_without_a_slash(mall: APIClient, slash: str) -> None:
    make_activity()
    team = make_team("a").pk

    for path in ("events", f"trade/teams/{team}", "trade/orders/t-a"):
        assert mall.get(f"{BASE}/{path}{slash}").json()["code"] == "0000"


@pytest.mark.parametrize("slash", ["", "/"])
def test_crowd_calls_answer_with_and_without_a_slash(operator_api: APIClient, slash: str) -> None:
    for path in ("exec_tag_batch_job", "add_members", "remove_members"):
        assert post(operator_api, f"{BASE}/tag/{path}{slash}", {})["code"] == "0002"


def test_a_repeat_gets_its_order_whatever_else_it_says(mall: APIClient) -> None:
    make_activity()
    first = post(mall, LOCK, lock_body())
    other = {"notifyType": "MQ", "notifyUrl": "https://elsewhere.example/"}

    again = post(
        mall, LOCK, lock_body(activityId=7, goodsId="other", teamId="9", notifyConfigVO=other)
    )

    assert again == first
    assert Order.objects.count() == 1


def test_a_paused_activity_takes_no_lock(mall: APIClient) -> None:
    make_activity(status=Activity.Status.PAUSED)

    assert post(mall, LOCK, lock_body())["code"] == "E0101"
    assert not Order.objects.exists()


def test_of_a_key_that_stands_twice_the_last_counts(mall: APIClient) -> None:
    make_activity()
    text = orjson.dumps(body("a")).replace(b'{"userId"', b'{"userId":"b","userId"')

    assert (
        mall.post(f"{BASE}/trade/trial", text, content_type="application/json").json()["code"]
        == "0000"
    )
    twice = orjson.dumps(body("a"))[:-1] + b',"source":"s09"}'
    assert (
        mall.post(f"{BASE}/trade/trial", twice, content_type="application/json").json()["code"]
        == "0403"
    )


def test_a_head_changes_no_switch(operator_api: APIClient) -> None:
    answer = operator_api.head(f"{BASE}/dcc/update_config?key=cutRange&value=0")

    assert answer.status_code == 405
    assert not SwitchChange.objects.exists()


@pytest.mark.usefixtures("redis")
def test_a_browser_of_an_allowed_origin_may_ask_and_reads_when_to_retry(
    client: APIClient, settings: Any
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example"]
    set_switch("indexAddressLimit", "1/60")
    make_activity()
    origin = {"Origin": "https://shop.example"}

    asked = client.options(INDEX, headers=origin | {"Access-Control-Request-Method": "POST"})
    client.post(INDEX, body(), format="json", headers=origin)
    refused = client.post(INDEX, body(), format="json", headers=origin)

    assert asked.status_code == 200
    assert asked["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "POST" in asked["Access-Control-Allow-Methods"]
    assert (refused.status_code, refused["Access-Control-Expose-Headers"]) == (429, "Retry-After")
