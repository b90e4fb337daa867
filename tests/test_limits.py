"""Which requests are limited, and by what; blocks in the console."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from rest_framework.test import APIClient

from groupbuy import gcra, throttling
from groupbuy.throttling import client_address
from tests.factories import GOODS, NOW, URL, make_activity, set_switch
from trade.inbox import problems
from trade.models import Order, Team

pytestmark = pytest.mark.django_db
INDEX = "/api/v1/gbm/index/query_group_buy_market_config"
TRADE = "/api/v1/gbm/trade/"
BLOCKED = "/admin/groupbuy/switch/blocked/"


def body(user_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"userId": user_id, "source": "s01", "channel": "c01", "goodsId": GOODS} | fields


def statuses(call: Callable[[], Any], times: int) -> list[int]:
    return [call().status_code for _ in range(times)]


def blocks() -> list[tuple[str, str]] | None:
    found = gcra.blocks(throttling.scopes())
    return None if found is None else [(block.scope, block.client) for block in found]


@pytest.mark.usefixtures("_still_limits")
def test_a_refusal_says_when_to_retry(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "2/60")

    allowed = statuses(lambda: mall.post(f"{TRADE}trial", body(), format="json"), 2)
    refused = mall.post(f"{TRADE}trial", body(), format="json")

    assert allowed == [200, 200]
    assert (refused.status_code, refused["Retry-After"]) == (429, "30")
    assert refused.json() == {"code": "0006", "info": "接口限流", "data": None}
    assert mall.post(f"{TRADE}trial", body("b"), format="json").status_code == 200


@pytest.mark.usefixtures("redis")
def test_a_limited_lock_creates_nothing(mall: APIClient) -> None:
    make_activity(take_limit=9)
    set_switch("tradeUserLimit", "1/60")
    lock = body(
        activityId=100123,
        outTradeNo="t-1",
        notifyConfigVO={"notifyType": "HTTP", "notifyUrl": URL},
    )
    mall.post(f"{TRADE}trial", body(), format="json")

    assert mall.post(f"{TRADE}lock_market_pay_order", lock, format="json").status_code == 429
    assert (Team.objects.count(), Order.objects.count()) == (0, 0)


@pytest.mark.usefixtures("_still_limits")
def test_payments_and_refunds_of_a_blocked_shopper_pass(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")
    assert 429 in statuses(lambda: mall.post(f"{TRADE}trial", body(), format="json"), 30)
    assert blocks() == [("s01/c01", "user a")]

    paid = body(outTradeNo="t-1", outTradeTime=1770000000000)
    for path in ("settlement_market_pay_order", "refund_market_pay_order"):
        assert mall.post(TRADE + path, paid, format="json").json()["code"] == "E0104"


@pytest.mark.usefixtures("redis")
def test_every_call_of_a_channel_is_limited_and_never_blocked(mall: APIClient) -> None:
    set_switch("tradeChannelLimit", "2/60")
    calls = statuses(lambda: mall.get("/api/v1/gbm/events"), 2)

    assert calls == [200, 200]
    assert statuses(lambda: mall.get(f"{TRADE}orders/t-1"), 50) == [429] * 50
    assert blocks() == []


@pytest.mark.usefixtures("redis")
def test_index_queries_are_limited_by_address_and_by_shopper_at_it(client: APIClient) -> None:
    set_switch("indexAddressLimit", "5/60")
    set_switch("indexUserLimit", "2/60")

    def query(user_id: str, address: str) -> int:
        answer = client.post(INDEX, body(user_id), format="json", REMOTE_ADDR=address)
        return int(answer.status_code)

    assert [query("a", "10.0.0.1") for _ in range(3)] == [200, 200, 429]
    assert query("a", "10.0.0.2") == 200  # not the limit of the same user id elsewhere
    assert [query(user_id, "10.0.0.1") for user_id in "bcde"] == [200, 200, 200, 429]


@pytest.mark.usefixtures("redis")
def test_an_index_query_with_a_malls_key_is_limited_as_its_calls(
    client: APIClient, mall: APIClient
) -> None:
    """A mall's server has one address for all its shoppers."""
    set_switch("indexAddressLimit", "1/60")
    set_switch("indexUserLimit", "1/60")
    set_switch("tradeUserLimit", "2/60")
    set_switch("tradeChannelLimit", "4/60")

    assert statuses(lambda: mall.post(INDEX, body("a"), format="json"), 3) == [200, 200, 429]
    assert mall.post(f"{TRADE}trial", body("a"), format="json").status_code == 429
    assert statuses(lambda: mall.post(INDEX, body("b"), format="json"), 2) == [200, 200]
    assert mall.post(INDEX, body("c"), format="json").status_code == 429
    assert client.post(INDEX, body("c"), format="json").status_code == 200


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("key", ["Bearer gbm_wrong_key", "Basic YTpi", "of the page's own"])
def test_an_unknown_key_is_no_way_past_the_limit_of_an_address(client: APIClient, key: str) -> None:
    set_switch("indexAddressLimit", "1/60")
    client.credentials(HTTP_AUTHORIZATION=key)

    assert statuses(lambda: client.post(INDEX, body(), format="json"), 2) == [200, 429]


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_an_unreadable_query_counts_for_its_address(
    client: APIClient, headers: dict[str, str]
) -> None:
    set_switch("indexAddressLimit", "2/60")

    def rubbish() -> Any:
        return client.post(INDEX, "{", content_type="application/json", headers=headers)

    assert statuses(rubbish, 3) == [400, 400, 429]
    assert client.post(INDEX, body(), format="json").status_code == 429


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ("{", {}, 400),
        ("{", {"Content-Encoding": "gzip"}, 400),
        ("{", {"Content-Type": "text/plain"}, 415),
        ('{"source":"s09","channel":"c09"}', {}, 403),
    ],
)
def test_a_call_that_is_refused_before_it_is_read_counts_for_its_channel(
    mall: APIClient, content: str, headers: dict[str, str], status: int
) -> None:
    """Fails if only requests that pass the permission check are counted."""
    set_switch("tradeChannelLimit", "2/60")

    def refused() -> Any:
        path = f"{TRADE}lock_market_pay_order"
        return mall.generic("POST", path, content, "application/json", headers=headers)

    assert statuses(refused, 3) == [status, status, 429]
    assert mall.get("/api/v1/gbm/events").status_code == 429
    assert blocks() == []


