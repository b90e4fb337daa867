"""The outbox: what is promised is delivered, or seen to have failed."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from celery import current_app
from celery.signals import worker_init
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.factories import NOW, lock, make_activity, make_promise, settle
from tests.racing import race
from trade import tasks
from trade.models import NotifyAttempt, NotifyTask, Order
from trade.notify import endpoints, nudges, outbox, transports
from trade.notify.transports import Failure

pytestmark = pytest.mark.django_db
State = NotifyTask.State


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    """Let every send end this way; returns the list of keys that will have been sent."""

    def choose(result: int | Failure | BaseException) -> list[str]:
        sent: list[str] = []

        def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, int | Failure]:
            sent.append(tasks[0].key)
            if isinstance(result, BaseException):
                raise result
            return {tasks[0].key: result}

        monkeypatch.setattr(transports, "send", send)
        return sent

    return choose


def test_record_refuses_to_run_outside_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    team = lock("a").team
    monkeypatch.setattr(transaction.get_connection(), "in_atomic_block", False)

    with pytest.raises(RuntimeError, match="outside a transaction"):
        outbox.record(
            NotifyTask.Event.TEAM_SUCCESS, key="k", team=team, url="", payload={}, now=NOW
        )


def test_a_rolled_back_change_leaves_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity(target_count=1)
    lock("a")

    def crash(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("trade.settle.rows.update", crash)
    with pytest.raises(ZeroDivisionError):
        settle("a")

    assert NotifyTask.objects.count() == 0
    assert Order.objects.get().status == Order.Status.LOCKED


def test_a_completing_payment_nudges_after_its_commit(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    nudged: list[int] = []
    monkeypatch.setattr(outbox, "nudge", nudged.append)
    make_activity(target_count=1)
    lock("a")

    with django_capture_on_commit_callbacks() as callbacks:
        settle("a")
    assert nudged == []
    for callback in callbacks:
        callback()

    assert nudged == [NotifyTask.objects.get().pk]


def test_a_nudge_names_a_task_that_exists() -> None:
    assert tasks.deliver_notification.name == nudges.TASK


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """A broker that treats send_task as told; a queue and a sender thread of the test's own."""
    monkeypatch.setattr(nudges, "_queue", queue.Queue(3))
    monkeypatch.setattr(nudges, "_sender", None)
    released = threading.Event()

    def treat(behaviour: Any) -> None:
        monkeypatch.setattr(current_app, "send_task", behaviour)

    treat.released = released  # type: ignore[attr-defined]
    yield treat
    released.set()


def test_nudges_are_sent_by_a_thread_that_outlives_a_broker_that_is_away(broker: Any) -> None:
    sent: list[int] = []

    def away_once(task: str, args: list[int], **options: Any) -> None:
        sent.append(args[0])
        if len(sent) == 1:
            raise ConnectionError

    broker(away_once)
    for task_id in (1, 2, 3):
        nudges.nudge(task_id)
        nudges._queue.join()

    assert sent == [1, 2, 3]


