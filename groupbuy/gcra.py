"""Counting rate limits (限流计数) by GCRA: in Redis, and large limits in this process first.

The state of a limit is one time, free_at. Under 30/10 a request moves free_at by a third of a
second, from now at the earliest, and passes if the moved free_at is at most 10 seconds after now.
So 30 requests pass at once, and then three a second.

Small limits are always checked in Redis (gcra.lua). Under a large limit, a process admits a client
by a local copy of free_at, and reports to Redis in batches; it asks Redis first when 1/20 of the
limit is unreported. So a process is ahead of the others by at most 1/20; in the long run the limit
is exact. Only Redis refuses. While Redis is away, every request passes.

Each refusal is a strike, except under limits that never block and during a block; strikes expire
at the rate of the limit. A client with more than 20 of them is blocked for 10 seconds, and each
further time twice as long, one hour at most. Ten minutes after a block it is 10 seconds again.

A scope (a channel, the index query or the shopper pages) is a group of clients whose keys share a
hash slot of Redis Cluster.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from redis import Redis

from groupbuy import metrics
from groupbuy.redis import Script, try_redis
from groupbuy.switches import Rate

LARGE = 40  # requests; limits below this are always checked in Redis
UNREPORTED = 1 / 20  # of a large limit, at most: 3 requests of 60, 100 of 2000
REPORT_AFTER, REPORT_AT_MOST = 0.05, 1000  # seconds; clients in one report
KEEP_AT_MOST = 20_000  # local counts of one scope
ROUNDING = 1e-5  # tolerance of sums of floats, seconds

LUA = Path(__file__).with_suffix(".lua").read_text("utf-8")
_BY_PROCESS = metrics.LIMIT_CHECKS.labels("process")  # labels() costs as much as counting
_BY_REDIS = metrics.LIMIT_CHECKS.labels("redis")
ACQUIRE, REPORT = Script(LUA + "return acquire()"), Script(LUA + "return report()")


class Limit(NamedTuple):
    """One limit that a request counts under."""

    client: str  # within its scope: "address 10.0.0.1"
    rate: Rate
    may_block: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """A client that is blocked."""

    scope: str
    client: str
    until: datetime


class Limiter:
    """Counts the requests that one process answers."""

    def __init__(self) -> None:
        self._scopes: dict[str, LocalCounts] = {}

    def acquire(self, scope: str, limits: Iterable[Limit]) -> float:
        """Count a request under each limit or none; return the seconds to wait, 0 if it passes."""
        local = self._scopes.get(scope) or self._scopes.setdefault(scope, LocalCounts())
        local.report_if_due()  # earlier requests first
        admitted, undecided = [], []
        for limit in limits:
            key = limit_key(scope, limit.client)
            if limit.rate.requests >= LARGE and local.acquire(key, limit.rate):
                admitted.append((key, limit.rate))
            else:
                undecided.append((key, limit))
        _BY_PROCESS.inc(len(admitted))
        _BY_REDIS.inc(len(undecided))
        wait = _acquire_in_redis(scope, undecided) if undecided else 0
        if wait:
            for key, rate in admitted:
                local.release(key, rate)
        return wait

    def clear(self) -> None:
        """Forget all local counts, including unreported ones."""
        self._scopes.clear()


limiter = Limiter()


def blocks(scopes: Iterable[str]) -> list[Block] | None:
    """The clients that are blocked now, the longest block first; None while Redis is away."""
    found = try_redis(lambda redis: list(_read_blocks(redis, scopes)))
    return None if found is None else sorted(found, key=lambda block: block.until, reverse=True)


def lift(scope: str, client: str) -> bool | None:
    """End a block and forget the client's requests and strikes.

    False: the client was not blocked. None: Redis has not answered; the block may still be there.
    """
    key = limit_key(scope, client)

    def forget(redis: Redis) -> bool:
        commands = redis.pipeline(transaction=True)
        commands.zrem(blocks_key(scope), key)
        commands.delete(key)
        return bool(commands.execute()[0])

    return try_redis(forget)


def limit_key(scope: str, client: str) -> str:
    """The hash with a limit's state."""
    return f"gbm:limit:{{{scope}}}:{client}"


def blocks_key(scope: str) -> str:
    """The sorted set of a scope's blocked clients: their keys by the end of the block, in ms."""
    return f"gbm:limit:{{{scope}}}"


