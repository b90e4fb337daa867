"""Who asks too often waits; who keeps asking is blocked; money always finds its way."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from redis import Redis
from rest_framework.test import APIClient

from groupbuy import snapshots, switches, throttling
from groupbuy.models import ApiKey, Switch
from groupbuy.redis import ask
from groupbuy.throttling import Limit, Throttle, blocks, client_address, lift
from tests.factories import GOODS, NOW, URL, make_activity, make_channel, set_switch
from trade.inbox import problems
from trade.models import Order, Team

pytestmark = pytest.mark.django_db
INDEX = "/api/v1/gbm/index/query_group_buy_market_config"
TRADE = "/api/v1/gbm/trade/"
TRADE_USER, CHANNEL = Switch.Key.TRADE_USER, Switch.Key.TRADE_CHANNEL


def asked(user_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"userId": user_id, "source": "s01", "channel": "c01", "goodsId": GOODS} | fields


def statuses(call: Callable[[], Any], times: int) -> list[int]:
    return [call().status_code for _ in range(times)]


def take(*limits: tuple[Switch.Key, str], place: str = "s01/c01") -> float:
    """The seconds to wait, 0 when the request may pass."""
    throttle = Throttle()
    throttle.take(place, *(Limit(*limit) for limit in limits))
    return throttle.wait()


def go_back(redis: Redis, client: str, seconds: float, place: str = "s01/c01") -> None:
    """As if everything kept of this client had happened so much earlier."""
    key = throttling._key(place, client)
    for field in redis.hgetall(key):
        if field in (b"free_at", b"until", b"struck_at"):
            redis.hincrbyfloat(key, field.decode(), -seconds * 1000)


def test_so_many_at_once_and_then_one_at_a_time(redis: Redis) -> None:
    set_switch("tradeUserLimit", "5/60")
    user = TRADE_USER, "user a"

    assert [take(user) for _ in range(5)] == [0] * 5
    assert 11 < take(user) <= 12
    go_back(redis, "user a", 12)
    assert take(user) == 0
    assert 11 < take(user) <= 12
    go_back(redis, "user a", 3600)
    assert [take(user) for _ in range(5)] == [0] * 5
    assert take(user) > 0
    assert take((TRADE_USER, "user b")) == 0
    assert take(user, place="s02/c02") == 0


def test_the_answer_says_when_to_come_back(redis: Redis, mall: APIClient) -> None:
    set_switch("tradeUserLimit", "2/60")

    allowed = statuses(lambda: mall.post(f"{TRADE}trial", asked(), format="json"), 2)
    refused = mall.post(f"{TRADE}trial", asked(), format="json")

    assert allowed == [200, 200]
    assert (refused.status_code, refused["Retry-After"]) == (429, "30")
    assert refused.json() == {"code": "0006", "info": "接口限流", "data": None}
    assert mall.post(f"{TRADE}trial", asked("b"), format="json").status_code == 200


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("requests", [20, 200])
def test_threads_share_a_limit_to_the_last_request(
    monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    """Mutations: compare free_at in Python; a process keeps to a large limit of its own."""
    set_switch("tradeUserLimit", f"{requests}/3600")
    switches._values.get()
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    monkeypatch.setattr(throttling, "TELL", 0)
    switches._values.get()  # so that the threads need no database
    barrier = Barrier(8)

    def hammer(_thread: int) -> int:
        barrier.wait(10)
        return sum(take((TRADE_USER, "user a")) == 0 for _ in range(requests // 4))

    with ThreadPoolExecutor(8) as pool:
        allowed = sum(pool.map(hammer, range(8)))

    assert allowed == requests


def test_a_refusal_by_one_limit_takes_nothing_from_the_other(redis: Redis) -> None:
    set_switch("tradeUserLimit", "1/60")
    set_switch("tradeChannelLimit", "3/60")
    channel = CHANNEL, "channel"

    assert take((TRADE_USER, "user a"), channel) == 0
    assert [take((TRADE_USER, "user a"), channel) > 0 for _ in range(10)] == [True] * 10
    assert take((TRADE_USER, "user b"), channel) == 0
    assert take((TRADE_USER, "user c"), channel) == 0
    assert take((TRADE_USER, "user d"), channel) > 0  # the channel's
    go_back(redis, "channel", 60)
    assert take((TRADE_USER, "user d"), channel) == 0


@pytest.mark.usefixtures("redis")
def test_a_refused_lock_leaves_nothing(mall: APIClient) -> None:
    make_activity(take_limit=9)
    set_switch("tradeUserLimit", "1/60")
    lock = asked(
        activityId=100123,
        outTradeNo="t-1",
        notifyConfigVO={"notifyType": "HTTP", "notifyUrl": URL},
    )
    mall.post(f"{TRADE}trial", asked(), format="json")

    assert mall.post(f"{TRADE}lock_market_pay_order", lock, format="json").status_code == 429
    assert (Team.objects.count(), Order.objects.count()) == (0, 0)


@pytest.mark.usefixtures("redis")
def test_money_is_not_held_up_by_its_shoppers_haste(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")
    assert 429 in statuses(lambda: mall.post(f"{TRADE}trial", asked(), format="json"), 30)
    assert len(blocks() or ()) == 1

    paid = asked(outTradeNo="t-1", outTradeTime=1770000000000)
    for path in ("settlement_market_pay_order", "refund_market_pay_order"):
        assert mall.post(TRADE + path, paid, format="json").json()["code"] == "E0104"


@pytest.mark.usefixtures("redis")
def test_a_channel_is_limited_in_all_it_does_and_never_blocked(mall: APIClient) -> None:
    set_switch("tradeChannelLimit", "2/60")
    calls = statuses(lambda: mall.get("/api/v1/gbm/events"), 2)

    assert calls == [200, 200]
    assert statuses(lambda: mall.get(f"{TRADE}orders/t-1"), 50) == [429] * 50
    assert blocks() == []


@pytest.mark.usefixtures("redis")
def test_index_queries_are_limited_by_address_and_by_shopper_there(client: APIClient) -> None:
    set_switch("indexAddressLimit", "5/60")
    set_switch("indexUserLimit", "2/60")

    def query(user_id: str, address: str) -> int:
        answer = client.post(INDEX, asked(user_id), format="json", REMOTE_ADDR=address)
        return int(answer.status_code)

    assert [query("a", "10.0.0.1") for _ in range(3)] == [200, 200, 429]
    assert query("a", "10.0.0.2") == 200  # nobody uses up what is somebody else's
    assert [query(user_id, "10.0.0.1") for user_id in "bcde"] == [200, 200, 200, 429]


@pytest.mark.usefixtures("redis")
def test_rubbish_counts_for_its_address(client: APIClient) -> None:
    set_switch("indexAddressLimit", "2/60")

    def rubbish() -> Any:
        return client.post(INDEX, "{", content_type="application/json")

    assert statuses(rubbish, 3) == [400, 400, 429]
    assert client.post(INDEX, asked(), format="json").status_code == 429


@pytest.mark.parametrize(
    ("ident", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("unknown", "unknown"),
        (None, "None"),
    ],
)
def test_an_ipv6_network_counts_as_one(ident: str | None, address: str) -> None:
    assert client_address(ident) == address


@pytest.mark.usefixtures("redis")
def test_a_forged_forwarding_header_changes_nothing(client: APIClient) -> None:
    set_switch("indexAddressLimit", "1/60")

    def query(n: int) -> int:
        forged = {"X-Forwarded-For": f"10.0.0.{n}"}
        return int(client.post(INDEX, asked(), format="json", headers=forged).status_code)

    assert [query(n) for n in range(3)] == [200, 429, 429]


def test_who_keeps_asking_is_blocked_for_longer_each_time(redis: Redis) -> None:
    make_channel()
    set_switch("tradeUserLimit", "1/2")
    user = TRADE_USER, "user a"
    assert take(user) == 0
    waits = [take(user) for _ in range(throttling.STRIKES)]
    assert max(waits) <= 2
    assert blocks() == []

    durations = []
    for _block in range(3):
        durations.append(take(user))
        found = [(block.place, block.client) for block in blocks() or ()]
        assert found == [("s01/c01", "user a")]
        knocks = [take(user) for _ in range(100)]
        assert durations[-1] - 1 < min(knocks) <= max(knocks) <= durations[-1]  # no longer
        go_back(redis, "user a", durations[-1])
        assert take(user) == 0
        assert max(take(user) for _ in range(throttling.STRIKES)) <= 2
    assert durations == [10, 20, 40]


def test_a_block_ends_by_itself_and_is_forgotten_after_a_quiet_time(redis: Redis) -> None:
    set_switch("tradeUserLimit", "1/2")
    user = TRADE_USER, "user a"
    for _ in range(throttling.STRIKES + 2):
        take(user)
    assert 9 < take(user) <= 10

    go_back(redis, "user a", 10)
    assert take(user) == 0
    go_back(redis, "user a", 2)
    strike = [take(user) for _ in range(throttling.STRIKES + 2)]
    assert strike[-1] == 20  # soon again: longer

    go_back(redis, "user a", 20 + throttling.FORGET)
    strike = [take(user) for _ in range(throttling.STRIKES + 2)]
    assert strike[-1] == 10  # a first one again


def test_refusals_are_forgiven_at_the_pace_of_the_limit(redis: Redis) -> None:
    make_channel()
    set_switch("tradeUserLimit", "1/2")
    user = TRADE_USER, "user a"
    for _ in range(100):  # twice too fast, for ever
        assert [take(user) == 0, take(user) == 0] == [True, False]
        go_back(redis, "user a", 2)

    assert blocks() == []


def test_a_block_is_lifted_in_the_console(redis: Redis, mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")
    page = "/admin/groupbuy/switch/blocked/"
    operator = Client(headers={"Accept-Language": "en"})
    operator.force_login(User.objects.create_superuser("operator"))
    assert "Nobody is blocked." in operator.get(page).content.decode()
    statuses(lambda: mall.post(f"{TRADE}trial", asked(), format="json"), 30)

    shown = operator.get(page).content.decode()
    assert "user a" in shown
    assert "s01/c01" in shown
    with translation.override("en"):
        texts = [problem.text for problem in problems(NOW)]
    assert texts == ["1 client is blocked for too many requests."]
    viewer = Client()
    viewer.force_login(User.objects.create_user("viewer", is_staff=True))
    assert viewer.post(page, {"place": "s01/c01", "client": "user a"}).status_code == 403
    assert len(blocks() or ()) == 1

    operator.post(page, {"place": "s01/c01", "client": "user a"})

    assert blocks() == []
    assert LogEntry.objects.get().object_repr == "s01/c01: user a"
    assert mall.post(f"{TRADE}trial", asked(), format="json").status_code == 200
    assert not lift("s01/c01", "user a")


@pytest.mark.usefixtures("redis")
def test_the_figures_are_switches(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")

    def trial(user_id: str = "a") -> Any:
        return mall.post(f"{TRADE}trial", asked(user_id), format="json")

    assert statuses(trial, 2) == [200, 429]

    set_switch("tradeUserLimit", "3/60")
    assert statuses(lambda: trial("b"), 4) == [200, 200, 200, 429]
    set_switch("rateLimiterSwitch", "close")
    assert statuses(trial, 5) == [200] * 5
    set_switch("rateLimiterSwitch", "open")
    set_switch("tradeUserLimit", "off")
    assert statuses(trial, 5) == [200] * 5


def test_without_redis_nobody_is_limited(mall: APIClient, client: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")
    set_switch("indexAddressLimit", "1/60")

    assert statuses(lambda: mall.post(f"{TRADE}trial", asked(), format="json"), 5) == [200] * 5
    assert statuses(lambda: client.post(INDEX, asked(), format="json"), 5) == [200] * 5
    assert blocks() is None
    operator = Client(headers={"Accept-Language": "en"})
    operator.force_login(User.objects.create_superuser("operator"))
    page = operator.get("/admin/groupbuy/switch/blocked/").content.decode()
    assert "Redis is away, so nobody is limited or blocked." in page


@pytest.mark.usefixtures("redis")
def test_an_operators_key_is_not_limited(mall: APIClient) -> None:
    set_switch("tradeUserLimit", "1/60")
    key, text = ApiKey.issue(channel=None, name="ops")
    key.save()
    operator = APIClient()
    operator.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")

    assert statuses(lambda: operator.post(f"{TRADE}trial", asked(), format="json"), 5) == [200] * 5


@pytest.fixture
def asked_redis(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each question."""
    questions: list[int] = []

    def counted(question: Callable[[Redis], Any]) -> Any:
        questions.append(1)
        return ask(question)

    monkeypatch.setattr(throttling, "ask", counted)
    return questions


