"""make bench: most figures are ratios of two measurements, made alternately in one run.

It starts its own MariaDB (flush at every commit) and Redis, the project's server as `make run`
starts it, and wrk with 32 connections. It takes medians of five repeats, then measures what grows
with the data, and callbacks (growth.py). It prints a table and writes var/bench/latest.json: a list
of {name, value, unit, floor, ratio}.
"""

import json
import statistics
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from benchmarks.bodies import (
    LOCK,
    REFUND,
    SETTLE,
    body,
    lock_body,
    refund_body,
    settle_body,
)
from benchmarks.stack import (
    CONNECTIONS,
    DATABASE,
    OUT,
    SECONDS,
    Row,
    Run,
    print_table,
    row,
    server,
    stack,
    wrk,
)

REPEATS = 5
ROOM = 4000  # rows a second that the fastest measurement may use up


def main() -> None:
    with stack() as key:
        from benchmarks import growth, metering, pages, switching, web

        check_statement_counts()
        with server():
            runs = [repeat(key, number) for number in range(1, REPEATS + 1)]
            in_use = [*pages.measure(key), *switching.measure(key), *web.measure(key)]
        in_use += metering.measure(key)
        rows = [*table(runs), *in_use]
        print_table(rows)  # in case that what follows fails
        rows += growth.measure(key)
    (OUT / "latest.json").write_text(json.dumps(rows, indent=2))
    print_table(rows)


def repeat(key: str, number: int) -> dict[str, Run]:
    """Measure everything once; calls that are compared run one after the other."""
    print(f"repeat {number} of {REPEATS} …", flush=True)
    from benchmarks import bare

    assert bare.PROCESSES * bare.THREADS == CONNECTIONS
    return reads(key) | locks(key) | changes(key)


def reads(key: str) -> dict[str, Run]:
    """Measure the calls that change nothing."""
    from benchmarks import rows

    shoppers = rows.users(200)
    asked = [body(user) for user in shoppers]
    goods = rows.crowd_goods(shoppers)
    gated = [body(user, goodsId=goods) for user in shoppers]
    full = [team_id for team_id, _members in rows.make_teams(50, members=3)]
    refused = [lock_body(user, full[n % 50]) for n, user in enumerate(rows.users(1000))]
    return {
        "empty": wrk("api/empty", asked, key),
        "trial": wrk("api/v1/gbm/trade/trial", asked, key),
        "gated": wrk("api/v1/gbm/trade/trial", gated, key),
        "plain": wrk("api/plain", asked, key),
        "index": wrk("api/v1/gbm/index/query_group_buy_market_config", asked, key),
        "full": wrk(LOCK, refused, key, code="E0006"),
    }


def locks(key: str) -> dict[str, Run]:
    """Measure locks that open a team, and locks that join one."""
    from benchmarks import rows

    room, results = ROOM * SECONDS, {}
    opened = [lock_body(user) for user in rows.users(room)]
    results["open"] = wrk(LOCK, opened, key, once=True)
    results["open bare"] = bare_run("open", [[user] for user in rows.users(3 * room)])
    seats = [team_id for team_id, _members in rows.make_teams(room // 2, 1) for _seat in range(2)]
    joined = [lock_body(*pair) for pair in zip(rows.users(room), seats, strict=True)]
    results["join"] = wrk(LOCK, joined, key, once=True)
    seats = [team_id for team_id, _members in rows.make_teams(room, 1) for _seat in range(2)]
    pairs = zip(rows.users(2 * room), seats, strict=True)
    results["join bare"] = bare_run("join", [list(pair) for pair in pairs])
    return results


def changes(key: str) -> dict[str, Run]:
    """Measure settlements, and refunds of unpaid orders."""
    from benchmarks import rows

    room, results = ROOM * SECONDS, {}
    for name, path, make in (("settle", SETTLE, settle_body), ("refund", REFUND, refund_body)):
        bodies = [make(members[0]) for _team_id, members in rows.make_teams(room, members=2)]
        results[name] = wrk(path, bodies, key, once=True)
        held = [[members[0]] for _team_id, members in rows.make_teams(2 * room, members=2)]
        results[f"{name} bare"] = bare_run(name, held)
    return results


def bare_run(action: str, lines: list[list[str]]) -> Run:
    from benchmarks import bare

    return {"per_second": bare.per_second(action, lines, SECONDS, DATABASE)}


def check_statement_counts() -> None:
    """Compare the numbers of statements with those in bare.py; fail if they differ."""
    from benchmarks import bare, rows
    from groupbuy import channels
    from trade.lock import LockCommand, lock_order
    from trade.refund import RefundCommand, refund_order
    from trade.settle import SettleCommand, settle_order

    now, channel = timezone.now(), channels.find("s01", "c01")
    assert channel

    def lock(team_id: str = "") -> Any:
        user = rows.users(1)[0]
        names = (user, channel, "9890001", 100123, user, team_id, "HTTP", rows.NOTIFY_URL)
        return lock_order(LockCommand(*names), now=now)

    first, held = lock(), lock()
    paid = SettleCommand(channel, first.user_id, first.out_trade_no, now)
    given_back = RefundCommand(channel, held.user_id, held.out_trade_no)
    calls: dict[str, Callable[[], Any]] = {
        "open": lock,
        "join": lambda: lock(str(first.team_id)),
        "settle": lambda: settle_order(paid, now=now),
        "refund": lambda: refund_order(given_back, now=now),
    }
    for name, call in calls.items():
        bare.check(name, call)


def table(runs: list[dict[str, Run]]) -> list[Row]:
    def compared(name: str, ours: str, theirs: str, floor: float | None = None) -> Row:
        value = statistics.median(run[ours]["per_second"] for run in runs)
        ratio = statistics.median(
            run[ours]["per_second"] / run[theirs]["per_second"] for run in runs
        )
        return row(name, value, "/s", ratio, floor)

    p99 = statistics.median(run["open"]["p99_ms"] for run in runs)
    return [
        compared("empty viewset", "empty", "empty"),
        compared("empty viewset, a new serializer each time", "plain", "empty"),
        compared("trial / empty viewset", "trial", "empty", 0.7),
        compared("trial of a crowd / empty viewset", "gated", "empty", 0.65),
        compared("index query / empty viewset", "index", "empty"),
        compared("full team refuses / empty viewset", "full", "empty", 0.6),
        compared("lock, open a team / bare SQL", "open", "open bare", 0.14),
        compared("lock, join teams / bare SQL", "join", "join bare", 0.14),
        compared("settlement / bare SQL", "settle", "settle bare", 0.12),
        compared("refund / bare SQL", "refund", "refund bare"),
        row("lock p99 at 32 connections / 100 ms", p99, "ms", 100 / p99, 1.0),
    ]


if __name__ == "__main__":
    main()
