"""Measure how fast the sweeps close overdue holds and end overdue teams.

There are 100,000 overdue holds and 10,000 overdue teams. Each sweep works on them for a few
seconds, as expire.SWEEP is shortened in its process. As in a worker, nudges go to Redis after every
commit.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from django.db import connections
from django.utils import timezone

from benchmarks import bare, bulk
from benchmarks.stack import DATABASE, Row, row
from trade import expire
from trade.models import Order, Team

HOLDS, TEAMS = 100_000, 10_000
ROUNDS, SECONDS = 3, 3

Sweep = Callable[..., int]


def measure() -> list[Row]:
    print("expiry …", flush=True)
    return [*_holds(), *_teams()]


def _holds() -> list[Row]:
    """Close two holds in each team, oldest first; the bare statements close the newest ones."""
    bulk.clear()
    bulk.load(bulk.TEAM, 1, status="0", locked="1", paid="0", ends="NOW(6) + INTERVAL 1 DAY")
    bulk.load(bulk.ORDER, 1, team="1", status="0", deadline="NOW(6) - INTERVAL 1 DAY")
    # The sweep looks for due holds twice: it finds one, then none.
    bare.check("close", lambda: expire.close_overdue_holds(clock=timezone.now), besides=2)
    bulk.clear()
    ends, due = "NOW(6) + INTERVAL 1 DAY", f"NOW(6) - INTERVAL ({2 * HOLDS} - seq) SECOND"
    bulk.load(bulk.TEAM, HOLDS // 2, status="0", locked="2", paid="0", ends=ends)
    bulk.load(bulk.ORDER, HOLDS, team="(seq + 1) DIV 2", status="0", deadline=due)
    bulk.analyze()
    rounds = [_round() for _ in range(ROUNDS)]
    one, plain, two = zip(*rounds, strict=True)
    return [
        _compared("overdue holds closed, one worker / bare SQL", one, plain),
        _compared("overdue holds closed, two workers / one", two, one),
    ]


def _round() -> tuple[float, float, float]:
    """Holds closed a second by one worker, by bare SQL on one connection, by two workers."""
    one = _per_second(expire.close_overdue_holds, 1)
    last = Order.objects.filter(status=Order.Status.LOCKED).order_by("-pay_deadline")
    lines = [[str(pk), str(team)] for pk, team in last.values_list("pk", "team_id")[:40_000]]
    plain = bare.per_second("close", lines, SECONDS, DATABASE, processes=1, threads=1)
    return one, plain, _per_second(expire.close_overdue_holds, 2)


def _compared(name: str, ours: tuple[float, ...], theirs: tuple[float, ...]) -> Row:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return row(name, statistics.median(ours), "/s", ratio)


def _teams() -> list[Row]:
    """End teams that must fill to complete, each with a paid and a held order to close."""
    bulk.clear()
    ends, deadline = "NOW(6) - INTERVAL 1 HOUR", "NOW(6) + INTERVAL 1 HOUR"
    bulk.load(bulk.TEAM, TEAMS, status="0", locked="2", paid="1", ends=ends)
    orders = {"team": "(seq + 1) DIV 2", "status": "seq % 2", "deadline": deadline}
    bulk.load(bulk.ORDER, 2 * TEAMS, **orders)
    bulk.analyze()
    teams = _per_second(expire.end_overdue_teams, 1)
    failed = Team.objects.filter(status=Team.Status.FAILED).count()
    closed = Order.objects.filter(status=Order.Status.CLOSED).count()
    return [
        row("overdue teams ended, one worker", teams, "/s"),
        row("their orders closed", teams * closed / failed, "/s"),
    ]


def _per_second(sweep: Sweep, workers: int) -> float:
    """Rows a second that this many worker processes end together."""
    connections.close_all()  # a forked process must not use them
    with ProcessPoolExecutor(workers) as pool:
        return sum(pool.map(_sweep, [sweep] * workers))


def _sweep(sweep: Sweep) -> float:
    expire.SWEEP = SECONDS
    started = time.monotonic()
    ended = sweep(clock=timezone.now)
    return ended / (time.monotonic() - started)
