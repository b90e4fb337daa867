"""Nudges: many promises cause one; a worker's thread delivers after each, and no request waits."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from django.db import connection
from prometheus_client import REGISTRY

from tests.racing import LATE
from trade.notify import nudges
from trade.notify.nudges import nudge


class Worker:
    """Records the calls of deliver(), each of which does what the test wants."""

    def __init__(self) -> None:
        self.treat: Callable[[], Any] = lambda: None
        self.delivered = threading.Semaphore(0)
        self.released = threading.Event()

    def deliver(self) -> None:
        self.delivered.release()
        self.treat()

    def hang(self) -> None:
        assert self.released.wait(LATE)

    def wait(self) -> None:
        """Wait for one more delivery."""
        assert self.delivered.acquire(timeout=LATE)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(nudges, "WAIT", 0.05)
    worker = Worker()
    yield worker
    worker.released.set()
    nudges.stop()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("gbm_nudges_total", {"outcome": outcome}) or 0.0


def test_nudges_are_one_until_a_worker_takes_it(redis: redis_py.Redis) -> None:
    for _again in range(3):
        nudge()

    assert redis.llen(nudges.LIST) == 1


def test_a_worker_delivers_after_a_nudge(worker: Worker, redis: redis_py.Redis) -> None:
    nudge()  # before the worker starts
    nudges.start(worker.deliver, threads=2)
    worker.wait()

    nudge()
    worker.wait()

    nudges.stop()
    assert redis.llen(nudges.LIST) == 0
    assert not worker.delivered.acquire(blocking=False)


def test_a_nudge_during_a_delivery_makes_another_one(worker: Worker, redis: redis_py.Redis) -> None:
    """Mutation: the nudge is taken after the query for due promises."""
    worker.treat = worker.hang
    nudge()
    nudges.start(worker.deliver, threads=1)
    worker.wait()

    nudge()
    worker.released.set()

    worker.wait()


def test_a_delivery_that_hangs_leaves_nudges_to_other_threads(
    worker: Worker, redis: redis_py.Redis
) -> None:
    worker.treat = worker.hang
    nudges.start(worker.deliver, threads=2)
    nudge()
    worker.wait()

    nudge()

    worker.wait()


def test_a_delivery_that_fails_ends_no_thread(
    worker: Worker, redis: redis_py.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = iter([ValueError("a bug"), redis_py.RedisError("away"), None])

    def fail() -> None:
        if outcome := next(outcomes):
            raise outcome

    worker.treat = fail
    nudges.start(worker.deliver, threads=1)
    for _again in range(3):
        nudge()
        worker.wait()

    logged = [record for record in caplog.records if record.name == nudges.logger.name]
    assert [record.getMessage() for record in logged] == ["A nudge is left to the sweep"]


def test_a_worker_that_ends_records_what_it_delivers(worker: Worker, redis: redis_py.Redis) -> None:
    ended = threading.Event()

    def record() -> None:
        worker.hang()
        ended.set()

    worker.treat = record
    nudges.start(worker.deliver, threads=1)
    nudge()
    worker.wait()
    threading.Timer(0.1, worker.released.set).start()

    nudges.stop()

    assert ended.is_set()


def test_without_redis_a_nudge_is_lost_and_the_worker_waits_for_it(
    worker: Worker, redis: redis_py.Redis, settings: Any, tmp_path: Path
) -> None:
    running, stopped = settings.REDIS_URL.removeprefix("unix://"), tmp_path / "redis.sock"
    settings.REDIS_URL = f"unix://{stopped}"
    lost, sent = counted("lost"), counted("sent")
    nudge()
    nudges.start(worker.deliver, threads=1)
    assert (counted("lost"), counted("sent")) == (lost + 1, sent)

    stopped.symlink_to(running)
    redis.lpush(nudges.LIST, 1)

    worker.wait()


@pytest.mark.django_db(transaction=True)
def test_a_thread_keeps_its_database_connection(worker: Worker, redis: redis_py.Redis) -> None:
    used: list[Any] = []

    def look() -> None:
        connection.ensure_connection()
        used.append(connection.connection)
        if len(used) == 2:
            connection.close()
            worker.released.set()

    worker.treat = look
    nudges.start(worker.deliver, threads=1)
    for _again in range(2):
        nudge()
        worker.wait()
    worker.hang()

    assert used[0] is used[1]
