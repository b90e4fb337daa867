"""make bench: every figure as a ratio of two things measured in turn, in one run.

Starts its own MariaDB (flush at every commit) and Redis, the project's server as `make run`
starts it, and wrk with 32 connections. Five repeats, medians. Prints a table and writes
var/bench/latest.json: a list of {name, value, unit, floor, ratio}.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "var" / "bench"
PORTS = {"MARIADB_PORT": "13506", "REDIS_SERVICE_PORT": "16580"}
SERVICES = {"SERVICES_DIR": str(OUT / "services"), **PORTS}
WEB_PORT = "18500"
REPEATS, SECONDS, CONNECTIONS = 5, 3, 32
ROOM = 4000  # rows a second that the fastest measurement may use up

os.environ.update(
    SECRET_KEY="bench",
    VAR_DIR=str(OUT),
    DEBUG="false",
    DEMO="false",
    LOG_LEVEL="ERROR",
    DATABASE_URL=f"mysql://groupbuy:groupbuy@127.0.0.1:{PORTS['MARIADB_PORT']}/groupbuy",
    REDIS_URL=f"redis://127.0.0.1:{PORTS['REDIS_SERVICE_PORT']}/0",
    CELERY_BROKER_URL="memory://",
    DJANGO_SETTINGS_MODULE="benchmarks.settings",
)

Run = dict[str, float]


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    services("load")
    services("start", "mariadb", "redis")
    try:
        measure()
    finally:
        services("stop")


def measure() -> None:
    key = prepare()
    check_statement_counts()
    with server():
        runs = [repeat(key, number) for number in range(1, REPEATS + 1)]
    rows = table(runs)
    (OUT / "latest.json").write_text(json.dumps(rows, indent=2))
    print_table(rows)


def repeat(key: str, number: int) -> dict[str, Run]:
    """Everything once, what is compared side by side."""
    print(f"repeat {number} of {REPEATS} …", flush=True)
    from benchmarks import bare, rows

    room = ROOM * SECONDS
    asked = [body(user) for user in rows.users(200)]
    full = [team_id for team_id, _members in rows.make_teams(50, members=3)]
    refused = [lock_body(user, full[n % 50]) for n, user in enumerate(rows.users(1000))]
    results = {
        "empty": wrk("empty", asked, key),
        "trial": wrk("api/v1/gbm/trade/trial", asked, key),
        "plain": wrk("plain", asked, key),
        "index": wrk("api/v1/gbm/index/query_group_buy_market_config", asked, key),
        "full": wrk(LOCK, refused, key, code="E0006"),
    }
    opened = [lock_body(user) for user in rows.users(room)]
    results["open"] = wrk(LOCK, opened, key, once=True)
    results["open bare"] = bare_run("open", [[user] for user in rows.users(3 * room)])
    places = [team_id for team_id, _members in rows.make_teams(room // 2, 1) for _seat in "12"]
    joined = [lock_body(*pair) for pair in zip(rows.users(room), places, strict=True)]
    results["join"] = wrk(LOCK, joined, key, once=True)
    places = [team_id for team_id, _members in rows.make_teams(room, 1) for _seat in "12"]
    pairs = zip(rows.users(2 * room), places, strict=True)
    results["join bare"] = bare_run("join", [list(pair) for pair in pairs])
    paid = [settle_body(members[0]) for _team_id, members in rows.make_teams(room, members=2)]
    results["settle"] = wrk(SETTLE, paid, key, once=True)
    held = [[members[0]] for _team_id, members in rows.make_teams(2 * room, members=2)]
    results["settle bare"] = bare_run("settle", held)
    assert bare.PROCESSES * bare.THREADS == CONNECTIONS
    return results


LOCK = "api/v1/gbm/trade/lock_market_pay_order"
SETTLE = "api/v1/gbm/trade/settlement_market_pay_order"


def body(user: str, **fields: Any) -> dict[str, Any]:
    named = {"userId": user, "source": "s01", "channel": "c01"}
    return named | {"goodsId": "9890001"} | fields


def lock_body(user: str, team_id: str = "") -> dict[str, Any]:
    notify = {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1:9/notify"}
    return body(user, activityId=100123, teamId=team_id, outTradeNo=user, notifyConfigVO=notify)


def settle_body(user: str) -> dict[str, Any]:
    return body(user, outTradeNo=user, outTradeTime=time.time_ns() // 1_000_000)


def wrk(
    path: str, bodies: list[dict[str, Any]], key: str, *, once: bool = False, code: str = "0000"
) -> Run:
    """Load one path for some seconds; every answer must have this code."""
    lines = OUT / "bodies.jsonl"
    lines.write_text("\n".join(json.dumps(line) for line in bodies) + "\n")
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", "benchmarks/load.lua"]
    command += [f"http://127.0.0.1:{WEB_PORT}/{path}", "--", str(lines), key]
    command += ["once" if once else "repeat", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: Run = json.loads(run.stdout.strip().splitlines()[-1])
    if found["bad"]:
        sys.exit(f"{path}: {found['bad']:.0f} answers were wrong, the first: {run.stderr}")
    return found


def bare_run(action: str, lines: list[list[str]]) -> Run:
    from benchmarks import bare

    database = {
        "host": "127.0.0.1",
        "port": int(PORTS["MARIADB_PORT"]),
        "user": "groupbuy",
        "passwd": "groupbuy",
        "db": "groupbuy",
    }
    return {"per_second": bare.per_second(action, lines, SECONDS, database)}


def prepare() -> str:
    """An empty database with the demo in it; returns a key of its channel."""
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE groupbuy")
        cursor.execute("CREATE DATABASE groupbuy COLLATE utf8mb4_bin")
    connection.close()
    call_command("migrate", verbosity=0)
    call_command("seed_demo", verbosity=0)
    from groupbuy.models import ApiKey, Channel

    key, text = ApiKey.issue(channel=Channel.objects.get(source="s01"), name="bench")
    key.save()
    return text


def check_statement_counts() -> None:
    """The bare side runs as many statements as the project emits; else the ratio means nothing."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.utils import timezone

    from benchmarks import bare, rows
    from trade.lock import LockCommand, lock_order
    from trade.settle import SettleCommand, settle_order

    now = timezone.now()

    def lock(team_id: str = "") -> Any:
        user = rows.users(1)[0]
        names = (user, "s01", "c01", "9890001", 100123, user, team_id, "HTTP", rows.NOTIFY_URL)
        return lock_order(LockCommand(*names), now=now)

    first = lock()
    paid = SettleCommand("s01", "c01", first.user_id, first.out_trade_no, now)
    calls: dict[str, Callable[[], Any]] = {
        "open": lock,
        "join": lambda: lock(str(first.team_id)),
        "settle": lambda: settle_order(paid, now=now),
    }
    for name, call in calls.items():
        with CaptureQueriesContext(connection) as queries:
            call()
        sent = [query["sql"] for query in queries if query["sql"] not in ("BEGIN", "COMMIT")]
        assert len(sent) == bare.STATEMENTS[name], (name, sent)


