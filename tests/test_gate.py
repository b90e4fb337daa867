"""The team gate: a quick no that is true, in the contract's order, and heals by itself."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from redis import Redis

import groupbuy.redis
from groupbuy import changes, snapshots
from groupbuy.errors import ErrorCode, GroupBuyError
from tests.checks import broken_invariants
from tests.factories import (
    NOW,
    lock,
    make_activity,
    make_team,
    refund,
    set_switch,
    settle,
)
from trade import expire, gate
from trade import lock as lock_module
from trade.models import Order, Team
from trade.turns import read_turns

ROOT = Path(__file__).parent.parent


def code(user_id: str, team: Team, **fields: Any) -> str:
    try:
        return Order.Status(lock(user_id, team_id=str(team.pk), **fields).status).name.lower()
    except GroupBuyError as refused:
        return refused.error.code


def counter(redis: Redis, team: Team) -> tuple[Any, Any]:
    """Free seats as the gate sees them, and how often it was told to forget."""
    free, epoch = redis.hmget(gate.door_of(team), ["free", "epoch"])
    return free, epoch


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who got past the gate to the database."""
    shoppers: list[str] = []

    def counted(**shopper: Any) -> Any:
        shoppers.append(shopper["user_id"])
        return read_turns(**shopper)

    monkeypatch.setattr(lock_module, "read_turns", counted)
    return shoppers


@pytest.mark.django_db
def test_a_full_team_refuses_without_the_database(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_activity()
    team = make_team("a", "b", "c")
    assert code("d", team) == "E0006"
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    assert code("d", team) == "E0006"
    before = redis.info("stats")["total_commands_processed"]

    with CaptureQueriesContext(connection) as queries:
        codes = {code(f"u{n}", team) for n in range(20)}

    assert codes == {"E0006"}
    assert len(queries) == 0
    # Each is one EVALSHA, of TIME, four GETBIT, HMGET and GET.
    assert redis.info("stats")["total_commands_processed"] - before <= 20 * 8 + 1


@pytest.mark.django_db
def test_the_gate_lets_in_as_many_as_there_are_seats(redis: Redis, reached: list[str]) -> None:
    make_activity(target_count=5)
    team = make_team("a")
    reached.clear()

    codes = Counter(code(f"u{n}", team) for n in range(20))

    assert codes == {"locked": 4, "E0006": 16}
    assert reached == ["u0", "u1", "u2", "u3"]  # nobody else has reached the database
    assert counter(redis, team)[0] == b"0"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_who_has_a_better_answer_gets_it_at_a_full_team() -> None:
    """In the order of the contract: a repeat, the limit, already a member; then full."""
    activity = make_activity(target_count=2)
    full, other = make_team("a", "b"), make_team("c")
    assert code("stranger", full) == "E0006"

    assert code("b", full) == "locked"  # a repeat
    assert code("c", full, out_trade_no="t-new") == "E0103"
    assert code("c", full) == "locked"  # a repeat of what was locked in another team
    assert code("stranger", full, out_trade_no="t-c") == "0003"
    activity.take_limit = 9
    activity.save()
    assert code("b", full, out_trade_no="t-new") == "E0009"
    assert code("stranger", full) == "E0006"
    assert code("stranger", other) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_only_this_teams_door_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity()
    make_activity(pk=100124, goods_id="other")
    team = make_team("a", "b", "c")
    assert code("d", team) == "E0006"

    for _again in range(2):
        assert code("e", team, activity_id=100124, goods_id="other") == "E0010"
        assert code("f", Team(pk=404)) == "E0010"
        assert code("d", team) == "E0006"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "give_back",
    [
        lambda: refund("a"),
        lambda: expire.close_overdue_holds(clock=lambda: NOW + timedelta(minutes=31)),
    ],
)
def test_a_seat_that_comes_free_is_sold_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, give_back: Callable[[], Any]
) -> None:
    """Mutation: close_order does not call forget_after_commit."""
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity(valid_minutes=60)
    team = make_team("a", "b", "c")
    settle("b")
    settle("c")
    assert code("d", team) == "E0006"
    assert counter(redis, team)[0] == b"0"

    give_back()

    assert code("d", team) == "locked"
    assert code("e", team) == "E0006"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis")
