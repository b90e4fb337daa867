"""Measure how an export of a million orders changes the p99 of locks.

The worker of `make run` runs all the time. Locks are measured alone and while it writes the list of
orders to a file, alternately; then alone and while a workbook is made from such a file. Finally a
whole export is timed. python -m benchmarks.export [ORDERS] does only this.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone

from benchmarks.bodies import LOCK, lock_body
from benchmarks.stack import OUT, SECONDS, Row, print_table, row, server, stack, worker, wrk
from tests.stack import wait_for

ROUNDS = 7
ROOM = 2000  # locks a second that the fastest measurement may use up
LINES = 1_000_000  # of the workbook
MOST = 3600  # seconds that the whole export may take


def main() -> None:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with stack() as key:
        from benchmarks import million
        from tag.models import CrowdMember, CrowdPart, CrowdUser

        for model in (CrowdMember, CrowdPart, CrowdUser):  # the demo's; million.load() makes others
            model.objects.all().delete()
        print(f"loading {orders:,} orders …", flush=True)
        million.load(orders, now=timezone.now())
        with server(), worker():
            print_table(measure(key))


def measure(key: str) -> list[Row]:
    _p99(key)  # the first locks fill the copies
    return [
        _beside(key, "an export", _exporting),
        _beside(key, "a workbook being made", _making_a_book),
        *_whole(),
    ]


def _beside(key: str, name: str, disturbed: Callable[[], Any]) -> Row:
    pairs = []
    for number in range(1, ROUNDS + 1):
        alone = _p99(key)
        with disturbed():
            beside = _p99(key)
        pairs.append((alone, beside))
        print(f"{name}, round {number}: p99 {alone:.1f} ms alone, {beside:.1f} beside", flush=True)
    p99 = statistics.median(beside for _alone, beside in pairs)
    ratio = statistics.median(alone / beside for alone, beside in pairs)
    return row(f"lock p99, alone / beside {name}", p99, "ms", ratio, 0.83)


def _p99(key: str) -> float:
    from benchmarks import rows

    bodies = [lock_body(user) for user in rows.users(ROOM * SECONDS)]
    return wrk(LOCK, bodies, key, once=True)["p99_ms"]


def _start(kind: str) -> Any:
    from django.contrib.auth.models import User

    from groupbuy import exports
    from trade.models import Order

    user = User.objects.get(username="bench")
    return exports.start(user, model=Order, query="", kind=kind, now=timezone.now())


@contextmanager
def _exporting() -> Iterator[None]:
    from groupbuy import exports

    export = _start("csv")
    wait_for(lambda: _rows(export) > 0, "the first piece")
    yield
    assert _rows(export) > 0
    exports.forget(export)  # the worker stops before its next piece


def _rows(export: Any) -> int:
    export.refresh_from_db()
    return int(export.rows)


@contextmanager
def _making_a_book() -> Iterator[None]:
    from groupbuy import tables

    lines, book = OUT / "lines.jsonl", OUT / "book.xlsx"
    if not lines.exists():
        cells = ["20261126000000000001", "user-1234567", "9890001", "paid", "", 80.0, "s01/c01"]
        lines.write_bytes(tables.as_lines([cells]) * LINES)
    with subprocess.Popen([*tables.WRITER, str(lines), str(book)]) as process:
        time.sleep(1)
        yield
        assert process.poll() is None  # it was busy all the time
        process.kill()


def _whole() -> Iterator[Row]:
    export, began = _start("xlsx"), time.monotonic()
    read = 0.0
    while not export.finished_at:
        time.sleep(1)
        export.refresh_from_db()
        if export.is_read and not read:
            read = time.monotonic() - began
        assert time.monotonic() - began < MOST
    assert not export.error, export.error
    yield row(f"export of {export.rows:,} orders: reading", read, "s")
    yield row("its workbook", time.monotonic() - began - read, "s")


if __name__ == "__main__":
    main()