@pytest.mark.usefixtures("redis")
def test_an_unreadable_call_without_a_key_is_refused(client: APIClient) -> None:
    set_switch("tradeChannelLimit", "1/60")
    path = f"{TRADE}lock_market_pay_order"

    assert statuses(lambda: client.generic("POST", path, "{", "application/json"), 2) == [400, 400]


@pytest.mark.parametrize(
    ("ident", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one(ident: str, address: str) -> None:
    assert client_address(ident) == address


@pytest.mark.usefixtures("redis")
def test_a_forged_forwarding_header_changes_nothing(client: APIClient) -> None:
    set_switch("indexAddressLimit", "1/60")

    def query(n: int) -> int:
        forged = {"X-Forwarded-For": f"10.0.0.{n}"}
        return int(client.post(INDEX, body(), format="json", headers=forged).status_code)

    assert [query(n) for n in range(3)] == [200, 429, 429]


@pytest.mark.usefixtures("_still_limits")
def test_a_block_is_lifted_in_the_console(mall: APIClient, operator: Client) -> None:
    set_switch("tradeUserLimit", "1/60")
    assert "No client is blocked." in operator.get(BLOCKED).content.decode()
    statuses(lambda: mall.post(f"{TRADE}trial", body(), format="json"), 30)

    shown = operator.get(BLOCKED).content.decode()
    assert "user a" in shown
    assert "s01/c01" in shown
    with translation.override("en"):
        texts = [problem.text for problem in problems(NOW)]
    assert texts == ["1 client is blocked for too many requests."]
    viewer = Client()
    viewer.force_login(User.objects.create_user("viewer", is_staff=True))
    assert viewer.post(BLOCKED, {"scope": "s01/c01", "client": "user a"}).status_code == 403
    assert blocks() == [("s01/c01", "user a")]

    lift = {"scope": "s01/c01", "client": "user a"}
    answer = operator.post(BLOCKED, lift, follow=True)
    assert "Say why the client is unblocked." in answer.content.decode()
    assert blocks() == [("s01/c01", "user a")]
    answer = operator.post(BLOCKED, lift | {"reason": "a test"}, follow=True)

    assert "user a is unblocked." in answer.content.decode()
    assert blocks() == []
    logged = LogEntry.objects.get()
    assert (logged.object_repr, "a test" in logged.change_message) == ("s01/c01: user a", True)
    assert mall.post(f"{TRADE}trial", body(), format="json").status_code == 200
    again = operator.post(BLOCKED, lift | {"reason": "a test"}, follow=True)
    assert "user a is not blocked." in again.content.decode()
    assert LogEntry.objects.count() == 1


def test_a_process_that_dies_while_it_unblocks_leaves_the_entry(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(gcra, "lift", die)
    body = {"scope": "s01/c01", "client": "user a", "reason": "a test"}

    with pytest.raises(RuntimeError):
        operator.post(BLOCKED, body)
    assert LogEntry.objects.get().object_repr == "s01/c01: user a"


def test_without_an_answer_of_redis_the_entry_stays(operator: Client) -> None:
    body = {"scope": "s01/c01", "client": "user a", "reason": "a test"}

    page = operator.post(BLOCKED, body, follow=True).content.decode()

    assert "Redis does not answer: look whether the block has ended." in page
    assert LogEntry.objects.get().object_repr == "s01/c01: user a"


@pytest.mark.usefixtures("redis")
def test_limits_are_switches(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")

    def trial(user_id: str = "a") -> Any:
        return mall.post(f"{TRADE}trial", body(user_id), format="json")

    assert statuses(trial, 2) == [200, 429]

    set_switch("tradeUserLimit", "3/60")
    assert statuses(lambda: trial("b"), 4) == [200, 200, 200, 429]
    set_switch("rateLimiterSwitch", "close")
    assert statuses(trial, 5) == [200] * 5
    set_switch("rateLimiterSwitch", "open")
    set_switch("tradeUserLimit", "off")
    assert statuses(trial, 5) == [200] * 5


def test_without_redis_no_client_is_limited(
    mall: APIClient, client: APIClient, operator: Client
) -> None:
    set_switch("tradeUserLimit", "1/60")
    set_switch("indexAddressLimit", "1/60")

    assert statuses(lambda: mall.post(f"{TRADE}trial", body(), format="json"), 5) == [200] * 5
    assert statuses(lambda: client.post(INDEX, body(), format="json"), 5) == [200] * 5
    assert blocks() is None
    page = operator.get(BLOCKED).content.decode()
    assert "Redis is down, so no client is limited or blocked." in page


@pytest.mark.usefixtures("redis")
def test_an_operators_key_is_not_limited(mall: APIClient, operator_api: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")

    def trial() -> Any:
        return operator_api.post(f"{TRADE}trial", body(), format="json")

    assert statuses(trial, 5) == [200] * 5
