"""The counting of requests. Each Limiter stands for a process; all share one Redis."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from groupbuy import gcra
from groupbuy.gcra import Limit, Limiter, blocks, lift, limit_key
from groupbuy.redis import try_redis
from groupbuy.switches import Rate
from tests.racing import LATE

SCOPE = "s01/c01"


class Clock:
    """The clock of the local counts. It stands still, so that nothing is reported by chance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gcra, "monotonic", clock)
    return clock


@pytest.fixture
def redis(redis: Redis, _still_limits: None) -> Redis:
    """A Redis whose clock stands still."""
    return redis


@pytest.fixture
def limiter() -> Limiter:
    return Limiter()


@pytest.fixture
def calls(redis: Redis) -> Callable[[], int]:
    """How many scripts Redis has run since the last call."""

    def count() -> int:
        stats: Any = redis.info("commandstats")
        redis.config_resetstat()
        return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))

    count()
    return count


def user(name: str, rate: Rate) -> Limit:
    return Limit(f"user {name}", rate)


def channel(rate: Rate) -> Limit:
    return Limit("channel", rate, may_block=False)


def waits(limiter: Limiter, times: int, *limits: Limit) -> list[float]:
    return [limiter.acquire(SCOPE, limits) for _ in range(times)]


def report(limiter: Limiter, clock: Clock) -> None:
    """Let the next request, of any client, find that a report is due."""
    clock.now += 2 * gcra.REPORT_AFTER
    assert limiter.acquire(SCOPE, [user("somebody", Rate(1000, 1))]) == 0


def known(redis: Redis, limit: Limit) -> int:
    """How many requests of this limit Redis knows."""
    free_at: Any = redis.hget(limit_key(SCOPE, limit.client), "free_at")
    ahead = float(free_at) / 1000 - time.time() if free_at else 0
    return round(ahead / limit.rate.interval)


def go_back(redis: Redis, client: str, seconds: float) -> None:
    """Move all that Redis keeps of this client into the past."""
    key = limit_key(SCOPE, client)
    fields: Any = redis.hgetall(key)
    for field in fields.keys() & {b"free_at", b"until", b"struck"}:
        redis.hincrbyfloat(key, field.decode(), -seconds * 1000)