def another_process() -> None:
    throttling._tallies.clear()


def told(redis: Redis, client: str, interval: float) -> int:
    """How many requests Redis knows of, so many seconds apart."""
    free_at = redis.hget(throttling._key("s01/c01", client), "free_at")
    return round((float(free_at) / 1000 - time.time()) / interval) if free_at else 0


def test_of_a_large_limit_redis_is_told_together_and_it_is_kept_to_the_last_request(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, asked_redis: list[int]
) -> None:
    """Mutations: no request is untold; untold ones are not told before Redis decides."""
    monkeypatch.setattr(throttling, "TELL", 60)
    set_switch("tradeChannelLimit", "103/3600")
    channel = CHANNEL, "channel"

    assert [take(channel) for _ in range(103)] == [0] * 103
    assert len(asked_redis) == 20  # after each five
    assert told(redis, "channel", 3600 / 103) == 100
    assert [take(channel) > 0 for _ in range(5)] == [True] * 5
    assert told(redis, "channel", 3600 / 103) == 103
    another_process()
    assert take(channel) == 0  # it does not know better
    assert take(channel) == 0
    throttling._tallies["s01/c01"]._tell()
    assert take(channel) > 0  # now it does
    assert told(redis, "channel", 3600 / 103) == 105  # nothing was free


