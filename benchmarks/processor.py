"""Processor time of a call and all that follows from it, in multiples of a trial.

It is the time of the web server, the worker, MariaDB and Redis, which the operating system counts,
from the first call until the last notification has arrived at a mall by HTTP. Other work of the
machine hardly changes it.
"""

import http.client
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from django.db import connections

from benchmarks import bulk, malls, rows
from benchmarks.bodies import LOCK, REFUND, SETTLE, body, lock_body, refund_body, settle_body
from benchmarks.callbacks import arrivals, mall, wait_until
from benchmarks.stack import SERVICES, WEB_PORT, Row, row, server, worker
from groupbuy.models import Channel
from trade.models import NotifyTask

CALLS, TEAMS, ROUNDS = 1500, 1500, 5
CONNECTIONS = 8
LONGEST = 120  # seconds until the last notification has arrived
GOALS = {"open": 4, "join": 5, "settlement": 6, "refund": 7, "full": None}  # in trials
LAST = 1.15  # the last callback of a burst, as a multiple of the time of its settlements

Meter = Callable[[], float]


def measure(key: str) -> list[Row]:
    print("processor time …", flush=True)
    bulk.clear()  # also of promises that nobody can deliver
    channel = Channel.objects.get(source="s01")
    channel.refund_notify_url = malls.HEALTHY
    channel.save()
    with mall(), server() as web, worker() as deliverer:
        rounds = [
            _costs(key, lambda: web.seconds() + deliverer.seconds() + SERVICES.seconds())
            for _round in range(1 + ROUNDS)  # the first one warms up
        ][1:]
        settled, last = zip(*[_burst(key) for _round in range(ROUNDS)], strict=True)
    trial = statistics.median(costs["trial"] for costs in rounds)
    multiple = statistics.median(b / a for a, b in zip(settled, last, strict=True))
    return [
        row("processor time, trial", 1e6 * trial, "µs"),
        *[_compared(name, goal, rounds, trial) for name, goal in GOALS.items()],
        row(
            f"last callback of {TEAMS:,} teams / {LAST} of its settlements",
            statistics.median(last),
            "s",
            LAST / multiple,
            1.0,
        ),
    ]


def _compared(name: str, goal: int | None, rounds: list[dict[str, float]], trial: float) -> Row:
    cost = statistics.median(costs[name] for costs in rounds)
    if goal is None:
        return row(f"processor time, {name} / trial", 1e6 * cost, "µs", trial / cost)
    title = f"processor time, {name} / {goal} trials"
    return row(title, 1e6 * cost, "µs", goal * trial / cost, 1.0)


def _costs(key: str, meter: Meter) -> dict[str, float]:
    """Seconds of processor time per call."""
    shoppers = rows.users(CALLS)
    full = [team_id for team_id, _members in rows.make_teams(50, members=3)]
    joined = [team_id for team_id, _members in rows.make_teams(CALLS, 1)]
    paying = rows.make_teams(CALLS // 3, 3, notify_url=malls.HEALTHY)
    leaving = rows.make_teams(CALLS, 2)
    plans: dict[str, tuple[str, list[dict[str, Any]], str]] = {
        "trial": ("api/v1/gbm/trade/trial", [body(user) for user in shoppers * 4], "0000"),
        "open": (LOCK, [lock_body(user) for user in shoppers], "0000"),
        "join": (
            LOCK,
            [lock_body(*pair) for pair in zip(rows.users(CALLS), joined, strict=True)],
            "0000",
        ),
        "full": (LOCK, [lock_body(user, full[n % 50]) for n, user in enumerate(shoppers)], "E0006"),
        "settlement": (
            SETTLE,
            [settle_body(user) for _id, team in paying for user in team],
            "0000",
        ),
        "refund": (REFUND, [refund_body(team[0]) for _id, team in leaving], "0000"),
    }
    return {name: _cost(*plan, key, meter) for name, plan in plans.items()}


def _cost(path: str, bodies: list[dict[str, Any]], code: str, key: str, meter: Meter) -> float:
    before = meter()
    _send_all(path, bodies, code, key)
    wait_until(_everything_is_delivered, LONGEST, "callbacks are missing")
    return (meter() - before) / len(bodies)


def _burst(key: str) -> tuple[float, float]:
    """Seconds until the last settlement is answered, and until the last callback has arrived."""
    teams = rows.make_teams(TEAMS, 3, notify_url=malls.HEALTHY)
    members = list(chain.from_iterable(names for _team_id, names in teams))
    keys = {f"team_success-{team_id}" for team_id, _names in teams}
    started = time.time()
    _send_all(SETTLE, [settle_body(user) for user in members], "0000", key)
    settled = time.time() - started
    wait_until(lambda: keys <= arrivals().keys(), LONGEST, "callbacks are missing")
    moments = arrivals()
    return settled, max(moments[key] for key in keys) - started


def _send_all(path: str, bodies: list[dict[str, Any]], code: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def send(share: list[dict[str, Any]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(WEB_PORT), timeout=30)
        for each in share:
            connection.request("POST", f"/{path}", json.dumps(each), headers)
            answer = connection.getresponse().read()
            assert f'"code":"{code}"'.encode() in answer, answer
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, [bodies[n::CONNECTIONS] for n in range(CONNECTIONS)]))


def _everything_is_delivered() -> bool:
    waiting = NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED).exists()
    connections.close_all()
    return not waiting