def test_an_outage_of_the_broker_is_one_line_in_the_log(
    broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    away = iter([True, True, True, False, True])

    def send(*args: Any, **options: Any) -> None:
        if next(away):
            raise ConnectionError("refused")

    broker(send)
    caplog.set_level("INFO", nudges.logger.name)
    for task_id in range(5):
        nudges.nudge(task_id)
        nudges._queue.join()

    line = "The broker is away, nudges are left to the sweep: refused"
    assert [record.getMessage() for record in caplog.records] == [line, line]


def test_the_nudges_of_a_sweep_are_one(broker: Any) -> None:
    sent: list[tuple[str, list[int]]] = []
    broker(lambda task, args, **options: sent.append((task, args)))

    with nudges.bundled():
        nudges.nudge(1)
        nudges.nudge(2)
        assert nudges._queue.empty()
    with nudges.bundled():
        pass  # nothing was promised
    nudges.nudge(3)
    nudges._queue.join()

    assert sent == [(tasks.deliver_due_notifications.name, []), (nudges.TASK, [3])]


def test_a_broker_that_hangs_holds_up_no_request(broker: Any) -> None:
    broker(lambda *args, **options: broker.released.wait(10))
    started = time.monotonic()

    for task_id in range(100):  # more than the queue holds: the rest is the sweep's
        nudges.nudge(task_id)

    assert time.monotonic() - started < 1


def test_a_bug_while_sending_counts_as_an_attempt_and_stops_no_sweep(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_promise("bug")
    make_promise("good")

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, int]:
        return {tasks[0].key: 1 // 0 if tasks[0].key == "bug" else 200}

    monkeypatch.setattr(transports, "send", send)

    assert outbox.deliver_due(clock=clock) == 2
    assert dict(NotifyTask.objects.values_list("key", "state")) == {
        "bug": State.RETRYING,
        "good": State.DELIVERED,
    }
    assert NotifyAttempt.objects.get(task__key="bug").error.startswith("ZeroDivisionError")


def test_a_promise_is_changed_before_its_attempt_is_inserted(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(200)

    with CaptureQueriesContext(connection) as queries:
        outbox.deliver(task.pk, clock=clock)

    written = [query["sql"].replace('"', "`") for query in queries]
    tables = [sql.split("`")[1] for sql in written if sql.startswith(("UPDATE", "INSERT"))]
    assert tables == ["trade_notifytask", "trade_notifytask", "trade_notifyattempt"]


def test_a_delivered_promise_is_sent_once(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    sent = outcome(204)

    assert outbox.deliver(task.pk, clock=clock) is True
    assert outbox.deliver(task.pk, clock=clock) is False
    assert outbox.deliver_due(clock=clock) == 0

    task.refresh_from_db()
    attempt = NotifyAttempt.objects.get()
    assert sent == ["team_success-1"]
    assert (task.state, task.attempts, task.next_attempt_at) == (State.DELIVERED, 1, None)
    assert task.delivered_at == NOW
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 204, "")


def test_a_failed_promise_backs_off_and_is_given_up(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    sent = outcome(Failure("answered 500", status_code=500))
    waits = []

    for _attempt in range(20):
        if outbox.deliver_due(clock=clock) == 0:
            break
        task.refresh_from_db()
        if task.next_attempt_at is None:
            break
        waits.append((task.next_attempt_at - clock.now).total_seconds())
        assert task.state == State.RETRYING
        clock.now = task.next_attempt_at

    assert len(sent) == 8
    for wait, backoff in zip(waits, outbox.BACKOFF, strict=True):
        assert backoff <= wait <= backoff * 1.2
    assert (task.state, task.last_error) == (State.GIVEN_UP, "answered 500")
    assert list(NotifyAttempt.objects.values_list("number", flat=True)) == list(range(1, 9))


def test_nothing_is_tried_before_its_time(clock: Clock, outcome: Any) -> None:
    sent = outcome(200)
    make_promise(next_attempt_at=NOW + timedelta(microseconds=1))

    assert outbox.deliver_due(clock=clock) == 0
    assert sent == []


def test_retry_after_is_honoured(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(Failure("answered 429", status_code=429, retry_after=90))

    outbox.deliver_due(clock=clock)

    task.refresh_from_db()
    assert task.next_attempt_at == NOW + timedelta(seconds=90)


def test_a_receiver_that_is_gone_is_left_alone(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(Failure("answered 410", status_code=410, final=True))

    outbox.deliver_due(clock=clock)

    task.refresh_from_db()
    assert (task.state, task.attempts, task.next_attempt_at) == (State.GIVEN_UP, 1, None)


def test_a_dead_workers_promise_comes_back_when_its_lease_ends(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(SystemExit())  # a worker that dies while it sends
    with pytest.raises(SystemExit):
        outbox.deliver(task.pk, clock=clock)
    sent = outcome(200)

    clock.now = NOW + outbox.LEASE - timedelta(microseconds=1)
    assert outbox.deliver_due(clock=clock) == 0
    clock.now = NOW + outbox.LEASE
    assert outbox.deliver_due(clock=clock) == 1

    task.refresh_from_db()
    assert (sent, task.state, task.attempts) == (["team_success-1"], State.DELIVERED, 2)


def test_a_worker_whose_lease_has_passed_on_does_not_overwrite_the_outcome(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_promise()

    def slow(promises: Sequence[NotifyTask], *, now: datetime) -> dict[str, Failure]:
        monkeypatch.setattr(transports, "send", lambda promises, now: {task.key: 200})
        clock.now = NOW + outbox.LEASE
        outbox.deliver(task.pk, clock=clock)  # somebody else, meanwhile
        return {task.key: Failure("answered 500", status_code=500)}

    monkeypatch.setattr(transports, "send", slow)
    outbox.deliver(task.pk, clock=clock)

    task.refresh_from_db()
    assert (task.state, task.next_attempt_at) == (State.DELIVERED, None)
    assert NotifyAttempt.objects.count() == 2


@pytest.mark.usefixtures("_free_endpoints")
def test_one_endpoint_gets_few_sends_at_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a dead endpoint holds its sends, another one's promise goes through."""
    for n in range(6):
        make_promise(f"dead-{n}", endpoint="dead", next_attempt_at=NOW - timedelta(seconds=9 - n))
    make_promise("alive", endpoint="alive", next_attempt_at=NOW)
    sent: list[str] = []

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, int]:
        sent.append(tasks[0].key)
        outbox.deliver_due(clock=clock)  # another worker thread, while this one waits
        return {tasks[0].key: 200}

    monkeypatch.setattr(transports, "send", send)
    outbox.deliver_due(clock=clock)

    assert sent[: endpoints.AT_ONCE + 1] == ["dead-0", "dead-1", "dead-2", "dead-3", "alive"]
    assert sorted(sent) == ["alive", *(f"dead-{n}" for n in range(6))]


@pytest.mark.usefixtures("_free_endpoints")
def test_who_meets_a_busy_endpoint_is_served_by_whoever_is_done_there(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nudge comes once; refused because of too many sends, it must not wait for the sweep."""
    waiting = [make_promise(str(n), endpoint="mall").pk for n in range(endpoints.AT_ONCE + 2)]
    sent: list[str] = []
    refused: list[str] = []

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, int]:
        sent.append(tasks[0].key)
        while waiting:  # other worker threads get their nudges while this one sends
            task_id = waiting.pop(0)
            if not outbox.deliver(task_id, clock=clock):
                refused.append(NotifyTask.objects.get(pk=task_id).key)
        return {tasks[0].key: 200}

    monkeypatch.setattr(transports, "send", send)
    outbox.deliver(waiting.pop(0), clock=clock)

    assert (sent, refused) == (["0", "1", "2", "3", "4", "5"], ["4", "5"])
    assert not NotifyTask.objects.exclude(state=State.DELIVERED).exists()


@pytest.fixture
def _free_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """No place is taken and nobody fails, whatever other tests have left."""
    monkeypatch.setattr(endpoints, "_in_flight", Counter())
    monkeypatch.setattr(endpoints, "_failing", set())
    monkeypatch.setattr(endpoints, "_waiting", {})


@pytest.mark.usefixtures("_free_endpoints")
def test_a_failing_endpoint_has_one_place_until_it_succeeds() -> None:
    assert [endpoints.take("host") for _ in range(5)] == [True, True, True, True, False]
    assert endpoints.busy() == {"host"}
    for _ in range(4):
        endpoints.give_back("host")
    endpoints.remember("host", failed=True)

    assert [endpoints.take("host") for _ in range(2)] == [True, False]
    endpoints.remember("host", failed=False)
    assert endpoints.take("host")


@pytest.mark.usefixtures("_free_endpoints")
def test_some_threads_are_never_for_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_at_all", 6)
    endpoints.leave_spare(5)

    assert [endpoints.take(f"host-{n}") for n in range(4)] == [True, True, True, False]
    assert endpoints.full()
    assert endpoints.wait("another")
    assert endpoints.next_waiting() is None
    endpoints.give_back("host-0")
    assert endpoints.next_waiting() == "another"


def test_a_worker_keeps_threads_free_for_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_at_all", 6)

    worker_init.send(sender=Mock(concurrency=5))

    assert endpoints._at_all == 3


@pytest.mark.usefixtures("_free_endpoints")
def test_who_waits_is_served_in_turn_and_a_failing_endpoint_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endpoints, "_at_all", 6)
    endpoints.leave_spare(99)
    for host in ("a", "b", "c"):
        while endpoints.take(host):
            pass
        endpoints.give_back(host)
        endpoints.wait_again(host)
    endpoints.remember("a", failed=True)

    assert endpoints.next_waiting() == "b"
    endpoints.wait_again("b")
    assert [endpoints.next_waiting() for _ in range(3)] == ["c", "b", None]
    assert endpoints.wait("b") is False  # a place is free: claim it


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_free_endpoints")
@pytest.mark.parametrize(("fails", "at_once"), [(False, endpoints.AT_ONCE), (True, 1)])
def test_threads_that_claim_together_keep_the_limit(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, fails: bool, at_once: int
) -> None:
    monkeypatch.setattr(endpoints, "_at_all", 8)
    endpoints.remember("mall", failed=fails)
    for n in range(12):
        make_promise(str(n), endpoint="mall")
    lock, sending, most = threading.Lock(), 0, 0

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, int | Failure]:
        nonlocal sending, most
        with lock:
            sending += 1
            most = max(most, sending)
        time.sleep(0.05)
        with lock:
            sending -= 1
        return {tasks[0].key: Failure("down") if fails else 200}

    monkeypatch.setattr(transports, "send", send)
    race(*[lambda: outbox.deliver_due(clock=clock)] * 8)

    assert most == at_once
    assert NotifyAttempt.objects.count() == 12


def test_requeue_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PIECE", 2)
    for n in range(7):
        make_promise(str(n), state=State.DELIVERED, next_attempt_at=None)

    assert outbox.requeue(NotifyTask.objects.exclude(key="3"), now=NOW) == 6

    assert NotifyTask.objects.filter(state=State.NEW, next_attempt_at=NOW).count() == 6
    assert outbox.requeue(NotifyTask.objects.none(), now=NOW) == 0


def test_requeue_gives_a_full_set_of_attempts(clock: Clock, outcome: Any) -> None:
    given_up = make_promise("given-up", state=State.GIVEN_UP, attempts=8, next_attempt_at=None)
    waiting = make_promise("new", next_attempt_at=NOW + timedelta(seconds=30))
    later = NOW + timedelta(hours=1)

    assert outbox.requeue(NotifyTask.objects.all(), now=later) == 1

    given_up.refresh_from_db()
    waiting.refresh_from_db()
    assert (given_up.state, given_up.attempts, given_up.next_attempt_at) == (0, 0, later)
    assert waiting.next_attempt_at == NOW + timedelta(seconds=30)


def test_the_tasks_call_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(outbox, "deliver", lambda task_id, clock: calls.append(task_id))
    monkeypatch.setattr(outbox, "deliver_due", lambda clock: calls.append("due"))

    tasks.deliver_notification(7)
    tasks.deliver_due_notifications()

    assert calls == [7, "due"]