def test_redis_is_told_a_moment_later(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, asked_redis: list[int]
) -> None:
    set_switch("tradeUserLimit", "60/3600")
    set_switch("tradeChannelLimit", "1000/3600")
    monkeypatch.setattr(throttling, "TELL", 60)
    for n in range(8):
        assert take((TRADE_USER, f"user {n}"), (CHANNEL, "channel")) == 0
    assert asked_redis == []

    monkeypatch.setattr(throttling, "TELL", 0.01)
    time.sleep(throttling.TELL)
    assert take((TRADE_USER, "user 8"), (CHANNEL, "channel")) == 0

    assert asked_redis == [1]
    assert [told(redis, f"user {n}", 60) for n in range(9)] == [1] * 8 + [0]
    assert told(redis, "channel", 3.6) == 8
    assert redis.pttl(throttling._key("s01/c01", "user 1")) > 3_500_000


def test_what_passes_while_redis_is_told_is_not_forgotten(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _tell() takes Redis's answer as it is."""
    monkeypatch.setattr(throttling, "TELL", 60)
    set_switch("tradeUserLimit", "100/3600")
    user = TRADE_USER, "user a"
    assert [take(user) for _ in range(3)] == [0] * 3
    tallies = throttling._tallies["s01/c01"]

    def meanwhile(question: Callable[[Redis], Any]) -> Any:
        answer = ask(question)
        assert take(user) == 0
        return answer

    with monkeypatch.context() as interrupted:
        interrupted.setattr(throttling, "ask", meanwhile)
        tallies._tell()

    assert told(redis, "user a", 36) == 3
    tally = tallies._tallies[throttling._key("s01/c01", "user a")]
    assert (tally.untold, round((tally.free_at - time.monotonic()) / 36)) == (36, 4)


def test_what_another_limit_refuses_is_given_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, asked_redis: list[int]
) -> None:
    """Mutations: take() does not call give_back(); that leaves nothing to be told, too."""
    monkeypatch.setattr(throttling, "TELL", 0)
    set_switch("tradeChannelLimit", "100/3600")
    set_switch("tradeUserLimit", "1/60")
    channel = CHANNEL, "channel"
    assert take((TRADE_USER, "user a"), channel) == 0
    assert [take((TRADE_USER, "user a"), channel) > 0 for _ in range(10)] == [True] * 10
    assert len(asked_redis) == 11 + 1  # of the channel Redis is told once
    monkeypatch.setattr(throttling, "TELL", 60)

    assert told(redis, "channel", 36) == 1
    assert take(channel) == 0
    assert take((TRADE_USER, "user a"), channel) > 0
    throttling._tallies["s01/c01"]._tell()
    assert told(redis, "channel", 36) == 2  # what was untold before is still told
    assert [take(channel) for _ in range(98)] == [0] * 98
    assert take(channel) > 0


