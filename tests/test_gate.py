"""The team gate: what it refuses, what it never refuses, and how wrong state heals."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from redis import Redis

import groupbuy.redis
from activity.catalog import find_offer
from groupbuy import changes, rows, snapshots
from groupbuy.errors import ErrorCode, GroupBuyError
from tests.checks import broken_invariants
from tests.factories import (
    GOODS,
    NOW,
    lock,
    make_activity,
    make_channel,
    make_team,
    refund,
    set_switch,
    settle,
)
from tests.racing import race
from trade import expire, gate, refusals
from trade import lock as lock_module
from trade.models import Order, Team
from trade.refusals import Refusals
from trade.turns import read_turns

ROOT = Path(__file__).parent.parent
MINUTES = 60_000  # milliseconds
Once = Callable[[Callable[[], Any]], None]


def code(user_id: str, team: Team, **fields: Any) -> str:
    try:
        return Order.Status(lock(user_id, team_id=str(team.pk), **fields).status).name.lower()
    except GroupBuyError as refused:
        return refused.error.code


def visit(user_id: str, team: Team) -> gate.Visitor:
    """The gate's answer to an attempt before the checks."""
    offer = find_offer(source="s01", channel="c01", goods_id=GOODS, activity_id=100123, now=NOW)
    assert offer is not None
    return gate.enter(offer, team.pk, f"t-{user_id}")


def passes(visitor: gate.Visitor) -> bool:
    """Whether the visitor may begin a transaction; whatever it has counted stays counted."""
    try:
        with gate.passing(visitor):
            return True
    except GroupBuyError as refused:
        return refused.error is not ErrorCode.SEAT_LOST


def free_seats(redis: Redis, team: Team) -> bytes | None:
    """The counter in Redis; b"full" for a full team."""
    free: Any = redis.get(f"{gate.key_of(team)}:free")
    return free  # type: ignore[no-any-return]


def commands(redis: Redis) -> int:
    """How many Redis has been sent so far; each scripted one counts as well."""
    return int(redis.info("stats")["total_commands_processed"])


@pytest.fixture
def _long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key expires during a test."""
    monkeypatch.setattr(gate, "LIFE_MS", 5 * MINUTES)


@pytest.fixture
def _caching(monkeypatch: pytest.MonkeyPatch, _long_life: None) -> None:
    """This process is subscribed to seat releases, so it may cache refusals, here for a minute."""
    snapshots.confirm_subscription(time.monotonic() + 3600)
    monkeypatch.setattr(refusals, "LONGEST", 60.0)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shoppers whose orders were read."""
    shoppers: list[str] = []

    def counted(**shopper: Any) -> Any:
        shoppers.append(shopper["user_id"])
        return read_turns(**shopper)

    monkeypatch.setattr(lock_module, "read_turns", counted)
    return shoppers


def full_team(*members: str) -> Team:
    make_activity(target_count=len(members))
    team = make_team(*members)
    assert code("first", team) == "E0006"
    return team


