"""Nudges: one message for many promises, and no request waits for the broker."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as redis_py
from django.db import connection
from redis import Redis

import groupbuy.redis
from tests.factories import NOW
from trade import tasks
from trade.notify import nudges, outbox
from trade.notify.nudges import nudge

LATE = 120  # seconds that a test waits for the sender thread


class Broker:
    """Treats each message as the test says."""

    def __init__(self) -> None:
        self.treat: Callable[[], Any] = lambda: None
        self.messages: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.released = threading.Event()

    def send_task(self, name: str, **options: Any) -> None:
        self.messages.append(name)
        self.arrived.release()
        self.treat()

    def wait(self) -> None:
        """Wait for one more message."""
        assert self.arrived.acquire(timeout=LATE)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    broker = Broker()
    monkeypatch.setattr(nudges, "current_app", broker)
    yield broker
    broker.released.set()


def test_a_nudge_names_a_task_that_exists() -> None:
    assert tasks.deliver_new_notifications.name == nudges.TASK


def test_nudges_are_one_message_until_a_worker_takes_it_up(
    broker: Broker, redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = threading.Semaphore(0), groupbuy.redis.try_redis

    def count(question: Callable[[Redis], Any]) -> Any:
        answer = ask(question)
        asked.release()
        return answer

    monkeypatch.setattr(groupbuy.redis, "try_redis", count)
    for _again in range(3):
        nudge()
        assert asked.acquire(timeout=LATE)
    broker.wait()
    assert broker.messages == [nudges.TASK]
    assert 0 < redis.pttl(nudges.KEY) <= nudges.LOST  # should the message be lost

    nudges.take_up()
    nudge()
    broker.wait()

    assert broker.messages == [nudges.TASK] * 2


@pytest.mark.django_db
def test_a_worker_takes_the_nudge_up_before_it_looks(redis: redis_py.Redis) -> None:
    """Else a promise committed between its look and that would wait for the sweep."""
    redis.set(nudges.KEY, 1)
    present: list[int] = []

    def look(execute: Any, *args: Any) -> Any:
        present.append(redis.exists(nudges.KEY))
        return execute(*args)

    with connection.execute_wrapper(look):
        outbox.deliver_due(clock=lambda: NOW)

    assert present == [0]


def test_without_redis_each_nudge_is_a_message(broker: Broker) -> None:
    for _again in range(2):
        nudge()
        broker.wait()

    assert broker.messages == [nudges.TASK] * 2


def test_an_outage_of_the_broker_is_one_line_in_the_log(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    away = iter([True, True, True, False, True, False])

    def treat() -> None:
        if next(away):
            raise ConnectionError("refused")

    broker.treat = treat
    caplog.set_level("INFO", nudges.logger.name)
    for _again in range(6):
        nudge()
        broker.wait()

    line = "The broker is away, nudges are left to the sweep: refused"
    logged = [record for record in caplog.records if record.name == nudges.logger.name]
    assert [record.getMessage() for record in logged] == [line, line]


def test_a_broker_that_hangs_holds_up_no_request(broker: Broker) -> None:
    broker.treat = lambda: broker.released.wait(LATE)
    nudge()
    broker.wait()

    for _again in range(100):
        nudge()
    assert broker.messages == [nudges.TASK]

    broker.released.set()
    broker.wait()
    assert broker.messages == [nudges.TASK] * 2


def test_a_process_without_a_free_thread_leaves_the_promise_to_the_sweep(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(nudges, "_sender", None)
        patch.setattr(threading, "Thread", Exhausted)
        nudge()
    assert broker.messages == []

    nudge()  # there is room again
    broker.wait()
