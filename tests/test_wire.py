"""The wire format, byte for byte. Source: docs/contract.md, sections 1 to 2.4 and 2.6."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from activity.models import Offer, Sku
from groupbuy import snapshots
from groupbuy.models import ApiKey, Channel
from tests.factories import (
    GOODS,
    NOW,
    URL,
    lock,
    make_activity,
    make_channel,
    make_team,
    set_switch,
    settle,
)
from trade.models import NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
BASE = "/api/v1/gbm"
INDEX = f"{BASE}/index/query_group_buy_market_config"
TRIAL = f"{BASE}/trade/trial"
LOCK = f"{BASE}/trade/lock_market_pay_order"
SETTLE = f"{BASE}/trade/settlement_market_pay_order"
REFUND = f"{BASE}/trade/refund_market_pay_order"
CONFIRM = f"{BASE}/trade/confirm_refund"


@pytest.fixture
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def shopper(user_id: str = "xiaofuge", **fields: Any) -> dict[str, Any]:
    return {"userId": user_id, "source": "s01", "channel": "c01", "goodsId": GOODS, **fields}


def lock_body(user_id: str = "xiaofuge", **fields: Any) -> dict[str, Any]:
    defaults = {
        "activityId": 100123,
        "outTradeNo": f"t-{user_id}",
        "notifyConfigVO": {"notifyType": "HTTP", "notifyUrl": URL, "notifyMQ": None},
    }
    return shopper(user_id, **(defaults | fields))


def settle_body(user_id: str = "xiaofuge", **fields: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "outTradeNo": f"t-{user_id}",
        "outTradeTime": int(NOW.timestamp() * 1000) + 60_000,
    }
    return shopper(user_id, **(defaults | fields))


def confirm_body(user_id: str = "xiaofuge", **fields: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"outTradeNo": f"t-{user_id}", "refundAmount": 80.0}
    return shopper(user_id, **(defaults | fields))


def post(client: APIClient, path: str, body: Any, **headers: str) -> Any:
    response = client.post(path, body, format="json", headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return json.loads(response.content)


def test_lock_answers_exactly_these_keys(mall: APIClient) -> None:
    make_activity()

    body = post(mall, LOCK, lock_body())

    order = Order.objects.get()
    assert body == {
        "code": "0000",
        "info": "成功",
        "data": {
            "orderId": str(order.pk),
            "originalPrice": 100.0,
            "deductionPrice": 20.0,
            "payPrice": 80.0,
            "tradeOrderStatus": 0,
            "teamId": str(order.team_id),
        },
    }
    assert re.fullmatch(r"\d{18,19}", body["data"]["orderId"])


def test_settlement_answers_exactly_these_keys_and_the_same_again(mall: APIClient) -> None:
    make_activity()
    order = lock()

    bodies = [post(mall, SETTLE, settle_body()) for _ in range(2)]

    assert bodies == 2 * [
        {
            "code": "0000",
            "info": "成功",
            "data": {
                "userId": "xiaofuge",
                "teamId": str(order.team_id),
                "activityId": 100123,
                "outTradeNo": "t-xiaofuge",
            },
        }
    ]


def test_refund_answers_exactly_these_keys_and_then_repeat(mall: APIClient) -> None:
    make_activity()
    order = lock()
    body = {"userId": "xiaofuge", "source": "s01", "channel": "c01", "outTradeNo": "t-xiaofuge"}

    answers = [post(mall, REFUND, body) for _ in range(2)]

    data = {"userId": "xiaofuge", "orderId": str(order.pk), "teamId": str(order.team_id)}
    assert answers == [
        {"code": "0000", "info": "成功", "data": {**data, "code": "success", "info": "成功"}},
        {"code": "0000", "info": "成功", "data": {**data, "code": "repeat", "info": "重复"}},
    ]
    unknown = post(mall, REFUND, body | {"outTradeNo": "nothing"})
    assert (unknown["code"], unknown["data"]) == ("E0104", None)


def test_a_refusal_is_http_200_with_null_data(mall: APIClient) -> None:
    make_activity()

    assert post(mall, LOCK, lock_body(goodsId="nothing")) == {
        "code": "E0002",
        "info": "无拼团营销配置",
        "data": None,
    }


def test_info_is_english_when_the_caller_prefers_it(mall: APIClient) -> None:
    make_activity()

    body = post(mall, LOCK, lock_body(goodsId="x"), **{"Accept-Language": "en-US,zh;q=0.5"})

    assert body["info"] == "No group-buying offer for these goods"


def test_the_older_flat_notify_url_means_http(mall: APIClient) -> None:
    make_activity()
    body = lock_body(notifyUrl=URL)
    del body["notifyConfigVO"]

    assert post(mall, LOCK, body)["code"] == "0000"
    assert Team.objects.get().notify_url == URL


def test_unknown_fields_and_null_team_are_ignored(mall: APIClient) -> None:
    make_activity()

    assert post(mall, LOCK, lock_body(teamId=None, more={"a": 1}))["code"] == "0000"
    assert post(mall, LOCK, lock_body("b", teamId=""))["code"] == "0000"
    assert Team.objects.count() == 2


def test_numbers_as_ids_are_read_as_java_clients_send_them(mall: APIClient) -> None:
    make_activity()

    body = post(mall, LOCK, lock_body(userId=10001, goodsId=int(GOODS), activityId="100123"))

    assert body["code"] == "0000"
    assert Order.objects.get().user_id == "10001"


def test_a_team_id_as_a_number_and_any_notify_mq_are_read(mall: APIClient) -> None:
    make_activity()
    team_id = lock("a").team_id
    notify = {"notifyType": "HTTP", "notifyUrl": URL, "notifyMQ": {"topic": 1}}

    body = post(mall, LOCK, lock_body("b", teamId=team_id, notifyConfigVO=notify))

    assert (body["code"], body["data"]["teamId"]) == ("0000", str(team_id))


@pytest.mark.parametrize(
    "moment",
    [
        int(NOW.timestamp() * 1000),
        "2036-05-01T04:00:00.000+00:00",
        "2036-05-01T12:00:00+0800",
        "2036-05-01T04:00:00Z",
    ],
)
def test_out_trade_time_is_epoch_milliseconds_or_iso(mall: APIClient, moment: Any) -> None:
    make_activity()
    lock()

    assert post(mall, SETTLE, settle_body(outTradeTime=moment))["code"] == "0000"
    assert Order.objects.get().paid_at == NOW


@pytest.mark.parametrize("path", [INDEX, TRIAL, LOCK, SETTLE, REFUND, CONFIRM])
def test_paths_answer_with_and_without_a_slash(mall: APIClient, path: str) -> None:
    make_activity()
    for slash in ("", "/"):
        assert mall.post(path + slash, {}, format="json").json()["code"] == "0002"


def test_index_of_a_market_without_teams(client: APIClient) -> None:
    make_activity()

    assert post(client, INDEX, shopper()) == {
        "code": "0000",
        "info": "成功",
        "data": {
            "activityId": 100123,
            "goods": {
                "goodsId": GOODS,
                "goodsName": "a book",
                "originalPrice": 100.0,
                "deductionPrice": 20.0,
                "payPrice": 80.0,
            },
            "visible": True,
            "enable": True,
            "teamList": [],
            "teamStatistic": {
                "allTeamCount": 0,
                "allTeamCompleteCount": 0,
                "allTeamUserCount": 0,
            },
        },
    }


def test_index_shows_ones_own_team_and_masks_the_others(client: APIClient) -> None:
    make_activity()
    own, other = make_team("xiaofuge", "b", paid=1), make_team("liergou")
    done = make_team("c", "d", "e", paid=3)

    data = post(client, INDEX, shopper())["data"]

    times = {
        "validStartTime": "2036-05-01T04:00:00.000+00:00",
        "validEndTime": "2036-05-01T04:15:00.000+00:00",
        "validTimeCountdown": "00:15:00",
    }
    assert data["teamList"] == [
        {
            "userId": "xiaofuge",
            "teamId": str(own.pk),
            "activityId": 100123,
            "targetCount": 3,
            "completeCount": 1,
            "lockCount": 2,
            **times,
            "outTradeNo": "t-xiaofuge",
        },
        {
            "userId": "li***u",
            "teamId": str(other.pk),
            "activityId": 100123,
            "targetCount": 3,
            "completeCount": 0,
            "lockCount": 1,
            **times,
            "outTradeNo": None,
        },
    ]
    assert data["teamStatistic"] == {
        "allTeamCount": 3,
        "allTeamCompleteCount": 1,
        "allTeamUserCount": 6,
    }
    assert str(done.pk) not in json.dumps(data)


def test_index_shows_two_other_teams_at_most_and_no_ended_or_full_ones(client: APIClient) -> None:
    make_activity()
    for n in range(5):
        lock(f"open{n}")
    lock("early", now=NOW - timedelta(minutes=15))
    make_team("f1", "f2", "f3")

    teams = post(client, INDEX, shopper("stranger"))["data"]["teamList"]

    assert len(teams) == 2
    assert all(re.fullmatch(r"op\*\*\*\d", team["userId"]) for team in teams)


def test_index_shows_only_teams_of_this_offer(client: APIClient) -> None:
    activity = make_activity()
    other = make_channel("s03", "c03")
    Offer.objects.create(channel=other, sku=Sku.objects.get(), activity=activity)
    lock("here")
    lock("there", source="s03", channel="c03")

    here = post(client, INDEX, shopper("stranger"))["data"]["teamList"]
    there = post(client, INDEX, shopper("here", source="s03", channel="c03"))["data"]["teamList"]

    assert [team["userId"] for team in here] == ["he***e"]
    assert [team["userId"] for team in there] == ["th***e"]


def test_index_answers_the_trials_refusals_with_their_own_codes(client: APIClient) -> None:
    make_activity()
    set_switch("downgradeSwitch", "1")

    assert post(client, INDEX, shopper())["code"] == "E0003"


def test_index_reports_the_crowd_rule_in_visible_and_enable(client: APIClient) -> None:
    make_activity(restrict_visible=True)

    data = post(client, INDEX, shopper())["data"]

    assert (data["visible"], data["enable"]) == (False, True)


def test_trial_collects_every_refusal(mall: APIClient) -> None:
    make_activity(restrict_join=True, status=3)
    set_switch("downgradeSwitch", "1")
    set_switch("cutRange", "0")

    body = post(mall, TRIAL, shopper(activityId=100123))

    assert (body["code"], body["info"]) == ("E0003", "拼团活动降级拦截")
    assert body["data"]["goods"]["payPrice"] == 80.0
    assert [refusal["code"] for refusal in body["data"]["refusals"]] == [
        "E0003",
        "E0004",
        "E0007",
        "E0101",
    ]


def test_trial_without_an_offer_has_no_goods(mall: APIClient) -> None:
    assert post(mall, TRIAL, shopper(goodsId="nothing")) == {
        "code": "E0002",
        "info": "无拼团营销配置",
        "data": {
            "activityId": None,
            "goods": None,
            "visible": False,
            "enable": False,
            "refusals": [{"code": "E0002", "info": "无拼团营销配置"}],
        },
    }


def test_a_warm_trial_reads_no_database(mall: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    assert post(mall, TRIAL, shopper())["code"] == "0000"

    with CaptureQueriesContext(connection) as queries:
        assert post(mall, TRIAL, shopper())["code"] == "0000"

    assert [query["sql"] for query in queries] == []


def test_team_progress_for_the_mall(mall: APIClient) -> None:
    make_activity()
    team = make_team("a", "b", paid=1)

    assert mall.get(f"{BASE}/trade/teams/{team.pk}").json()["data"] == {
        "teamId": str(team.pk),
        "activityId": 100123,
        "goodsId": GOODS,
        "status": 0,
        "completedByShop": False,
        "targetCount": 3,
        "lockCount": 2,
        "completeCount": 1,
        "validStartTime": "2036-05-01T04:00:00.000+00:00",
        "validEndTime": "2036-05-01T04:15:00.000+00:00",
        "validTimeCountdown": "00:15:00",
        "members": [
            {"userId": "a", "outTradeNo": "t-a", "tradeOrderStatus": 1},
            {"userId": "b", "outTradeNo": "t-b", "tradeOrderStatus": 0},
        ],
    }


def test_order_state_has_a_timeline(mall: APIClient) -> None:
    make_activity(target_count=1)
    order = lock("a")
    settle("a", now=NOW + timedelta(minutes=2))
    NotifyTask.objects.update(delivered_at=NOW + timedelta(minutes=3))

    data = mall.get(f"{BASE}/trade/orders/t-a/").json()["data"]

    assert data == {
        "outTradeNo": "t-a",
        "userId": "a",
        "activityId": 100123,
        "orderId": str(order.pk),
        "originalPrice": 100.0,
        "deductionPrice": 20.0,
        "payPrice": 80.0,
        "tradeOrderStatus": 1,
        "closeReason": "",
        "payDeadline": "2036-05-01T04:15:00.000+00:00",
        "teamId": str(order.team_id),
        "teamStatus": 1,
        "refundAmount": None,
        "refundTime": None,
        "timeline": [
            {"event": "locked", "at": "2036-05-01T04:00:00.000+00:00"},
            {"event": "paid", "at": "2036-05-01T04:02:00.000+00:00"},
            {"event": "team_complete", "at": "2036-05-01T04:02:00.000+00:00"},
            {"event": "team_success_delivered", "at": "2036-05-01T04:03:00.000+00:00"},
        ],
    }


def test_an_order_number_may_have_slashes(mall: APIClient) -> None:
    make_activity()
    lock("a", out_trade_no="2036/05/a")

    body = mall.get(f"{BASE}/trade/orders/2036%2F05%2Fa").json()

    assert body["data"]["outTradeNo"] == "2036/05/a"


def test_unknown_teams_and_orders(mall: APIClient) -> None:
    for team_id in ("404", "abc", "9" * 30):
        assert mall.get(f"{BASE}/trade/teams/{team_id}").json()["code"] == "E0010"
    assert mall.get(f"{BASE}/trade/orders/nothing").json()["code"] == "E0104"


# --- keys -----------------------------------------------------------------------------------


def answer_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("path", [TRIAL, LOCK, SETTLE, REFUND])
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer nonsense", "Bearer gbm_1_2", "Basic x", "Bearer gbm_"]
)
def test_without_a_valid_key_every_call_is_refused(
    client: APIClient, path: str, header: str | None
) -> None:
    make_activity()
    headers = {"Authorization": header} if header else {}

    response = client.post(path, lock_body(), format="json", headers=headers)

    assert answer_of(response) == (401, "0401")
    assert response["WWW-Authenticate"] == "Bearer"
    assert Order.objects.count() == 0


def test_a_key_with_a_wrong_secret_is_refused(mall: APIClient) -> None:
    make_activity()
    prefix = ApiKey.objects.get().prefix
    mall.credentials(HTTP_AUTHORIZATION=f"Bearer gbm_{prefix}_{'0' * 48}")

    assert answer_of(mall.post(TRIAL, shopper(), format="json")) == (401, "0401")


def test_a_revoked_key_is_refused(mall: APIClient) -> None:
    make_activity()
    ApiKey.objects.update(is_active=False)

    assert answer_of(mall.post(TRIAL, shopper(), format="json")) == (401, "0401")


@pytest.mark.parametrize("path", [TRIAL, LOCK, SETTLE, REFUND])
@pytest.mark.parametrize("named", [{"source": "s02"}, {"channel": "c02"}])
def test_a_key_speaks_for_its_own_channel_only(
    mall: APIClient, path: str, named: dict[str, str]
) -> None:
    make_activity()
    make_channel("s02", "c01", allow_without_key=True)

    response = mall.post(path, lock_body(**named), format="json")

    assert answer_of(response) == (403, "0403")
    assert Order.objects.count() == 0


def test_a_number_does_not_bypass_the_channel_check(mall: APIClient) -> None:
    make_activity()
    make_channel("1", "c01")

    assert answer_of(mall.post(LOCK, lock_body(source=1), format="json")) == (403, "0403")


def test_an_operator_key_does_not_trade(client: APIClient) -> None:
    make_activity()
    key, text = ApiKey.issue(channel=None, name="operator")
    key.save()

    for path, body in ((LOCK, lock_body()), (SETTLE, settle_body()), (REFUND, settle_body())):
        response = client.post(
            path, body, format="json", headers={"Authorization": f"Bearer {text}"}
        )
        assert answer_of(response) == (403, "0403")
    assert not Order.objects.exists()


def test_an_open_channel_needs_no_key_and_others_still_do(client: APIClient) -> None:
    make_activity()
    Channel.objects.filter(source="s01").update(allow_without_key=True)
    make_channel("s02", "c02")

    assert answer_of(client.post(LOCK, lock_body(), format="json")) == (200, "0000")
    assert answer_of(client.post(LOCK, lock_body(source="s02"), format="json")) == (401, "0401")
    path = f"{BASE}/trade/orders/t-xiaofuge"
    assert answer_of(client.get(f"{path}?source=s01&channel=c01")) == (200, "0000")
    assert answer_of(client.get(path)) == (401, "0401")


def test_another_channels_orders_and_teams_are_not_shown(mall: APIClient) -> None:
    other = make_channel("s02", "c02", allow_without_key=True)
    make_activity(channel=other)
    order = lock(source="s02", channel="c02")

    assert mall.get(f"{BASE}/trade/orders/{order.out_trade_no}").json()["code"] == "E0104"
    assert mall.get(f"{BASE}/trade/teams/{order.team_id}").json()["code"] == "E0010"


# --- transport ------------------------------------------------------------------------------


def test_transport_faults_carry_the_envelope(mall: APIClient) -> None:
    make_activity()

    not_json = mall.post(LOCK, b"{", content_type="application/json")
    form = mall.post(LOCK, lock_body(notifyConfigVO="x"))
    wrong_method = mall.get(LOCK)
    without_a_key = APIClient().get(LOCK)
    nowhere = mall.post(f"{BASE}/trade/nothing", {}, format="json")

    assert answer_of(not_json) == (400, "0002")
    assert answer_of(form) == (415, "0002")
    assert answer_of(wrong_method) == (405, "0002")
    assert answer_of(without_a_key) == (405, "0002")
    assert answer_of(nowhere) == (404, "0002")
    for response in (not_json, form, wrong_method, nowhere):
        assert set(response.json()) == {"code", "info", "data"}
        assert response.json()["data"] is None


def test_json_is_answered_whatever_is_accepted(mall: APIClient) -> None:
    make_activity()

    assert post(mall, LOCK, lock_body(), Accept="text/plain")["code"] == "0000"


def test_cors_is_for_configured_origins_and_the_index_only(
    client: APIClient, settings: Any
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example"]
    make_activity()

    def allowed(path: str, origin: str) -> str | None:
        response = client.post(path, shopper(), format="json", headers={"Origin": origin})
        return response.get("Access-Control-Allow-Origin")

    assert allowed(INDEX, "https://shop.example") == "https://shop.example"
    assert allowed(INDEX, "https://evil.example") is None
    assert allowed(TRIAL, "https://shop.example") is None


def test_a_bug_is_a_500_with_the_envelope(mall: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    monkeypatch.setattr("trade.views.lock_order", lambda *a, **k: 1 / 0)

    assert answer_of(mall.post(LOCK, lock_body(), format="json")) == (500, "0001")


def test_an_unreachable_database_is_a_503(mall: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:

    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(2006, "Server has gone away")

    def deadlock(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    make_activity()
    monkeypatch.setattr("trade.views.lock_order", gone)
    assert answer_of(mall.post(LOCK, lock_body(), format="json")) == (503, "0001")
    monkeypatch.setattr("trade.views.lock_order", deadlock)
    assert answer_of(mall.post(LOCK, lock_body(), format="json")) == (200, "0004")