def test_a_burst_passes_and_then_one_request_each_interval(redis: Redis, limiter: Limiter) -> None:
    limit = user("a", Rate(5, 60))

    assert waits(limiter, 5, limit) == [0] * 5
    assert limiter.acquire(SCOPE, [limit]) == 12
    go_back(redis, "user a", 12)
    assert limiter.acquire(SCOPE, [limit]) == 0
    assert limiter.acquire(SCOPE, [limit]) == 12
    go_back(redis, "user a", 3600)
    assert waits(limiter, 5, limit) == [0] * 5
    assert limiter.acquire(SCOPE, [limit]) > 0
    assert limiter.acquire(SCOPE, [user("b", limit.rate)]) == 0
    assert limiter.acquire("s02/c02", [limit]) == 0


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("requests", [20, 200])
def test_threads_share_a_limit_to_the_last_request(
    limiter: Limiter, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    """Mutations: compare free_at in Python; keep to a large limit without Redis."""
    monkeypatch.setattr(gcra, "REPORT_AFTER", 0)
    barrier = Barrier(8)

    def hammer(_thread: int) -> int:
        barrier.wait(LATE)
        return waits(limiter, requests // 4, user("a", Rate(requests, 3600))).count(0)

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(pool.map(hammer, range(8)))

    assert admitted == requests


def test_a_refusal_by_one_limit_takes_nothing_from_another(redis: Redis, limiter: Limiter) -> None:
    once, mall = Rate(1, 60), channel(Rate(3, 60))

    assert limiter.acquire(SCOPE, [user("a", once), mall]) == 0
    assert min(waits(limiter, 10, user("a", once), mall)) > 0
    assert limiter.acquire(SCOPE, [user("b", once), mall]) == 0
    assert limiter.acquire(SCOPE, [user("c", once), mall]) == 0
    assert limiter.acquire(SCOPE, [user("d", once), mall]) > 0  # by the channel's limit
    go_back(redis, "channel", 60)
    assert limiter.acquire(SCOPE, [user("d", once), mall]) == 0


def test_a_block_is_twice_as_long_each_time_and_retries_do_not_extend_it(
    redis: Redis, limiter: Limiter
) -> None:
    limit = user("a", Rate(1, 60))
    assert limiter.acquire(SCOPE, [limit]) == 0
    assert max(waits(limiter, 20, limit)) <= 60
    assert blocks([SCOPE]) == []

    durations = []
    for _block in range(3):
        durations.append(limiter.acquire(SCOPE, [limit]))
        shown = blocks([SCOPE, "index"])
        assert shown is not None
        assert [(block.scope, block.client) for block in shown] == [(SCOPE, "user a")]
        assert min(waits(limiter, 100, limit)) > 0
        assert blocks([SCOPE]) == shown
        go_back(redis, "user a", 60)
        assert limiter.acquire(SCOPE, [limit]) == 0
        assert max(waits(limiter, 20, limit)) <= 60
    assert durations == [10, 20, 40]


def test_a_block_is_as_short_as_the_first_after_ten_quiet_minutes(
    redis: Redis, limiter: Limiter
) -> None:
    limit = user("a", Rate(1, 60))
    assert waits(limiter, 22, limit)[-1] == 10

    go_back(redis, "user a", 10 + 599)
    assert waits(limiter, 22, limit)[-1] == 20

    go_back(redis, "user a", 20 + 600)
    assert waits(limiter, 22, limit)[-1] == 10


def test_a_block_keeps_the_requests_before_it(redis: Redis, limiter: Limiter) -> None:
    assert waits(limiter, 22, user("a", Rate(1, 9000)))[-1] == 10
    assert redis.pttl(limit_key(SCOPE, "user a")) > 8_900_000


def test_refusals_are_forgiven_at_the_pace_of_the_limit(redis: Redis, limiter: Limiter) -> None:
    limit = user("a", Rate(1, 60))
    for _ in range(100):  # twice as fast as allowed, all the time
        assert [wait > 0 for wait in waits(limiter, 2, limit)] == [False, True]
        go_back(redis, "user a", 60)

    assert blocks([SCOPE]) == []


@pytest.mark.usefixtures("redis")
def test_a_client_that_may_not_be_blocked_is_only_refused(limiter: Limiter) -> None:
    assert waits(limiter, 1, channel(Rate(1, 60))) == [0]
    assert 0 < max(waits(limiter, 100, channel(Rate(1, 60)))) <= 60
    assert blocks([SCOPE]) == []


@pytest.mark.usefixtures("redis")
def test_a_lifted_block_leaves_no_strikes(limiter: Limiter) -> None:
    limit = user("a", Rate(1, 60))
    waits(limiter, 22, limit)

    assert lift(SCOPE, "user a")

    assert blocks([SCOPE]) == []
    assert limiter.acquire(SCOPE, [limit]) == 0
    assert max(waits(limiter, 20, limit)) <= 60
    assert not lift(SCOPE, "user a")


def test_without_redis_every_request_passes(limiter: Limiter) -> None:
    for limit in user("a", Rate(1, 60)), user("b", Rate(50, 3600)):
        assert waits(limiter, 100, limit) == [0] * 100
    assert blocks([SCOPE]) is None
    assert not lift(SCOPE, "user a")


def test_a_large_limit_is_reported_in_batches_and_stays_exact(
    redis: Redis, limiter: Limiter, clock: Clock, calls: Callable[[], int]
) -> None:
    """Mutations: report each request; do not report before Redis decides."""
    limit = channel(Rate(103, 3600))

    assert waits(limiter, 103, limit) == [0] * 103
    assert calls() == 20  # after each five
    assert known(redis, limit) == 100
    assert min(waits(limiter, 5, limit)) > 0
    assert known(redis, limit) == 103

    other = Limiter()  # knows nothing of the first one yet
    assert waits(other, 2, limit) == [0, 0]
    report(other, clock)
    assert other.acquire(SCOPE, [limit]) > 0
    assert known(redis, limit) == 105


def test_requests_are_reported_together_after_a_moment(
    redis: Redis, limiter: Limiter, clock: Clock, calls: Callable[[], int]
) -> None:
    users = [user(f"{n}", Rate(60, 3600)) for n in range(9)]
    mall = channel(Rate(1000, 3600))
    assert [limiter.acquire(SCOPE, [each, mall]) for each in users[:8]] == [0] * 8
    assert calls() == 0

    clock.now += gcra.REPORT_AFTER + 0.001
    assert limiter.acquire(SCOPE, [users[8], mall]) == 0

    assert calls() == 1
    assert [known(redis, each) for each in users] == [1] * 8 + [0]
    assert known(redis, mall) == 8
    assert redis.pttl(limit_key(SCOPE, "user 1")) > 3_500_000


def test_requests_admitted_during_a_report_are_counted(
    redis: Redis, limiter: Limiter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: acknowledge() takes Redis's free_at as it is."""
    limit = user("a", Rate(100, 3600))
    assert waits(limiter, 98, limit) == [0] * 98

    def meanwhile(command: Callable[[Redis], Any]) -> Any:
        answer = try_redis(command)
        monkeypatch.setattr(gcra, "try_redis", try_redis)
        assert limiter.acquire(SCOPE, [limit]) == 0
        return answer

    monkeypatch.setattr(gcra, "try_redis", meanwhile)
    report(limiter, clock)
    assert known(redis, limit) == 98

    assert limiter.acquire(SCOPE, [limit]) == 0
    assert limiter.acquire(SCOPE, [limit]) > 0
    assert known(redis, limit) == 100


def test_requests_admitted_right_after_a_report_are_reported_too(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: acquire() reports once and then leaves the decision to Redis."""
    limit = user("a", Rate(40, 3600))
    right_after: list[Callable[[], None]] = []

    class HookedLock:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.locked = self.lock.locked

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_args: object) -> None:
            self.lock.release()
            if right_after:
                right_after.pop()()

    def others() -> None:
        assert waits(process, 2, limit) == [0, 0]

    def reporting(command: Callable[[Redis], Any]) -> Any:
        monkeypatch.setattr(gcra, "try_redis", try_redis)
        right_after.append(others)
        return try_redis(command)

    monkeypatch.setattr(gcra, "Lock", HookedLock)
    process = Limiter()
    assert waits(process, 38, limit) == [0] * 38
    monkeypatch.setattr(gcra, "try_redis", reporting)

    assert process.acquire(SCOPE, [limit]) > 0
    assert known(redis, limit) == 40


def test_a_request_that_another_limit_refuses_is_released(
    redis: Redis, limiter: Limiter, clock: Clock, calls: Callable[[], int]
) -> None:
    """Mutations: acquire() does not call release(); release() leaves an empty report."""
    once, mall = user("a", Rate(1, 60)), channel(Rate(100, 3600))
    assert limiter.acquire(SCOPE, [once, mall]) == 0
    for _ in range(10):
        clock.now += 2 * gcra.REPORT_AFTER
        assert limiter.acquire(SCOPE, [once, mall]) > 0
    assert calls() == 11 + 1  # one report of the channel
    assert known(redis, mall) == 1

    assert limiter.acquire(SCOPE, [mall]) == 0
    assert limiter.acquire(SCOPE, [once, mall]) > 0
    report(limiter, clock)
    assert known(redis, mall) == 2  # what was unreported before is still reported
    assert waits(limiter, 98, mall) == [0] * 98
    assert limiter.acquire(SCOPE, [mall]) > 0


def test_a_request_released_after_its_report_is_reported_again(
    redis: Redis, limiter: Limiter, clock: Clock
) -> None:
    """The channel admits, another limit makes the process report, and then Redis refuses."""
    full, mall = user("a", Rate(40, 3600)), channel(Rate(100, 3600))
    assert waits(limiter, 40, full) == [0] * 40

    assert limiter.acquire(SCOPE, [mall, full]) > 0
    assert known(redis, mall) == 1
    report(limiter, clock)

    assert known(redis, mall) == 0


def test_a_request_released_during_its_report_is_reported_again(
    redis: Redis, limiter: Limiter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _report() does not note what changed during the report."""
    once, mall = user("a", Rate(1, 3600)), channel(Rate(100, 3600))
    assert limiter.acquire(SCOPE, [once]) == 0
    is_reporting, is_released = threading.Event(), threading.Event()
    other = threading.Thread(target=report, args=(limiter, clock))

    def report_meanwhile(command: Callable[[Redis], Any]) -> Any:
        monkeypatch.setattr(gcra, "try_redis", delayed)
        other.start()
        assert is_reporting.wait(LATE)
        return try_redis(command)

    def delayed(command: Callable[[Redis], Any]) -> Any:
        is_reporting.set()
        assert is_released.wait(LATE)
        return try_redis(command)

    monkeypatch.setattr(gcra, "try_redis", report_meanwhile)
    assert limiter.acquire(SCOPE, [mall, once]) > 0
    is_released.set()
    other.join()
    assert known(redis, mall) == 1

    report(limiter, clock)

    assert known(redis, mall) == 0


def test_a_process_learns_of_a_block_when_it_reports(
    redis: Redis, limiter: Limiter, clock: Clock
) -> None:
    """Mutation: report() in gcra.lua does not return the block."""
    limit = user("a", Rate(60, 1))
    key = limit_key(SCOPE, "user a")
    redis.hset(key, mapping={"until": (time.time() + 3600) * 1000, "level": 1})

    assert limiter.acquire(SCOPE, [limit]) == 0
    report(limiter, clock)
    assert limiter.acquire(SCOPE, [limit]) > 3000
    assert redis.pttl(key) > 3_600_000  # kept until the block is forgotten


def test_a_process_forgets_reported_clients_when_it_knows_too_many(
    redis: Redis, limiter: Limiter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcra, "KEEP_AT_MOST", 10)
    spent = user("spent", Rate(60, 3600))
    others = [user(f"{n}", Rate(60, 3600)) for n in range(25)]
    assert waits(limiter, 60, spent) == [0] * 60
    report(limiter, clock)
    assert limiter.acquire(SCOPE, [spent]) > 0

    for other in others[:8]:
        assert limiter.acquire(SCOPE, [other]) == 0
    assert limiter.acquire(SCOPE, [spent]) > 0
    for n in range(8, 25):
        if n % 4 == 3:
            report(limiter, clock)
        assert limiter.acquire(SCOPE, [others[n]]) == 0
        assert limiter.acquire(SCOPE, [others[n - 1]]) == 0  # it is not reported yet

    report(limiter, clock)
    assert [known(redis, other) for other in others] == [1] * 7 + [2] * 17 + [1]
    assert limiter.acquire(SCOPE, [spent]) == 0  # as in a process that does not know the client


def test_a_process_keeps_clients_while_it_reports_them(
    redis: Redis, limiter: Limiter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcra, "KEEP_AT_MOST", 2)
    users = [user(name, Rate(60, 3600)) for name in "abc"]
    assert limiter.acquire(SCOPE, [users[0]]) == 0

    def meanwhile(command: Callable[[Redis], Any]) -> Any:
        monkeypatch.setattr(gcra, "try_redis", try_redis)
        assert [limiter.acquire(SCOPE, [users[n]]) for n in (1, 2, 0)] == [0] * 3
        return try_redis(command)

    monkeypatch.setattr(gcra, "try_redis", meanwhile)
    report(limiter, clock)
    report(limiter, clock)

    assert [known(redis, each) for each in users] == [2, 1, 1]


def test_a_late_report_counts_requests_from_when_they_were_made(
    limiter: Limiter, clock: Clock, redis: Redis
) -> None:
    """Mutations: report() in gcra.lua ignores the age; a new request is part of an old report."""
    limit = user("a", Rate(60, 3600))
    assert waits(limiter, 3, limit) == [0] * 3
    clock.now += 3700

    assert waits(limiter, 60, limit) == [0] * 60
    assert limiter.acquire(SCOPE, [limit]) > 0
    assert known(redis, limit) == 60


def test_a_report_has_a_limited_size(
    redis: Redis,
    limiter: Limiter,
    clock: Clock,
    calls: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis serves nobody else while a script runs."""
    monkeypatch.setattr(gcra, "REPORT_AT_MOST", 10)
    users = [user(f"{n}", Rate(60, 3600)) for n in range(25)]

    assert [limiter.acquire(SCOPE, [each]) for each in users] == [0] * 25

    assert calls() == 2
    assert [known(redis, each) for each in users] == [1] * 20 + [0] * 5
    monkeypatch.setattr(gcra, "REPORT_AT_MOST", 2)
    report(limiter, clock)
    assert [known(redis, each) for each in users[20:]] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(("raised", "expected_calls"), [(Rate(600, 10), 0), (Rate(30, 10), 20)])
def test_a_raised_limit_applies_at_once(
    redis: Redis,
    limiter: Limiter,
    clock: Clock,
    calls: Callable[[], int],
    raised: Rate,
    expected_calls: int,
) -> None:
    """Mutation: keep debts of more than three periods."""
    assert waits(limiter, 60, user("a", Rate(60, 3600))) == [0] * 60
    assert limiter.acquire(SCOPE, [user("a", Rate(60, 3600))]) > 50

    assert limiter.acquire(SCOPE, [user("a", raised)]) == 0
    report(limiter, clock)
    assert known(redis, user("a", Rate(1, 1))) <= 1
    calls()
    assert waits(limiter, 20, user("a", raised)) == [0] * 20
    assert calls() == expected_calls


@pytest.mark.usefixtures("redis", "clock")
def test_a_lowered_limit_counts_earlier_requests_at_their_own_interval(limiter: Limiter) -> None:
    """Mutation: report unreported requests at the interval of the new limit."""
    assert waits(limiter, 99, channel(Rate(2000, 1))) == [0] * 99

    assert waits(limiter, 39, channel(Rate(40, 1000))) == [0] * 39


@pytest.mark.usefixtures("redis", "clock")
def test_clear_forgets_unreported_requests(limiter: Limiter) -> None:
    limit = user("a", Rate(60, 3600))
    assert waits(limiter, 3, limit) == [0] * 3

    limiter.clear()

    assert waits(limiter, 60, limit) == [0] * 60
    assert limiter.acquire(SCOPE, [limit]) > 0