@contextmanager
def server() -> Iterator[None]:
    """granian as `make run` starts it, with the empty viewset beside the project's paths."""
    command = [str(ROOT / ".venv/bin/granian"), "--interface", "wsgi", "--port", WEB_PORT]
    command += ["--workers", "2", "--blocking-threads", "4", "--no-ws", "--log-level", "error"]
    process = subprocess.Popen([*command, "benchmarks.wsgi:application"], cwd=ROOT)
    try:
        for _ in range(100):
            try:
                urlopen(f"http://127.0.0.1:{WEB_PORT}/", timeout=2).close()
                break
            except (URLError, ConnectionError):
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def table(runs: list[dict[str, Run]]) -> list[dict[str, Any]]:
    def row(name: str, ours: str, theirs: str, floor: float | None) -> dict[str, Any]:
        value = statistics.median(run[ours]["per_second"] for run in runs)
        ratio = statistics.median(
            run[ours]["per_second"] / run[theirs]["per_second"] for run in runs
        )
        return {"name": name, "value": value, "unit": "/s", "floor": floor, "ratio": ratio}

    p99 = statistics.median(run["open"]["p99_ms"] for run in runs)
    return [
        row("empty viewset", "empty", "empty", None),
        row("empty viewset, a new serializer each time", "plain", "empty", None),
        row("trial / empty viewset", "trial", "empty", 0.7),
        row("index query / empty viewset", "index", "empty", None),
        row("full team refuses / empty viewset", "full", "empty", None),
        row("lock, open a team / bare SQL", "open", "open bare", 0.14),
        row("lock, join teams / bare SQL", "join", "join bare", 0.14),
        row("settlement / bare SQL", "settle", "settle bare", 0.12),
        {
            "name": "lock p99 at 32 connections / 100 ms",
            "value": p99,
            "unit": "ms",
            "floor": 1.0,
            "ratio": 100 / p99,
        },
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'':44}{'value':>12}{'ratio':>8}{'goal':>8}")
    for row in rows:
        goal = "" if row["floor"] is None else f"{row['floor']:.2f}"
        missed = row["floor"] is not None and row["ratio"] < row["floor"]
        value = f"{row['value']:,.0f} {row['unit']}"
        print(f"{row['name']:44}{value:>12}{row['ratio']:>8.2f}{goal:>8}{'  missed' * missed}")


def services(*arguments: str) -> None:
    command = [str(ROOT / "deploy" / "services.sh"), *arguments]
    if subprocess.run(command, env=os.environ | SERVICES, check=False).returncode:
        sys.exit("make bench needs MariaDB, Redis and wrk; see above.")


if __name__ == "__main__":
    main()
