"""The outbox: every promise is delivered, or visibly fails."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.factories import NOW, lock, make_activity, make_channel, make_promise, settle
from trade import tasks
from trade.endings import success_promise
from trade.models import NotifyAttempt, NotifyTask, Order
from trade.notify import outbox, transports
from trade.notify.transports import Result

pytestmark = pytest.mark.django_db
State = NotifyTask.State
OK, DOWN = Result(status_code=200), Result("answered 500", status_code=500)


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
    """Let every send end this way; returns a list to which the keys of sent promises are added."""

    def choose(result: Result | BaseException) -> list[str]:
        sent: list[str] = []

        def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Result]:
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
        outbox.record(success_promise(team, [], now=NOW))


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
    nudged: list[None], django_capture_on_commit_callbacks: Any
) -> None:
    make_activity(target_count=1)
    lock("a")

    with django_capture_on_commit_callbacks() as callbacks:
        settle("a")
    assert nudged == []
    for callback in callbacks:
        callback()

    assert nudged == [None]


@pytest.mark.django_db
def test_the_longest_host_has_an_endpoint() -> None:
    host = ".".join(["a" * 62] * 4)
    make_channel(callback_hosts=host)
    make_activity(target_count=1)
    lock("a", notify_url=f"https://{host}/")
    settle("a")

    assert NotifyTask.objects.get().endpoint == f"{host}:htt"


def test_a_bug_while_sending_counts_as_an_attempt_and_stops_no_sweep(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_promise("bug")
    make_promise("good")

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Result]:
        if tasks[0].key == "bug":
            raise ZeroDivisionError
        return {tasks[0].key: OK}

    monkeypatch.setattr(transports, "send", send)

    assert outbox.deliver_due(clock=clock) == 2
    assert dict(NotifyTask.objects.values_list("key", "state")) == {
        "bug": State.RETRYING,
        "good": State.DELIVERED,
    }
    assert NotifyAttempt.objects.get(task__key="bug").error.startswith("ZeroDivisionError")


def test_a_promise_is_changed_before_its_attempt_is_inserted(clock: Clock, outcome: Any) -> None:
    make_promise()
    outcome(OK)

    with CaptureQueriesContext(connection) as queries:
        outbox.deliver_due(clock=clock)

    written = [query["sql"].replace('"', "`") for query in queries]
    tables = [sql.split("`")[1] for sql in written if sql.startswith(("UPDATE", "INSERT"))]
    assert tables == ["trade_notifytask", "trade_notifytask", "trade_notifyattempt"]


def test_a_delivered_promise_is_sent_once(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    sent = outcome(Result(status_code=204))

    assert outbox.deliver_due(clock=clock, new=True) == 1
    assert outbox.deliver_due(clock=clock, new=True) == 0
    assert outbox.deliver_due(clock=clock) == 0

    task.refresh_from_db()
    attempt = NotifyAttempt.objects.get()
    assert sent == ["team_success-1"]
    assert (task.state, task.attempts, task.next_attempt_at) == (State.DELIVERED, 1, None)
    assert task.delivered_at == NOW
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 204, "")


def test_a_failed_promise_backs_off_and_is_given_up(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    sent = outcome(DOWN)
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
    sent = outcome(OK)
    make_promise(next_attempt_at=NOW + timedelta(microseconds=1))

    assert outbox.deliver_due(clock=clock) == 0
    assert sent == []


def test_retry_after_is_honoured(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(Result("answered 429", status_code=429, retry_after=90))

    outbox.deliver_due(clock=clock)

    task.refresh_from_db()
    assert task.next_attempt_at == NOW + timedelta(seconds=90)


def test_a_promise_to_a_receiver_that_is_gone_is_given_up(clock: Clock, outcome: Any) -> None:
    task = make_promise()
    outcome(Result("answered 410", status_code=410, final=True))

    outbox.deliver_due(clock=clock)

    task.refresh_from_db()
    assert (task.state, task.attempts, task.next_attempt_at) == (State.GIVEN_UP, 1, None)


def test_the_promise_of_a_dead_worker_is_due_again_when_its_lease_ends(
    clock: Clock, outcome: Any
) -> None:
    task = make_promise()
    outcome(SystemExit())  # a worker that dies while it sends
    with pytest.raises(SystemExit):
        outbox.deliver_due(clock=clock)
    sent = outcome(OK)

    clock.now = NOW + outbox.LEASE - timedelta(seconds=1)
    assert outbox.deliver_due(clock=clock) == 0
    clock.now = NOW + outbox.LEASE
    assert outbox.deliver_due(clock=clock) == 1

    task.refresh_from_db()
    assert (sent, task.state, task.attempts) == (["team_success-1"], State.DELIVERED, 1)


def test_a_worker_whose_lease_has_expired_does_not_overwrite_the_outcome(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_promise(endpoint="overtaken")
    results: Iterator[Result] = iter([DOWN, OK])

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Result]:
        result = next(results)
        if result is DOWN:
            clock.now = NOW + outbox.LEASE
            outbox.deliver_due(clock=clock)  # another worker, meanwhile
        return {tasks[0].key: result}

    monkeypatch.setattr(transports, "send", send)
    outbox.deliver_due(clock=clock)

    task.refresh_from_db()
    assert (task.state, task.attempts, task.next_attempt_at) == (State.DELIVERED, 1, None)
    assert NotifyAttempt.objects.count() == 2


def test_a_nudge_delivers_only_what_came_due_within_the_last_minute(
    clock: Clock, outcome: Any
) -> None:
    make_promise("old", endpoint="a", next_attempt_at=NOW - outbox.NEW)
    make_promise("new", endpoint="b", next_attempt_at=NOW - outbox.NEW + timedelta(seconds=1))
    sent = outcome(OK)

    assert outbox.deliver_due(clock=clock, new=True) == 1
    assert sent == ["new"]
    assert outbox.deliver_due(clock=clock) == 1
    assert sent == ["new", "old"]


def test_requeue_works_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PIECE", 2)
    for n in range(7):
        make_promise(str(n), state=State.DELIVERED, next_attempt_at=None)

    assert outbox.requeue(NotifyTask.objects.exclude(key="3"), now=NOW) == 6

    assert NotifyTask.objects.filter(state=State.NEW, next_attempt_at=NOW).count() == 6
    assert outbox.requeue(NotifyTask.objects.none(), now=NOW) == 0


def test_requeue_passes_over_what_is_not_chosen(django_assert_num_queries: Any) -> None:
    """Mutation: it goes through all keys from the first to the last."""
    for pk in (1, 100_000):
        make_promise(str(pk), pk=pk, state=State.GIVEN_UP, next_attempt_at=None)

    with django_assert_num_queries(4):  # the newest, the keys, the promises, no more keys
        assert outbox.requeue(NotifyTask.objects.all(), now=NOW) == 2


def test_requeue_leaves_out_what_is_promised_meanwhile() -> None:
    """Mutation: it goes on as long as it finds newer ones."""
    make_promise("old", state=State.DELIVERED, next_attempt_at=None)

    def promise(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE"):
            make_promise("new", state=State.DELIVERED, next_attempt_at=None)
        return execute(sql, *args)

    with connection.execute_wrapper(promise):
        assert outbox.requeue(NotifyTask.objects.all(), now=NOW) == 1


@pytest.mark.django_db(transaction=True)
def test_requeue_repeats_a_piece_that_deadlocks_with_a_worker() -> None:
    make_promise(state=State.GIVEN_UP, next_attempt_at=None)
    collisions = iter([OperationalError(1213, "Deadlock found")])

    def collide(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and (collision := next(collisions, None)):
            raise collision
        return execute(sql, *args)

    with connection.execute_wrapper(collide):
        assert outbox.requeue(NotifyTask.objects.all(), now=NOW) == 1
    assert NotifyTask.objects.get().state == State.NEW


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
    again: list[str] = []
    tried = iter([5, 0])

    def deliver_due(*, clock: Any) -> int:
        return next(tried)

    sweep = tasks.deliver_due_notifications
    monkeypatch.setattr(outbox, "deliver_due", deliver_due)
    monkeypatch.setattr(sweep, "apply_async", lambda **options: again.append(sweep.name))

    assert (sweep(), again) == (5, [sweep.name])
    assert (sweep(), again) == (0, [sweep.name])
