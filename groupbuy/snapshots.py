"""In-process copies of configuration, so that the hot path reads no database.

A copy is immutable and at most MAX_AGE old: an operator's change is in force everywhere a
second later. One thread loads, the others wait for it.
"""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MAX_AGE = 1.0  # seconds

_snapshots: "weakref.WeakSet[Snapshot[Any]]" = weakref.WeakSet()


def never() -> bool:
    return False


class Snapshot(Generic[T]):
    """What load() returned at most MAX_AGE ago, or just now where bypass() says so.

    A failing load() raises: stale configuration is not served past its age.
    """

    def __init__(self, load: Callable[[], T], *, bypass: Callable[[], bool] = never) -> None:
        self._load = load
        self._bypass = bypass
        self._lock = threading.Lock()
        self._copy: tuple[float, T] | None = None
        _snapshots.add(self)

    def get(self) -> T:
        if self._bypass():
            return self._load()
        copy = self._copy
        if copy and time.monotonic() - copy[0] < MAX_AGE:
            return copy[1]
        with self._lock:
            copy = self._copy
            if copy and time.monotonic() - copy[0] < MAX_AGE:
                return copy[1]
            started = time.monotonic()  # what was committed after this may be missing
            value = self._load()
            self._copy = started, value
            return value

    def drop(self) -> None:
        self._copy = None


def drop_all() -> None:
    """Forget every copy in this process."""
    for snapshot in list(_snapshots):
        snapshot.drop()
