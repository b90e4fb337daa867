"""A sweep for one due row among many that are not: does it look at more rows than among few?

Counted by MariaDB itself: the session's Handler_read_* counters over one whole sweep, which
include what ending the one row takes. Half of the other rows are history, half not yet due.
"""

from collections.abc import Callable
from functools import partial

from django.db import connection
from django.utils import timezone

from benchmarks import bulk
from benchmarks.stack import Row, row
from trade import expire
from trade.notify import outbox

FEW, MANY = 2_000, 2_000_000
PAST, FUTURE = "NOW(6) - INTERVAL 86400 + seq SECOND", "NOW(6) + INTERVAL 86400 + seq SECOND"
SWEEPS: dict[str, Callable[[], int]] = {  # promises first: the others make new ones
    "promises": partial(outbox.deliver_due, clock=timezone.now),
    "holds": partial(expire.close_overdue_holds, clock=timezone.now),
    "teams": partial(expire.end_overdue_teams, clock=timezone.now),
}


def measure() -> list[Row]:
    print("history …", flush=True)
    few, many = _rows_examined(FEW), _rows_examined(MANY)
    bulk.clear()
    return [
        row(
            f"rows examined for 1 due of {MANY:,} {name} / of {FEW:,}",
            many[name],
            "rows",
            few[name] / many[name],
            1.0,
        )
        for name in SWEEPS
    ]


def _rows_examined(size: int) -> dict[str, int]:
    """Rows that each sweep examines when one row is due and `size` others are not."""
    bulk.clear()
    status, half = "IF(seq = 1, 0, seq % 2)", "IF(seq % 2, {}, {})"
    when = half.format(PAST, FUTURE)  # the first is past and still open: it is due
    bulk.load(bulk.TEAM, size, status=status, locked="1", paid="0", ends=when)
    bulk.load(bulk.ORDER, size, team="seq", status=status, deadline=when)
    due = f"CASE WHEN seq = 1 THEN NOW(6) WHEN seq % 2 THEN NULL ELSE {FUTURE} END"
    promises = {"name": "old", "target": "http://127.0.0.1:9/notify"}
    bulk.load(bulk.PROMISE, size, **promises, state=status, due=due)
    bulk.analyze()
    return {name: _reads(sweep) for name, sweep in SWEEPS.items()}


def _reads(sweep: Callable[[], int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
        assert sweep() == 1
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _name, count in cursor.fetchall())
