"""Does a sweep, or an offer's list of teams, examine more rows if there are many others?

MariaDB counts the rows in the session's Handler_read_* counters. For a sweep the count includes the
work on the one due row. Of the other rows half are history, and half are not yet due.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connection
from django.utils import timezone

from activity.catalog import find_offer
from benchmarks import bulk
from benchmarks.stack import Row, row
from trade import expire, market
from trade.notify import outbox

FEW, MANY = 2_000, 2_000_000
PAST, FUTURE = "NOW(6) - INTERVAL 86400 + seq SECOND", "NOW(6) + INTERVAL 86400 + seq SECOND"
OPEN, ABANDONED, COMPLETE = 200, 100_000, 1_000_000  # teams of one offer
SWEEPS: dict[str, Callable[[], int]] = {  # promises first: the others make new ones
    "promises": partial(outbox.deliver_due, clock=timezone.now),
    "holds": partial(expire.close_overdue_holds, clock=timezone.now),
    "teams": partial(expire.end_overdue_teams, clock=timezone.now),
}


def measure() -> list[Row]:
    print("history …", flush=True)
    few, many = _rows_examined(FEW), _rows_examined(MANY)
    offers = [_offer_reads(0, 0), _offer_reads(ABANDONED, 0), _offer_reads(0, COMPLETE)]
    bulk.clear()
    plain, abandoned, complete = offers
    return [
        row(
            f"rows examined for {OPEN} open teams of {ABANDONED:,} that all have left / of {OPEN}",
            abandoned["teams"],
            "rows",
            plain["teams"] / abandoned["teams"],
            1 / 1.2,
        ),
        row(
            f"rows examined for the statistic of {COMPLETE:,} complete teams / of none",
            complete["statistic"],
            "rows",
            plain["statistic"] / complete["statistic"],
            1 / 1.2,
        ),
    ] + [
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
    deadline = f"{when} - INTERVAL 1 HOUR"  # before the end of its team, which is loaded earlier
    bulk.load(bulk.ORDER, size, team="seq", status=status, deadline=deadline)
    due = f"CASE WHEN seq = 1 THEN NOW(6) WHEN seq % 2 THEN NULL ELSE {FUTURE} END"
    promises = {"name": "old", "target": "http://127.0.0.1:9/notify"}
    bulk.load(bulk.PROMISE, size, **promises, state=status, due=due)
    bulk.analyze()
    return {name: _reads(sweep, 1) for name, sweep in SWEEPS.items()}


def _offer_reads(abandoned: int, complete: int) -> dict[str, int]:
    """Rows examined for an offer's open teams and for its statistic, of OPEN teams and these."""
    bulk.clear()
    others = abandoned + complete
    status, locked = ("0", "0") if abandoned else ("1", "3")
    first = f"IF(seq <= {others}, {{}}, {{}})"  # these end before the open ones
    counts = {"locked": first.format(locked, 1), "paid": first.format("0" if abandoned else 3, 0)}
    bulk.load(bulk.TEAM, others + OPEN, status=first.format(status, 0), ends=FUTURE, **counts)
    bulk.load(bulk.ORDER, OPEN, team=f"seq + {others}", status="0", deadline=FUTURE)
    bulk.analyze()
    time.sleep(2)  # the copies of the last measurement are out of date
    now = timezone.now()
    names = {"source": "s01", "channel": "c01", "goods_id": "9890001", "activity_id": 100123}
    offer = find_offer(**names, now=now)  # type: ignore[arg-type]
    assert offer
    return {
        "teams": _reads(lambda: len(market.open_teams(offer, now=now)), OPEN),
        "statistic": _reads(lambda: market.statistic(100123).all_team_count, OPEN),
    }


def _reads(call: Callable[[], Any], answer: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
        assert call() == answer
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _name, count in cursor.fetchall())
