"""In-process copies of configuration and statistics, so that the hot path reads no database.

A copy is immutable and valid for MAX_AGE. A copy of announced data (groupbuy/changes.py) is valid
for LONGEST while this process is subscribed to changes, unless one is announced, so an operator's
change reaches every process within a second. A copy that is slow to load may be older, see
Snapshot. One thread loads; the others wait for its result, a failure
included, so that a slow database gets one query and not one per request.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar, cast

from groupbuy import galera, metrics

T = TypeVar("T")
MAX_AGE = 1.0  # seconds
LONGEST = 10.0  # seconds, of an announced copy: the upper bound in case a message is lost

_invalidated_at = 0.0  # time.monotonic() of the last change
_subscribed_until = 0.0  # time.monotonic(); without a message until then nothing has changed


def invalidate() -> None:
    """Make every copy loaded before now stale."""
    global _invalidated_at
    _invalidated_at = time.monotonic()


def confirm_subscription(until: float) -> None:
    """The subscription to changes works; assume so up to this moment (time.monotonic)."""
    global _subscribed_until
    _subscribed_until = until
    metrics.CONFIRMED.labels("copies").set_to_current_time()


def is_subscribed() -> bool:
    """Whether this process receives the changes that other processes announce."""
    return time.monotonic() < _subscribed_until


def is_fresh(made_at: float) -> bool:
    """Whether a page that was made from copies at this time.monotonic() is still current."""
    return _invalidated_at < made_at and time.monotonic() < made_at + MAX_AGE


def never() -> bool:
    return False


class _Copy(NamedTuple):
    started_at: float  # of the load; rows committed after it may be missing
    good_until: float
    value: Any
    failure: Exception | None

    def open(self) -> Any:
        if self.failure:
            raise self.failure
        return self.value


class Snapshot(Generic[T]):
    """The result of load(), at most MAX_AGE old; loaded on every call while bypass() is true.

    get() raises what load() raised: configuration past its age is never served.

    share: upper bound on the fraction of time spent in load(). A slow load makes the copy live
    longer, and it is served for as long again while the new one loads.
    announced: changes of this data are published, so the copy stays valid while we are subscribed.
    """

    def __init__(
        self,
        load: Callable[[], T],
        *,
        bypass: Callable[[], bool] = never,
        share: float = 1,
        announced: bool = False,
    ) -> None:
        self._load = load
        self._announced = announced
        self._bypass = bypass
        self._share = share
        self._lock = threading.Lock()
        self._copy: _Copy | None = None

    def get(self) -> T:
        if self._bypass():
            return self._load()
        now, copy = time.monotonic(), self._copy
        if copy and (self._is_good(copy, now) or self._may_serve_old(copy, now)):
            return cast(T, copy.open())
        with self._lock:
            copy = self._copy
            if copy is None or (copy.started_at < now and not self._is_good(copy, now)):
                copy = self._copy = self._renew()
        return cast(T, copy.open())

    def _is_good(self, copy: _Copy, now: float) -> bool:
        if copy.started_at <= _invalidated_at:
            return False
        if now < copy.good_until:
            return True
        fresh = copy.failure is None and now < copy.started_at + LONGEST
        return self._announced and fresh and now < _subscribed_until

    def _may_serve_old(self, copy: _Copy, now: float) -> bool:
        """While a new one is loaded, and for one more lifetime at most."""
        is_recent = now < 2 * copy.good_until - copy.started_at
        return self._share < 1 and copy.failure is None and is_recent and self._lock.locked()

    def _renew(self) -> _Copy:
        started_at = time.monotonic()
        try:
            if self._announced:
                galera.catch_up()  # the announcement may be faster than the rows
            value = self._load()
        except Exception as exc:  # noqa: BLE001  raised in every thread that waited for it
            metrics.SNAPSHOT_LOADS.labels("failed").inc()
            return _Copy(started_at, started_at, None, exc)
        metrics.SNAPSHOT_LOADS.labels("loaded").inc()
        age = MAX_AGE
        if self._share < 1:
            age = max(age, (time.monotonic() - started_at) / self._share) if age else 0
        return _Copy(started_at, started_at + age, value, None)
