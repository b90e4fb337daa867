"""Run calls at the same moment, or in a chosen order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, local
from typing import Any

import pytest
from django.db import connection, connections

from groupbuy import rows
from groupbuy.errors import ErrorCode, GroupBuyError

LATE = 120  # seconds that a test waits for another thread; nothing takes as long


def race(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls at the same moment in threads; return each result or exception."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            connections["default"].ensure_connection()
            barrier.wait(LATE)
            return call()
        except Exception as exc:  # noqa: BLE001  the caller asserts on it
            return exc
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def meet_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, parties: int) -> None:
    """Make each thread's first call of module.name wait until all parties have had theirs.

    So all of them have read before any has written, which makes the race happen.
    """
    original, barrier, seen = getattr(module, name), Barrier(parties), local()

    def met(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if not hasattr(seen, "once"):
            seen.once = True
            barrier.wait(LATE)
        return result

    monkeypatch.setattr(module, name, met)


def overtake(
    monkeypatch: pytest.MonkeyPatch, slow: Callable[[], Any], quick: Callable[[], Any]
) -> list[Any]:
    """Run slow up to its first row lock, then quick to its end, then the rest of slow."""
    lock, at_lock, done, this = rows.lock, Event(), Event(), local()

    def wait_before(*args: Any, **kwargs: Any) -> Any:
        if hasattr(this, "slow"):
            at_lock.set()
            assert done.wait(LATE)
        return lock(*args, **kwargs)

    def slowly() -> Any:
        this.slow = True
        return slow()

    def quickly() -> Any:
        assert at_lock.wait(LATE)
        try:
            return quick()
        finally:
            done.set()

    monkeypatch.setattr(rows, "lock", wait_before)
    return race(slowly, quickly)


def refusals(results: list[Any]) -> list[ErrorCode]:
    """The refusals among the results; fails if any other exception was raised."""
    errors = [result for result in results if isinstance(result, Exception)]
    refused = [error for error in errors if isinstance(error, GroupBuyError)]
    assert refused == errors
    return [error.error for error in refused]


def deadlocks() -> int:
    """The number of deadlocks that the server has counted; 0 on SQLite."""
    if connection.vendor != "mysql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        return int(cursor.fetchone()[1])