def test_a_complete_team_says_over_and_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity()
    team = make_team("a", "b", "c")
    assert code("d", team) == "E0006"

    for user_id in "abc":
        settle(user_id)

    assert [code("d", team), code("e", team)] == ["E0010", "E0010"]


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_a_counter_does_not_outlive_its_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity()
    team = make_team("a", "b", "c")
    last_moment = team.expires_at - timedelta(milliseconds=20)
    gate.forget(gate.door_of(team))
    assert code("d", team, now=last_moment) == "E0006"
    time.sleep(0.03)

    assert code("d", team, now=team.expires_at) == "E0010"


@pytest.mark.django_db
def test_a_refused_lock_gives_its_place_at_the_gate_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _lock does not call forget."""
    make_activity(target_count=2, take_limit=9)
    team = make_team("a")

    with monkeypatch.context() as full:
        full.setattr(lock_module, "free_turn", lambda taken, limit: None)
        assert code("b", team) == "E0103"  # had taken the seat from the counter

    assert counter(redis, team) == (None, b"1")
    assert code("c", team) == "locked"


@pytest.mark.django_db
def test_what_was_read_before_a_seat_came_free_primes_nothing(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: prime whatever the epoch."""
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity()
    team = make_team("a", "b", "c")
    gate.forget(gate.door_of(team))
    prime = gate.prime

    def late(entry: gate.Entry, *others: Any) -> gate.Entry:
        with monkeypatch.context() as undisturbed:
            undisturbed.setattr(gate, "prime", prime)
            refund("a")
            gate.forget(gate.door_of(team))  # as after the commit
        return prime(entry, *others)

    with monkeypatch.context() as disturbed:
        disturbed.setattr(gate, "prime", late)
        assert code("d", team) == "E0006"  # what it has read

    assert counter(redis, team) == (None, b"2")
    assert code("e", team) == "locked"


@pytest.mark.django_db
@pytest.mark.parametrize("away", ["emptied", "away", "caches off"])
def test_a_repeat_is_answered_whatever_redis_has_missed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Mutations: _own_up() does nothing; "since" is not asked for."""
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))
    make_activity(target_count=2)
    team = make_team("a")
    if away == "away":
        monkeypatch.setattr(groupbuy.redis, "_asked_again_at", time.monotonic() + 60)
    if away == "caches off":
        set_switch("cacheSwitch", "1")
    b = lock("b", team_id=str(team.pk))
    set_switch("cacheSwitch", "0")
    monkeypatch.setattr(groupbuy.redis, "_asked_again_at", 0.0)
    if away == "emptied":
        redis.flushall()
    assert [code("stranger", team), code("another", team)] == ["E0006", "E0006"]

    assert lock("b", team_id=str(team.pk)).pk == b.pk
    assert lock("a", team_id=str(team.pk)).user_id == "a"
    young = make_team("c", "d")  # opened since: the gate knows all there is to know
    assert [code("stranger", young), code("another", young)] == ["E0006", "E0006"]


@pytest.mark.django_db
def test_a_repeat_takes_no_second_place_at_the_gate(redis: Redis) -> None:
    """Mutation: _ENTER looks at the filters after it has taken."""
    make_activity()
    team = make_team("a", "b")
    free = counter(redis, team)

    assert code("b", team) == "locked"

    assert counter(redis, team) == free == (b"1", None)


@pytest.fixture
def _crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three refusals are a crowd, and nothing that a test waits for ends by itself."""
    monkeypatch.setattr(gate, "CROWD", 3)
    monkeypatch.setattr(gate, "REPEATED", 60.0)
    monkeypatch.setattr(snapshots, "is_subscribed", lambda: True)
    monkeypatch.setattr(gate, "LIFE", timedelta(minutes=5))