def test_a_block_is_heard_of_by_who_was_not_asked(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _TELL does not answer with the block."""
    monkeypatch.setattr(throttling, "TELL", 0)
    make_channel()
    set_switch("tradeUserLimit", "60/1")
    user = TRADE_USER, "user a"
    key = throttling._key("s01/c01", "user a")
    redis.hset(key, mapping={"until": (time.time() + 10) * 1000, "level": 1})

    assert take(user) == 0
    assert take(user) > 9
    assert redis.pttl(key) > 600_000  # kept until the block is forgotten


def test_a_process_forgets_whom_it_has_told_of(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling, "MOST_TALLIES", 10)
    set_switch("tradeUserLimit", "60/3600")
    for n in range(25):
        assert take((TRADE_USER, f"user {n}")) == 0
        tallies = throttling._tallies["s01/c01"]
        if n % 4 == 3:
            tallies._tell()
        assert len(tallies._tallies) <= 10
    tallies._tell()
    assert [told(redis, f"user {n}", 60) for n in range(25)] == [1] * 25


def test_what_is_told_late_was_asked_long_ago(redis: Redis) -> None:
    """Mutations: _TELL counts it as of now; who asks now is told of together with it."""
    set_switch("tradeUserLimit", "60/3600")
    user = TRADE_USER, "user a"
    assert [take(user) for _ in range(3)] == [0] * 3
    tallies = throttling._tallies["s01/c01"]
    tallies._since -= 3700
    tallies._tallies[throttling._key("s01/c01", "user a")].free_at -= 3700  # given back long since

    assert [take(user) for _ in range(60)] == [0] * 60
    assert take(user) > 0


def test_told_together_means_at_most_so_many(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, asked_redis: list[int]
) -> None:
    """One script that is long holds up everybody who asks Redis."""
    monkeypatch.setattr(throttling, "MOST_TOLD", 10)
    monkeypatch.setattr(throttling, "TELL", 60)
    set_switch("tradeUserLimit", "60/3600")

    assert [take((TRADE_USER, f"user {n}")) for n in range(25)] == [0] * 25

    assert len(asked_redis) == 2
    assert [told(redis, f"user {n}", 60) for n in range(25)] == [1] * 20 + [0] * 5
    monkeypatch.setattr(throttling, "MOST_TOLD", 2)
    throttling._tallies["s01/c01"]._tell()
    assert [told(redis, f"user {n}", 60) for n in range(20, 25)] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("figures", ["600/10", "30/10"])
def test_a_limit_that_is_turned_up_is_felt_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, asked_redis: list[int], figures: str
) -> None:
    """Mutation: what was used up under the old figures is owed for as long as they said."""
    monkeypatch.setattr(throttling, "TELL", 60)
    set_switch("tradeUserLimit", "60/3600")
    user = TRADE_USER, "user a"
    assert [take(user) for _ in range(60)] == [0] * 60
    assert take(user) > 50

    set_switch("tradeUserLimit", figures)

    assert take(user) == 0
    throttling._tallies["s01/c01"]._tell()
    assert told(redis, "user a", 1) <= 1
    asked_redis.clear()
    assert [take(user) for _ in range(20)] == [0] * 20
    assert len(asked_redis) == (0 if figures == "600/10" else 20)


@pytest.mark.usefixtures("redis")
def test_a_limit_that_is_turned_down_counts_what_has_passed_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: requests that are untold are told at the price of the new figures."""
    monkeypatch.setattr(throttling, "TELL", 60)
    channel = CHANNEL, "channel"
    set_switch("tradeChannelLimit", "2000/1")
    assert [take(channel) for _ in range(99)] == [0] * 99

    set_switch("tradeChannelLimit", "40/1000")

    assert [take(channel) for _ in range(39)] == [0] * 39
