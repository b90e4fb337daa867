"""In-process copies of configuration, so that the hot path reads no database.

A copy is immutable and at most MAX_AGE old; that of something whose changes are announced
(groupbuy/changes.py) is good for longer while we would hear of a change. So an operator's change
is in force everywhere within a second. One thread loads; whoever asks meanwhile gets what that
load brings, its failure included, so that a slow database is asked once and not once per request.
"""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar, cast

T = TypeVar("T")
MAX_AGE = 1.0  # seconds
LONGEST = 10.0  # seconds, of an announced copy: should an announcement be lost all the same

_changed_at = 0.0  # when the last change was announced
_heard_until = 0.0  # until when silence means that nothing has changed
_snapshots: "weakref.WeakSet[Snapshot[Any]]" = weakref.WeakSet()


def changed() -> None:
    """What was loaded before now is old."""
    global _changed_at
    _changed_at = time.monotonic()


def heard(until: float) -> None:
    """Up to this moment (time.monotonic) a change would be announced to us."""
    global _heard_until
    _heard_until = until


def hears() -> bool:
    return time.monotonic() < _heard_until


def never() -> bool:
    return False


class _Copy(NamedTuple):
    begun: float  # what was committed after this may be missing
    good_until: float
    value: Any
    failure: Exception | None

    def open(self) -> Any:
        if self.failure:
            raise self.failure
        return self.value


class Snapshot(Generic[T]):
    """What load() returned at most MAX_AGE ago, or just now where bypass() says so.

    A failing load() raises: stale configuration is not served past its age. With share < 1
    the copy may grow older where load() is slow, so that loading takes no more than that share
    of the time; the old copy is served meanwhile. Announced: each change of it calls changed() in
    every process that hears.
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
        _snapshots.add(self)

    def get(self) -> T:
        if self._bypass():
            return self._load()
        asked, copy = time.monotonic(), self._copy
        if copy and (self._is_good(copy, asked) or self._may_serve_old(copy)):
            return cast(T, copy.open())
        with self._lock:
            copy = self._copy
            if copy is None or (copy.begun < asked and not self._is_good(copy, asked)):
                copy = self._copy = self._renew()
        return cast(T, copy.open())

    def drop(self) -> None:
        self._copy = None

    def _is_good(self, copy: _Copy, now: float) -> bool:
        if not self._announced:
            return now < copy.good_until
        if copy.begun <= _changed_at:
            return False
        hears = now < _heard_until and copy.failure is None and now < copy.begun + LONGEST
        return hears or now < copy.good_until

    def _may_serve_old(self, copy: _Copy) -> bool:
        return self._share < 1 and copy.failure is None and self._lock.locked()

    def _renew(self) -> _Copy:
        begun = time.monotonic()
        try:
            value = self._load()
        except Exception as exc:  # noqa: BLE001  raised in every thread that waited for it
            return _Copy(begun, begun, None, exc)
        age = MAX_AGE
        if self._share < 1:
            age = max(age, (time.monotonic() - begun) / self._share) if age else 0
        return _Copy(begun, begun + age, value, None)


def drop_all() -> None:
    """Forget every copy in this process."""
    for snapshot in list(_snapshots):
        snapshot.drop()
