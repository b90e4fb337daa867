"""Fault drills: a fault fires its alert, the alert ends, and the assistant names the cause.

find_causes reads metrics and log only. Each test injects a fault into a running stack, and repairs
it.
"""

import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from mcp import StdioServerParameters

from groupbuy_client import GroupBuyError
from tests.mcp_client import answer
from tests.operations.alerts.conftest import Inbox, Watched, complete_team
from tests.sink import Sink, reply
from tests.stack import ROOT, wait_for

pytestmark = pytest.mark.operations
CODE = ("activity", "assistant", "clients", "groupbuy", "locale", "pages", "static", "tag")


class Shoppers:
    """Shoppers who complete teams until the end of the block."""

    def __init__(self, watched: Watched, name: str, callback: str = "http://127.0.0.1:9/") -> None:
        self._mall, self._name, self._callback = watched.mall(), name, callback
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.3):
            number += 1
            with suppress(GroupBuyError, requests.RequestException):
                complete_team(self._mall, f"{self._name}{number}", self._callback)


@contextmanager
def alert(inbox: Inbox, name: str) -> Iterator[None]:
    """Inject a fault for the block; it must fire this alert, which must end after the block."""
    fired = [(each, name, "firing") for each in ("page", "ticket")]
    resolved = [(each, name, "resolved") for each in ("page", "ticket")]
    inbox.alerts.clear()
    yield
    assert any(each in inbox.alerts for each in fired)
    wait_for(lambda: any(each in inbox.alerts for each in resolved), f"the end of {name}", 120)


def fires(inbox: Inbox, name: str) -> None:
    wait_for(lambda: any(each[1:] == (name, "firing") for each in inbox.alerts), name, 100)


def causes(watched: Watched) -> str:
    """The causes that the assistant's tool names, one in a line."""
    prometheus = f"http://127.0.0.1:{watched.prometheus}"
    variables = watched.environment | {"NO_PROXY": "127.0.0.1", "PROMETHEUS_URL": prometheus}
    command = [str(ROOT / ".venv/bin/python"), "manage.py", "mcp"]
    server = StdioServerParameters(
        command=command[0], args=command[1:], cwd=ROOT, env=os.environ | variables
    )
    return "\n".join(answer(server, "find_causes")["causes"])


def test_an_endpoint_that_is_down(watched: Watched, inbox: Inbox) -> None:
    status = [500]
    sink = Sink(lambda request: reply(status[0]))
    with Shoppers(watched, "e", sink.url), alert(inbox, "EndpointFailing"):
        fires(inbox, "EndpointFailing")
        assert f"of the callbacks to {sink.url.removeprefix('http://')} fail" in causes(watched)
        status[0] = 200
    sink.stop()


def test_redis_is_gone(watched: Watched, inbox: Inbox) -> None:
    with alert(inbox, "PartAway"):
        watched.processes.crash("redis")
        fires(inbox, "PartAway")
        assert "redis does not respond" in causes(watched)
        watched.processes.revive()


def test_a_slow_database(watched: Watched, inbox: Inbox) -> None:
    database = watched.directory / "db.sqlite3"
    with alert(inbox, "ErrorBudgetBurns"), Shoppers(watched, "s"), _slow(database):
        fires(inbox, "ErrorBudgetBurns")
        wait_for(lambda: "the database is slow" in causes(watched), "the cause")


@contextmanager
def _slow(path: Path) -> Iterator[None]:
    """Let another writer lock the database for a second, again and again."""
    stop = threading.Event()

    def hold() -> None:
        with sqlite3.connect(path, timeout=60, isolation_level=None) as database:
            while not stop.wait(0.05):
                database.execute("BEGIN IMMEDIATE")
                stop.wait(1)
                database.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_stuck_worker(watched: Watched, inbox: Inbox) -> None:
    watched.processes.kill("worker")  # so that a web process has the port of the metrics
    _wait_for_sweep(watched, since=time.time())
    with alert(inbox, "BeatSilent"):
        watched.processes.send("worker", signal.SIGSTOP)
        try:
            fires(inbox, "BeatSilent")
            found = causes(watched)
        finally:
            watched.processes.send("worker", signal.SIGCONT)
        assert "a worker is alive, but no sweep has succeeded" in found
        assert "no worker is alive" not in found


def _wait_for_sweep(watched: Watched, since: float) -> None:
    """Wait for a sweep of this worker: a series of the previous worker may still exist."""
    newest = 'max(gbm_task_last_success_timestamp_seconds{task="trade.tasks.close_overdue_holds"})'
    wait_for(lambda: (watched.value(newest) or 0) > since, "a sweep of the new worker")


def test_a_bad_deploy(watched: Watched, inbox: Inbox, tmp_path: Path) -> None:
    good = watched.processes.commands["web"]
    with Shoppers(watched, "b"), alert(inbox, "ErrorBudgetBurns"):
        _deploy(watched, f"cd {_broken(tmp_path)}; export BUILD_VERSION=2.0; {good}")
        fires(inbox, "ErrorBudgetBurns")
        found = causes(watched)
        assert "api_lock returns HTTP 5xx" in found
        assert "ZeroDivisionError since version 2.0 started at" in found
        _deploy(watched, good)


def _deploy(watched: Watched, command: str) -> None:
    watched.processes.commands["web"] = command
    watched.processes.restart("web")
    watched.processes.wait_until_up(watched.port)


def _broken(directory: Path) -> Path:
    """Make a copy of the code in which no seat can be locked."""
    for name in (*CODE, "templates", "trade"):
        shutil.copytree(ROOT / name, directory / name)
    lock = directory / "trade" / "lock.py"
    good = "_try_to_lock(command, now)"
    code = lock.read_text("utf-8")
    assert code.count(f"lambda: {good}") == 1
    lock.write_text(code.replace(f"lambda: {good}", "lambda: 1 / 0"), "utf-8")
    return directory