@dataclass(slots=True)
class LocalCount:
    """One large limit as this process knows it. Times are monotonic(), in seconds."""

    period: int = 0
    free_at: float = 0.0
    blocked_until: float = 0.0
    unreported: float = 0.0  # seconds of free_at not yet acknowledged by Redis
    since: float = 0.0  # when the first of them was admitted

    def acquire(self, rate: Rate, now: float) -> bool:
        if self.free_at > now + 3 * rate.seconds:
            self.free_at = 0.0  # owed under a limit that has been changed
        free_at = max(self.free_at, now) + rate.interval
        unreported = self.unreported + rate.interval
        if (
            now < self.blocked_until
            or free_at > now + rate.seconds + ROUNDING
            or unreported > rate.seconds * UNREPORTED + ROUNDING
        ):
            return False
        self.free_at, self.unreported, self.period = free_at, unreported, rate.seconds
        return True

    def release(self, rate: Rate) -> None:
        self.free_at -= rate.interval
        self.unreported -= rate.interval

    def acknowledge(self, moved: float, state: Sequence[int] | None, now: float) -> None:
        """Mark `moved` as reported; adopt the state of report() in gcra.lua, None without Redis."""
        self.unreported -= moved
        if state:
            self.free_at = now + state[0] / 1e6 + self.unreported
            self.blocked_until = now + state[1] / 1e6


class Report(NamedTuple):
    """The requests that Redis has to count under one limit."""

    key: str
    local: LocalCount
    moved: float  # seconds of free_at
    age: float  # seconds since the first of these requests


class LocalCounts:
    """The large limits of one scope in this process. Threads may share it."""

    def __init__(self) -> None:
        self._lock, self._reporting = Lock(), Lock()
        self._counts: dict[str, LocalCount] = {}
        self._unreported: dict[str, LocalCount] = {}  # the oldest first

    def acquire(self, key: str, rate: Rate) -> bool:
        """Admit a request; False if Redis must decide, which has this process's reports by then."""
        for _attempt in range(10):  # other threads may admit requests after each report
            if self._try(key, rate):
                return True
            count = self._counts.get(key)
            if count is None or abs(count.unreported) <= ROUNDING:
                break
            self._report()
        return False

    def release(self, key: str, rate: Rate) -> None:
        """Undo acquire()."""
        with self._lock:
            if count := self._counts.get(key):
                count.release(rate)
                self._note(key, count, monotonic())

    def report_if_due(self) -> None:
        with self._lock:
            oldest = next(iter(self._unreported.values()), None)
            is_due = oldest is not None and (
                monotonic() > oldest.since + REPORT_AFTER or len(self._unreported) >= REPORT_AT_MOST
            )
        if is_due and not self._reporting.locked():
            self._report()

    def _try(self, key: str, rate: Rate) -> bool:
        with self._lock:
            now = monotonic()
            count = self._counts.get(key) or self._add(key)
            if count.acquire(rate, now):
                self._note(key, count, now)
                return True
            return False

    def _add(self, key: str) -> LocalCount:
        if len(self._counts) >= KEEP_AT_MOST and not self._reporting.locked():
            self._counts = dict(self._unreported)
        return self._counts.setdefault(key, LocalCount())

    def _note(self, key: str, count: LocalCount, now: float) -> None:
        """Add the count to the unreported ones, or remove it if nothing is unreported."""
        if abs(count.unreported) <= ROUNDING:
            self._unreported.pop(key, None)
        elif key not in self._unreported:
            self._unreported[key], count.since = count, now

    def _report(self) -> None:
        """Send one report at a time, so that a stale reply cannot overwrite a newer one."""
        with self._reporting:
            if reports := self._next_reports():
                states = _report_to_redis(reports)
                with self._lock:
                    now = monotonic()
                    for report, state in zip(reports, states, strict=False):
                        report.local.acknowledge(report.moved, state, now)
                        self._note(report.key, report.local, now)

    def _next_reports(self) -> list[Report]:
        with self._lock:
            now = monotonic()
            counts = list(islice(self._unreported.items(), REPORT_AT_MOST))
            for key, _count in counts:
                del self._unreported[key]
            return [Report(key, each, each.unreported, now - each.since) for key, each in counts]


def _acquire_in_redis(scope: str, limits: Sequence[tuple[str, Limit]]) -> float:
    keys = [blocks_key(scope), *(key for key, _limit in limits)]
    arguments = [(*limit.rate, int(limit.may_block)) for _key, limit in limits]
    wait_ms = try_redis(lambda redis: ACQUIRE(redis, keys, *chain.from_iterable(arguments)))
    return (wait_ms or 0) / 1000


def _report_to_redis(reports: Sequence[Report]) -> Iterable[Sequence[int] | None]:
    """The state of each limit after its report; None for each while Redis is away."""
    keys = [report.key for report in reports]
    arguments = [(1000 * each.moved, 1000 * each.age, each.local.period) for each in reports]
    states = try_redis(lambda redis: REPORT(redis, keys, *chain.from_iterable(arguments)))
    return states or repeat(None)


def _read_blocks(redis: Redis, scopes: Iterable[str]) -> Iterator[Block]:
    now_ms = datetime.now(UTC).timestamp() * 1000
    for scope in scopes:
        found: Any = redis.zrangebyscore(blocks_key(scope), now_ms, "+inf", withscores=True)
        for key, until_ms in found:
            client = key.decode().removeprefix(limit_key(scope, ""))
            yield Block(scope, client, datetime.fromtimestamp(until_ms / 1000, UTC))