def besieged(*members: str) -> Team:
    """A full team before a crowd: this process refuses by itself."""
    make_activity(target_count=len(members))
    team = make_team(*members)
    assert [code(f"u{n}", team) for n in range(5)] == ["E0006"] * 5
    return team


def commands(redis: Redis) -> int:
    """How many Redis has been sent so far; each scripted one counts as well."""
    return int(redis.info("stats")["total_commands_processed"])


@pytest.mark.django_db
@pytest.mark.usefixtures("_crowd")
def test_before_a_crowd_a_process_refuses_by_itself(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_activity()
    team = make_team("a", "b", "c")
    assert [code(f"early {n}", team) for n in range(4)] == ["E0006"] * 4
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    assert code("warm", team) == "E0006"
    before = commands(redis)

    with CaptureQueriesContext(connection) as queries:
        codes = {code(f"u{n}", team) for n in range(50)}

    assert codes == {"E0006"}
    assert len(queries) == 0
    assert commands(redis) - before == 1  # that of commands()


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_in_a_crowd_who_has_a_better_answer_gets_it() -> None:
    """Mutation: _repeated() does not look at the filters."""
    activity = make_activity(target_count=2)
    full, _other = make_team("a", "b"), make_team("c")
    assert [code(f"u{n}", full) for n in range(5)] == ["E0006"] * 5

    assert code("b", full) == "locked"
    assert code("c", full, out_trade_no="t-new") == "E0103"
    assert code("stranger", full, out_trade_no="t-c") == "0003"
    activity.take_limit = 9
    activity.save()
    assert code("b", full, out_trade_no="t-new") == "E0009"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_who_took_the_last_seat_after_the_copy_is_known() -> None:
    """Mutation: _repeated() uses a copy that is older than the first refusal."""
    make_activity(target_count=2)
    full, filling = make_team("a", "b"), make_team("c")
    assert [code(f"u{n}", full) for n in range(4)] == ["E0006"] * 4  # copies the filters
    assert code("d", filling) == "locked"
    assert [code("stranger", filling), code("another", filling)] == ["E0006"] * 2

    assert code("d", filling) == "locked"


def elsewhere(run: Callable[[], Any]) -> None:
    """In a process that knows nothing of what this one knows, and the other way round."""
    shut, copies = dict(gate._shut), dict(gate._copies)
    forget_by_itself()
    run()
    forget_by_itself()
    gate._shut.update(shut)
    gate._copies.update(copies)


def forget_by_itself() -> None:
    gate._shut.clear()
    gate._copies.clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_crowd")
def test_a_seat_that_came_free_elsewhere_is_seen_a_blink_later() -> None:
    """Mutation: _note() keeps what it knew although somebody has come in."""
    team = besieged("a", "b", "c")
    elsewhere(lambda: [refund("a"), refund("b")])
    assert code("d", team) == "E0006"

    door = gate.door_of(team)
    gate._shut[door] = gate._shut[door]._replace(until=time.monotonic())  # a blink later

    assert [code_of_visit(team, user_id) for user_id in "xy"] == ["asks", "asks"]
    assert [code(user_id, team) for user_id in "def"] == ["locked", "locked", "E0006"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_crowd")
def test_who_took_a_seat_that_came_free_elsewhere_is_known() -> None:
    """Mutation: _note() believes that a team is shut since it first was."""
    team = besieged("a", "b")

    def changes_hands() -> None:
        refund("a")
        assert code("d", team) == "locked"
        assert code("stranger", team) == "E0006"  # primes the counter

    elsewhere(changes_hands)
    door = gate.door_of(team)
    gate._shut[door] = gate._shut[door]._replace(until=time.monotonic() - 1)
    assert code("another", team) == "E0006"

    assert code("d", team) == "locked"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("redis", "_crowd")
def test_a_seat_that_comes_free_in_this_process_is_sold_at_once() -> None:
    """Mutation: forget() does not forget what this process knows."""
    team = besieged("a", "b")

    refund("a")

    assert code("d", team) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("_crowd")
def test_one_asks_anew_and_the_others_hear_what_was_true_before(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, reached: list[str]
) -> None:
    team = besieged("a", "b", "c")
    reached.clear()
    door = gate.door_of(team)
    visits = [code_of_visit(team, f"v{n}") for n in range(3)]
    assert visits == ["E0006"] * 3
    gate._shut[door] = gate._shut[door]._replace(until=time.monotonic() - 0.5)
    redis.hset(door, "until", f"{(time.time() - 0.5) * 1000:.0f}")

    assert code_of_visit(team, "w") == "asks"
    monkeypatch.setattr(gate, "ASKING", 60.0)
    redis.hincrby(door, "asked", 60_000)  # however slow this machine is
    before = commands(redis)
    assert [code_of_visit(team, f"w{n}") for n in range(2)] == ["E0006", "E0006"]
    assert commands(redis) - before == 1  # that of commands()
    elsewhere(lambda: visits.append(code_of_visit(team, "x")))
    assert visits[-1] == "E0006"  # Redis has sent somebody to the database a moment ago
    redis.hset(door, "until", f"{(time.time() - 2) * 1000:.0f}")
    elsewhere(lambda: visits.append(code_of_visit(team, "x")))
    assert visits[-1] == "asks"  # so old a count is not worth hearing
    monkeypatch.setattr(gate, "ASKING", 0.1)
    time.sleep(gate.ASKING + 0.01)
    redis.hincrby(door, "asked", -60_000)
    redis.hset(door, "until", f"{(time.time() - 0.5) * 1000:.0f}")
    assert code("y", team) == "E0006"  # asks, as nobody came back, and primes the counter
    assert reached == []  # the order of the checks needs no orders to be read
    assert float(redis.hget(door, "until") or 0) > time.time() * 1000


def visit(team: Team, user_id: str) -> gate.Visitor:
    names = team.channel_id, team.activity_id, team.goods_id
    return gate.Visitor(*names, team.pk, user_id, user_id, NOW)


def code_of_visit(team: Team, user_id: str) -> str:
    """As far as the gate."""
    try:
        return "taken" if gate.enter(visit(team, user_id)).took else "asks"
    except gate.ClosedError as no:
        return no.error.code


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_crowd")
def test_every_process_hears_of_a_seat_that_comes_free(redis: Redis) -> None:
    """Mutation: _FORGET does not publish."""
    team = besieged("a", "b")
    connected: Any = redis
    with connected.pubsub() as another_process:
        another_process.subscribe(*changes.channels())
        subscribed = [another_process.get_message(timeout=1)["type"] for _ in changes.channels()]
        assert subscribed == ["subscribe", "subscribe"]
        elsewhere(lambda: refund("a"))
        assert code("d", team) == "E0006"
        message = another_process.get_message(timeout=1)

    changes.dispatch(message["channel"].decode(), message["data"].decode())

    assert code("d", team) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_who_would_not_hear_of_a_free_seat_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = besieged("a", "b", "c")
    visitor = visit(team, "d")
    assert gate._repeated(visitor) is ErrorCode.TEAM_FULL

    with monkeypatch.context() as deaf:
        deaf.setattr(snapshots, "is_subscribed", lambda: False)
        assert gate._repeated(visitor) is None
    gate._reopen("")  # listens again, and may have missed something
    assert gate._repeated(visitor) is None


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_an_answer_from_before_a_seat_came_free_is_not_repeated() -> None:
    """Mutation: _note() does not ask when the question was sent."""
    team = besieged("a", "b", "c")
    visitor, begun = visit(team, "d"), time.monotonic()

    gate._reopen(visitor.door)
    gate._note(visitor, begun, gate.FULL, 0, 60.0)

    assert visitor.door not in gate._shut
    gate._note(visitor, time.monotonic(), gate.FULL, 1, 60.0)
    assert visitor.door in gate._shut


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_what_was_said_long_ago_or_of_a_team_that_ends_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = besieged("a", "b", "c")
    visitor, door = visit(team, "d"), gate.door_of(team)
    monkeypatch.setattr(gate, "REPEATED", 5.0)
    gate._copies[visitor.channel_id] = gate._Copy(time.monotonic(), (b"",))
    gate._shut[door] = gate._shut[door]._replace(until=time.monotonic() - 5.1)

    assert [gate._repeated(visitor) for _ in range(3)] == [None] * 3

    gate._note(visitor, time.monotonic(), gate.FULL, 7, 0.2)  # the team ends in 0.2 s
    assert gate._shut[door].until < time.monotonic() + 0.2


@pytest.mark.django_db
@pytest.mark.usefixtures("_crowd")
def test_members_of_a_team_that_redis_has_forgotten_are_answered_in_a_crowd(redis: Redis) -> None:
    """Mutation: a team older than the filters leaves what was known of it."""
    team = besieged("a", "b")
    redis.flushall()
    young = make_team("c", "d")  # the filters begin anew
    gate._copies[team.channel_id] = gate._Copy(time.monotonic(), (b"",))
    door = gate.door_of(team)
    gate._shut[door] = gate._shut[door]._replace(until=time.monotonic())
    assert code("asks", team) == "E0006"

    assert code("b", team) == "locked"
    assert [code(f"v{n}", young) for n in range(5)] == ["E0006"] * 5
    assert code("d", young) == "locked"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis", "_crowd")
def test_the_filters_of_a_crowd_that_has_gone_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_activity()
    team = make_team("a", "b", "c")
    assert [code(f"u{n}", team) for n in range(4)] == ["E0006"] * 4
    gate._copies[404] = gate._Copy(time.monotonic(), (b"",))
    monkeypatch.setattr(gate, "REPEATED", 0.0)

    assert [code(f"v{n}", team) for n in range(3)] == ["E0006"] * 3

    assert list(gate._copies) == [team.channel_id]


@pytest.mark.django_db
def test_with_caches_off_the_gate_stands_open(redis: Redis) -> None:
    make_activity()
    set_switch("cacheSwitch", "1")
    team = make_team("a", "b", "c")

    assert code("d", team) == "E0006"
    assert counter(redis, team)[0] is None


@pytest.mark.django_db
def test_without_redis_the_database_says_full() -> None:
    make_activity()
    team = make_team("a", "b", "c")

    assert code("d", team) == "E0006"


@pytest.mark.django_db
def test_drift_heals(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    monkeypatch.setattr(gate, "LIFE", timedelta(milliseconds=300))
    team = make_team("a", "b")
    redis.hset(gate.door_of(team), mapping={"free": 9, "until": 99999999999999})
    assert [code("c", team), code("d", team)] == [
        "locked",
        "E0006",
    ]  # too high: nobody is lied to

    refund("c")
    redis.hset(
        gate.door_of(team), mapping={"free": 0, "until": f"{(time.time() + 0.3) * 1000:.0f}"}
    )
    assert code("e", team) == "E0006"  # too low: for LIFE
    time.sleep(0.35)
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
    # Who met an unknown counter, at the start and every two seconds, and no one else.
    assert len(reached) < 200


DIES_AT_THE_GATE = """
import os, sys
import django
django.setup()
from tests.factories import lock
from trade import lock as lock_module
lock_module.read_turns = lambda **shopper: os._exit(9)  # past the gate, before the transaction
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
    assert counter(redis, team)[0] == b"0"  # it had taken the last one
    deadline = time.monotonic() + gate.LIFE.total_seconds() + 1
    while (answer := code("b", team)) == "E0006" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer == "locked"
    assert Order.objects.count() == 2
    assert broken_invariants() == {}