@pytest.mark.django_db
@pytest.mark.usefixtures("_long_life")
def test_a_full_team_refuses_without_the_database(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = full_team("a", "b", "c")
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    assert code("d", team) == "E0006"
    before = commands(redis)

    with CaptureQueriesContext(connection) as queries:
        codes = {code(f"u{n}", team) for n in range(20)}

    assert codes == {"E0006"}
    assert len(queries) == 0
    # Each is one EVALSHA: two GET, SISMEMBER, SMEMBERS, PTTL. One is that of commands().
    assert commands(redis) - before == 20 * 6 + 1


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_as_many_joins_as_free_seats_pass_the_gate(reached: list[str]) -> None:
    make_activity(target_count=5)
    team = make_team("a")
    reached.clear()

    codes = Counter(code(f"u{n}", team) for n in range(20))

    assert codes == {"locked": 4, "E0006": 16}
    assert reached == ["u0", "u1", "u2", "u3"]


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_no_more_transactions_than_free_seats() -> None:
    """Mutation: _ENTER does not decrement."""
    make_activity()
    team = make_team("a")
    visitors = [visit(user_id, team) for user_id in "bcde"]

    with gate.passing(visitors[0]), gate.passing(visitors[1]):
        assert [passes(visitor) for visitor in visitors[2:]] == [False, False]
        with CaptureQueriesContext(connection) as queries:
            assert code("f", team) == "E0008"

    assert [query["sql"].split()[0] for query in queries] == ["SELECT"] * len(queries)


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_double_click_counts_one_seat() -> None:
    """Mutation: _ENTER does not remember the order number that it has counted."""
    make_activity()
    team = make_team("a")
    visitors = [visit(user_id, team) for user_id in ["b", "b", "c", "d"]]

    assert [passes(visitor) for visitor in visitors] == [True, True, True, False]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_double_click_for_the_last_seat_gets_one_order() -> None:
    make_activity(target_count=2)
    for n in range(5):
        team = make_team(f"a{n}")

        orders = race(*[lambda n=n, team=team: lock(f"b{n}", team_id=str(team.pk))] * 4)

        assert {order.pk for order in orders} == {team.orders.get(user_id=f"b{n}").pk}
    assert broken_invariants() == {}


REPEATS = {  # of order numbers that the full team has: who sends it, and the answer
    "its shopper": ("b", "t-b", "locked"),
    "the leader": ("a", "t-a", "locked"),
    "another shopper": ("stranger", "t-b", "0003"),
    "of a closed order": ("gone", "t-gone", "E0104"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_long_life")
@pytest.mark.parametrize(("user_id", "out_trade_no", "answer"), REPEATS.values(), ids=REPEATS)
@pytest.mark.parametrize("cached", [False, True], ids=["by Redis", "by the process"])
def test_a_repeat_at_a_full_team_is_answered(
    request: pytest.FixtureRequest, user_id: str, out_trade_no: str, answer: str, cached: bool
) -> None:
    """Mutations: _ENTER or refusal() does not look for the order number; enter() stores none."""
    if cached:
        request.getfixturevalue("_caching")
    make_activity(target_count=2)
    team = make_team("a", "gone")
    refund("gone")
    assert code("b", team) == "locked"
    assert [code(f"u{n}", team) for n in range(3)] == ["E0006"] * 3

    assert code(user_id, team, out_trade_no=out_trade_no) == answer
    assert code("stranger", team) == "E0006"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_full_is_named_before_the_limit_and_before_a_members_second_order() -> None:
    """The contract's order, first from the database, then from the gate."""
    activity = make_activity(target_count=2)
    full, _other = make_team("a", "b"), make_team("c")
    for _again in range(2):
        assert code("c", full, out_trade_no="t-new") == "E0006"  # at the limit elsewhere
        assert code("b", full, out_trade_no="t-new") == "E0006"
    activity.take_limit = 9
    activity.save()
    assert code("b", full, out_trade_no="t-new") == "E0006"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_repeat_that_names_another_full_team_gets_e0006() -> None:
    """The one repeat for which another field matters (decision 11)."""
    make_activity(target_count=2)
    full, other = make_team("a", "b"), make_team("c")
    assert code("stranger", full) == "E0006"

    assert code("c", full) == "E0006"
    assert code("c", other) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_request_for_other_goods_never_finds_the_team_full() -> None:
    """Mutation: the key has the team's id only. Another channel does not learn of the team."""
    team = full_team("a", "b", "c")
    make_activity(pk=100124, goods_id="other")
    make_activity(pk=100125, channel=make_channel("s09", "c09"))

    for _again in range(2):
        assert code("e", team, activity_id=100124, goods_id="other") == "E0010"
        assert code("e", team, activity_id=100125, source="s09", channel="c09") == "E0010"
        assert code("f", Team(pk=404)) == "E0010"
        assert code("d", team) == "E0006"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_long_life")
@pytest.mark.parametrize(
    "give_back",
    [
        lambda: refund("a"),
        lambda: expire.close_overdue_holds(clock=lambda: NOW + timedelta(minutes=31)),
    ],
)
def test_a_seat_that_comes_free_is_sold_at_once(give_back: Callable[[], Any]) -> None:
    """Mutation: close_order does not call release_after_commit."""
    make_activity(valid_minutes=60)
    team = make_team("a", "b", "c")
    settle("b")
    settle("c")
    assert [code("d", team), code("e", team)] == ["E0006", "E0006"]

    give_back()

    assert code("d", team) == "locked"
    assert code("e", team) == "E0006"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_complete_team_is_full() -> None:
    """The same with and without the gate. A member who leaves reopens nothing."""
    team = full_team("a", "b", "c")

    for user_id in "abc":
        settle(user_id)

    assert code("d", team) == "E0006"
    set_switch("cacheSwitch", "1")
    assert code("d", team) == "E0006"
    set_switch("cacheSwitch", "0")
    refund("a")
    assert [code("d", team), code("e", team)] == ["E0010", "E0010"]


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_count_of_free_seats_does_not_outlive_the_team() -> None:
    make_activity()
    team = make_team("a", "b")

    assert code("c", team, now=team.expires_at) == "E0010"


@pytest.mark.django_db
@pytest.mark.usefixtures("_long_life")
def test_a_lock_that_a_check_refuses_takes_no_seat_from_the_counter(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else others would get E0008 meanwhile."""
    make_activity(target_count=3)
    team = make_team("a", "b")
    before = free_seats(redis, team)

    def refused_meanwhile(ctx: lock_module.LockContext) -> None:
        assert free_seats(redis, team) == before
        raise GroupBuyError(ErrorCode.TAKE_LIMIT_REACHED)

    with monkeypatch.context() as limited:
        limited.setattr(lock_module, "LOCK_CHECKS", (refused_meanwhile,))
        assert code("c", team) == "E0103"

    assert free_seats(redis, team) == before == b"1"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
def test_a_seat_stays_free_when_the_shoppers_orders_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_activity(target_count=2)
    team = make_team("a")

    def unreadable(**_shopper: Any) -> Any:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as broken:
        broken.setattr(lock_module, "read_turns", unreadable)
        with pytest.raises(OperationalError):
            code("b", team)

    assert code("c", team) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_long_life")
@pytest.mark.parametrize("error", [OperationalError("gone"), KeyboardInterrupt()])
def test_a_transaction_that_fails_releases_its_seat(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Mutation: passing() does not release."""
    make_activity(target_count=2)
    team = make_team("a")

    def broken_insert(_row: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(rows, "insert", broken_insert)
        with pytest.raises(type(error)):
            code("b", team)

    assert code("c", team) == "locked"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Once]:
    """Run something once, just after the next team was read."""
    read = rows.read
    waiting: list[Callable[[], Any]] = []

    def read_late(model: Any, **where: Any) -> Any:
        row = read(model, **where)
        if model is Team and waiting:
            waiting.pop()()
        return row

    monkeypatch.setattr(rows, "read", read_late)
    yield waiting.append
    assert waiting == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_long_life")
def test_facts_read_before_a_seat_came_free_are_not_stored(
    meanwhile: Once,
) -> None:
    """Mutation: _ENTER stores whatever the epoch."""
    make_activity()
    full, joinable = make_team("a", "b", "c"), make_team("x", "y")

    meanwhile(lambda: refund("a"))
    assert code("d", full) == "E0006"  # what it has read
    meanwhile(lambda: refund("x"))
    assert code("z", joinable) == "locked"  # has read that one seat is free

    assert code("e", full) == "locked"
    assert code("v", joinable) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("_long_life")
@pytest.mark.parametrize("away", ["emptied", "away", "caches off", "order numbers evicted"])
def test_a_repeat_is_answered_whatever_redis_has_missed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Mutation: _ENTER refuses although it has no order numbers."""
    make_activity(target_count=2)
    team = make_team("a")
    if away == "away":
        groupbuy.redis.pause.start("a test", 60)
    if away == "caches off":
        set_switch("cacheSwitch", "1")
    b = lock("b", team_id=str(team.pk))
    set_switch("cacheSwitch", "0")
    groupbuy.redis.pause.clear()
    if away == "emptied":
        redis.flushall()
    assert [code("stranger", team), code("another", team)] == ["E0006", "E0006"]
    if away == "order numbers evicted":
        redis.delete(f"{gate.key_of(team)}:orders")

    assert lock("b", team_id=str(team.pk)).pk == b.pk
    assert lock("a", team_id=str(team.pk)).user_id == "a"
    assert code("stranger", team) == "E0006"


@pytest.mark.django_db
@pytest.mark.usefixtures("_caching")
def test_a_cached_refusal_needs_neither_redis_nor_the_database(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = full_team("a", "b", "c")
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    assert code("warm", team) == "E0006"
    before = commands(redis)

    with CaptureQueriesContext(connection) as queries:
        codes = {code(f"u{n}", team) for n in range(50)}

    assert codes == {"E0006"}
    assert len(queries) == 0
    assert commands(redis) - before == 1  # that of commands()


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_caching")
def test_no_cached_refusal_while_unsubscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    team = full_team("a", "b", "c")
    elsewhere(monkeypatch, lambda: gate.release(gate.key_of(team)))
    Team.objects.update(target_count=4)
    assert code("d", team) == "E0006"

    snapshots.confirm_subscription(0)
    assert code("d", team) == "locked"


def elsewhere(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> None:
    """Run as in another process, whose messages do not reach this one."""
    with monkeypatch.context() as other:
        other.setattr(gate, "refusals", Refusals())
        run()


def expire_cached(team: Team, *out_trade_nos: str) -> None:
    """Age the cached refusal, so that one request has to ask Redis again."""
    long_ago = time.monotonic() - 70  # LONGEST is 60, and REFRESH shorter than the rest
    gate.refusals.clear()
    gate.refusals.note(gate.key_of(team), out_trade_nos, asked_at=long_ago, good_for=300)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_caching")
def test_a_seat_released_elsewhere_is_seen_once_the_refusal_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: enter() does not drop the cached refusal of a team that is not full."""
    monkeypatch.setattr(refusals, "REFRESH", 30.0)
    team = full_team("a", "b", "c")
    elsewhere(monkeypatch, lambda: [refund("a"), refund("b")])
    assert code("d", team) == "E0006"  # the message was lost

    expire_cached(team, "t-a", "t-b", "t-c")

    assert [code(user_id, team) for user_id in "def"] == ["locked", "locked", "E0006"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_caching")
def test_a_member_who_joined_elsewhere_is_known_once_the_refusal_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = full_team("a", "b")

    def changes_hands() -> None:
        refund("a")
        assert [code("d", team), code("stranger", team)] == ["locked", "E0006"]

    elsewhere(monkeypatch, changes_hands)
    expire_cached(team, "t-a", "t-b")
    assert code("another", team) == "E0006"

    assert code("d", team) == "locked"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_caching")
def test_a_seat_released_in_this_process_is_sold_at_once() -> None:
    """Mutation: release() does not drop the cached refusal."""
    team = full_team("a", "b")

    refund("a")

    assert code("d", team) == "locked"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_caching")
def test_every_process_drops_its_refusal_when_a_seat_is_released(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutations: _RELEASE does not publish; refusals.release is not subscribed."""
    team = full_team("a", "b")
    connected: Any = redis
    with connected.pubsub() as this_process:
        this_process.subscribe(*changes.channels())
        subscribed = [this_process.get_message(timeout=10)["type"] for _ in changes.channels()]
        assert set(subscribed) == {"subscribe"}
        elsewhere(monkeypatch, lambda: refund("a"))
        assert code("d", team) == "E0006"
        message = this_process.get_message(timeout=10)

    changes.dispatch(message["channel"].decode(), message["data"].decode())

    assert code("d", team) == "locked"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_caching")
def test_a_seat_of_a_team_that_was_not_full_is_released_without_a_message(redis: Redis) -> None:
    """No process has cached a refusal of such a team."""
    make_activity()
    team = make_team("a", "b")
    connected: Any = redis
    with connected.pubsub() as other_process:
        other_process.subscribe("gbm:gate")
        assert other_process.get_message(timeout=10)["type"] == "subscribe"

        refund("b")
        gate.release("the next message")

        message = other_process.get_message(timeout=10)
    assert message["data"] == b"the next message"
    assert [code(user, team) for user in "cde"] == ["locked", "locked", "E0006"]


@pytest.mark.django_db
def test_with_caches_off_the_gate_is_bypassed(redis: Redis) -> None:
    make_activity()
    set_switch("cacheSwitch", "1")
    team = make_team("a", "b", "c")

    assert code("d", team) == "E0006"
    assert free_seats(redis, team) is None


@pytest.mark.django_db
def test_without_redis_the_database_answers() -> None:
    make_activity()
    team = make_team("a", "b", "c")

    assert code("d", team) == "E0006"
    assert code("a", team) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("_long_life")
def test_a_wrong_count_of_free_seats_heals(redis: Redis) -> None:
    make_activity()
    team = make_team("a", "b")
    key = f"{gate.key_of(team)}:free"
    redis.set(key, 9, keepttl=True)
    assert [code("c", team), code("d", team)] == ["locked", "E0006"]  # the database decides

    refund("c")
    gate.release(gate.key_of(team))
    visitor = visit("dead", team)
    assert passes(visitor)  # and its process dies
    assert code("e", team) == "E0008"
    assert 0 < redis.pttl(key) <= gate.LIFE_MS
    redis.delete(key)  # it expires
    assert code("e", team) == "locked"


@pytest.mark.django_db
def test_redis_emptied_sells_no_seat_twice(redis: Redis) -> None:
    make_activity(target_count=4)
    team = make_team("a")
    codes = []
    for n in range(12):
        codes.append(code(f"u{n}", team))
        redis.flushall()

    assert codes == ["locked"] * 3 + ["E0006"] * 9
    assert broken_invariants() == {}


@pytest.mark.django_db
@pytest.mark.usefixtures("_long_life")
def test_the_keys_of_a_team_expire_and_lie_in_one_slot_of_a_cluster(redis: Redis) -> None:
    """Mutations: without any of the expiries; without the hash tag."""

    def expiring() -> set[str]:
        keys = [key.decode() for key in redis.scan_iter("gbm:gate:*")]
        assert [key for key in keys if redis.pttl(key) <= 0] == []
        return {key.removeprefix(gate.key_of(team)) for key in keys}

    make_activity(target_count=3)
    team = make_team("a", "b")
    assert f"{{{team.pk}}}" in gate.key_of(team)
    assert expiring() == {":free", ":orders"}

    assert code("c", team) == "locked"
    redis.flushall()
    assert code("stranger", team) == "E0006"
    assert expiring() == {":free", ":orders"}

    gate.release(gate.key_of(team))
    assert expiring() == {":epoch", ":orders"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis")
def test_ten_thousand_joiners_for_a_team_of_three(
    reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    make_activity()
    team = make_team("leader")

    def join(share: range) -> Counter[str]:
        try:
            return Counter(code(f"u{n}", team) for n in share)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        shares = [range(n, 10_000, 8) for n in range(8)]
        codes = sum(pool.map(join, shares), Counter[str]())

    assert codes["locked"] == 2
    assert set(codes) <= {"locked", "E0006", "E0008"}
    assert sum(codes.values()) == 10_000
    team.refresh_from_db()
    assert (team.locked_count, team.orders.count()) == (3, 3)
    assert broken_invariants() == {}
    # Those who came before the team was full, and no one else.
    assert len(reached) < 200


DIES_AT_THE_GATE = """
import os, sys
import django
django.setup()
from tests.factories import lock
from groupbuy import rows
rows.insert = lambda row: os._exit(9)  # past the gate, in the transaction
lock("dies", team_id=sys.argv[1])
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_that_dies_at_the_gate_keeps_no_seat(redis: Redis, settings: Any) -> None:
    make_activity(target_count=2)
    team = make_team("a")

    database = connection.settings_dict
    url = f"sqlite:///{database['NAME']}"
    if connection.vendor == "mysql":
        url = (
            f"mysql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}"
            f":{database['PORT']}/{database['NAME']}"
        )
    environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}
    environment["DJANGO_SETTINGS_MODULE"] = "groupbuy.settings"

    died = subprocess.run(
        [sys.executable, "-c", DIES_AT_THE_GATE, str(team.pk)],
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=60,
    )

    assert died.returncode == 9
    deadline = time.monotonic() + 30
    while (answer := code("b", team)) == "E0008" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == "locked"
    assert Order.objects.count() == 2
    assert broken_invariants() == {}
