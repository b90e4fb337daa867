"""The stack that is measured: its own MariaDB (flush at every commit) and Redis, server, worker.

Importing this module sets the environment; prepare() sets Django up. Import modules that need
models after that.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import django
from celery import current_app
from django.core.management import call_command
from django.db import connection

from tests.stack import ROOT, Processes, Services, free_port, wait_for, web
from tests.stack import worker as worker_command

OUT = ROOT / "var" / "bench"
SERVICES = Services(OUT / "services", "mariadb", "redis")
ENVIRONMENT = SERVICES.environment()
REDIS_URL = ENVIRONMENT["REDIS_URL"]
WEB_PORT = str(free_port())
DATABASE = {
    "host": "127.0.0.1",
    "port": urlsplit(ENVIRONMENT["DATABASE_URL"]).port,
    "user": "groupbuy",
    "passwd": "groupbuy",
    "db": "groupbuy",
}
SECONDS, CONNECTIONS = 3, 32

os.environ.update(
    SECRET_KEY="bench",
    VAR_DIR=str(OUT),
    DEBUG="false",
    DEMO="false",
    LOG_LEVEL="ERROR",
    DATABASE_URL=ENVIRONMENT["DATABASE_URL"],
    REDIS_URL=REDIS_URL,
    CELERY_BROKER_URL=REDIS_URL,
    AMQP_URL="",
    CALLBACK_NETWORKS="127.0.0.0/8",
    DJANGO_SETTINGS_MODULE="benchmarks.settings",
)

Run = dict[str, float]
Row = dict[str, Any]


@contextmanager
def stack() -> Iterator[str]:
    """Run MariaDB with the demo in it, and Redis; yield an API key of the demo's channel."""
    if SERVICES.run("load") or SERVICES.start():
        sys.exit(f"make bench needs MariaDB, Redis and wrk; see {OUT}/services/services.log")
    try:
        yield prepare()
    finally:
        SERVICES.stop()


def prepare() -> str:
    """Make a new database with only the demo in it; return an API key of its channel."""
    django.setup()
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE groupbuy")
        cursor.execute("CREATE DATABASE groupbuy COLLATE utf8mb4_bin")
    connection.close()
    call_command("migrate", verbosity=0)
    call_command("seed_demo", verbosity=0)
    from groupbuy.models import ApiKey, Channel, Switch  # noqa: PLC0415  Django is set up now

    # Requests are counted, but the limits are out of reach: all load comes from one mall.
    Switch.objects.filter(key__endswith="Limit", value__contains="/").update(value="1000000/1")
    key, text = ApiKey.issue(channel=Channel.objects.get(source="s01"), name="bench")
    key.save()
    return text


@contextmanager
def server() -> Iterator[Processes]:
    """Run the web server of `make run`, with the empty viewset beside the project's paths."""
    processes = Processes({"web": web(int(WEB_PORT), workers=2)}, {}, OUT / "web.log")
    with processes.running():
        processes.wait_until_up(int(WEB_PORT))
        yield processes


@contextmanager
def worker(**environment: str) -> Iterator[Processes]:
    """Run one Celery worker with its beat, as the Procfile starts it."""
    processes = Processes({"worker": worker_command()}, environment, OUT / "worker.log")
    with processes.running():
        wait_for(lambda: current_app.control.ping(timeout=0.5), "the Celery worker")
        yield processes


def wrk(
    path: str,
    bodies: list[dict[str, Any]],
    key: str,
    *,
    once: bool = False,
    code: str = "0000",
    port: str = WEB_PORT,
) -> Run:
    """POST to one path for SECONDS; every answer must have this code."""
    lines = OUT / "bodies.jsonl"
    lines.write_text("\n".join(json.dumps(line) for line in bodies) + "\n")
    arguments = [str(lines), key, "once" if once else "repeat", code]
    return _wrk("load.lua", path, *arguments, port=port)


def look(path: str, *, etag: str = "") -> Run:
    """GET one path for SECONDS; every status must be 304 with an etag, or else 200."""
    return _wrk("look.lua", path, "304" if etag else "200", etag)


def _wrk(script: str, path: str, *arguments: str, port: str = WEB_PORT) -> Run:
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", f"benchmarks/{script}"]
    command += [f"http://127.0.0.1:{port}/{path}", "--", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: Run = json.loads(run.stdout.strip().splitlines()[-1])
    if found["bad"]:
        sys.exit(f"{path}: {found['bad']:.0f} answers were wrong, the first: {run.stderr}")
    return found


def row(
    name: str, value: float, unit: str, ratio: float | None = None, floor: float | None = None
) -> Row:
    """A line of the table; ratio is None if the value is not compared with anything."""
    return {"name": name, "value": value, "unit": unit, "floor": floor, "ratio": ratio}


def print_table(rows: list[Row]) -> None:
    print(f"\n{'':56}{'value':>14}{'ratio':>8}{'goal':>8}")
    for line in rows:
        floor, ratio = line["floor"], line["ratio"]
        goal = "" if floor is None else f"{floor:.2f}"
        shown = "" if ratio is None else f"{ratio:.2f}"
        missed = floor is not None and ratio is not None and ratio < floor
        value = f"{line['value']:,.0f} {line['unit']}"
        print(f"{line['name']:56}{value:>14}{shown:>8}{goal:>8}{'  missed' * missed}")
