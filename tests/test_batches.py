"""Batches: claimed by one statement, sent in order, recorded together; killed at any step."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from mmap import mmap
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from groupbuy import channels, snapshots
from tests.factories import NOW, make_promise
from tests.racing import LATE, race
from trade.models import NotifyAttempt, NotifyTask
from trade.notify import endpoints, outbox, transports
from trade.notify.transports import Result

pytestmark = pytest.mark.django_db
State = NotifyTask.State
OK, DOWN = Result(status_code=200), Result("answered 500", status_code=500)
_numbers = itertools.count()


@pytest.fixture
def mall() -> str:
    """An endpoint to which nothing was sent yet."""
    return f"mall-{next(_numbers)}"


@pytest.fixture
def fast(mall: str) -> str:
    """An endpoint that gets large batches."""
    endpoints.acquire([mall])
    endpoints.release(mall, sent=endpoints.BATCH, seconds=0.01)
    return mall


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Any]], list[str]]:
    """Script the mall's answers; the returned list collects the keys that are sent."""

    def treat(with_key: Callable[[str], Any]) -> list[str]:
        sent: list[str] = []

        def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Any]:
            key = tasks[0].key
            sent.append(key)
            return {key: with_key(key) or OK}

        monkeypatch.setattr(transports, "send", send)
        return sent

    return treat


def make_promises(count: int, endpoint: str) -> list[str]:
    """Keys "0", "1", … in the order in which they came due."""
    for n in reversed(range(count)):
        due = NOW - timedelta(seconds=count - n)
        make_promise(str(n), endpoint=endpoint, next_attempt_at=due)
    return [str(n) for n in range(count)]


def deliver(now: datetime = NOW) -> int:
    return outbox.deliver_due(clock=lambda: now)


def states() -> list[tuple[str, int, int, int]]:
    """Key, state, attempts counted and attempts kept."""
    rows = NotifyTask.objects.order_by("key")
    return [(row.key, row.state, row.attempts, row.tries.count()) for row in rows]


DELIVERED = [(str(n), State.DELIVERED, 1, 1) for n in range(5)]


def test_a_batch_is_a_claim_and_a_record_of_few_statements(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_promises(5, fast)
    sent = send(lambda key: None)
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    channels.known()  # copied into the process

    with CaptureQueriesContext(connection) as queries:
        assert deliver() == 5

    assert sent == keys
    assert states() == DELIVERED
    statements = [query["sql"].replace('"', "`") for query in queries]
    kinds = [sql.split()[0] for sql in statements if sql.split()[0] not in ("SAVEPOINT", "RELEASE")]
    assert kinds == ["SELECT", "UPDATE", "UPDATE", "INSERT"]  # look, claim, record


def test_a_failure_ends_its_batch_and_the_rest_is_due_again(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_promises(5, fast)
    during: list[list[tuple[str, int]]] = []

    def with_key(key: str) -> Result | None:
        if key == "3":  # the first one after the failure
            due = NotifyTask.objects.filter(next_attempt_at__lte=NOW)
            during.append(sorted(due.values_list("key", "attempts")))
        return DOWN if key == "2" else None

    sent = send(with_key)
    assert deliver() == 5

    assert sent == ["0", "1", "2", "3", "4"]
    assert during == [[("4", 0)]]  # a failing endpoint gets one at a time
    assert states() == [*DELIVERED[:2], ("2", State.RETRYING, 1, 1), *DELIVERED[3:]]


def test_a_promise_that_is_refused_leaves_its_endpoint_healthy(fast: str, send: Any) -> None:
    """One mall without a queue does not slow down the other malls that RabbitMQ serves."""
    make_promises(1, fast)
    send(lambda key: Result("no queue is bound", is_endpoint_failing=False))
    deliver()

    [*_, (_key, state, attempts, kept)] = states()
    assert (state, attempts, kept) == (State.RETRYING, 1, 1)
    assert endpoints.acquire([fast, f"{fast}-other"])[0] == fast  # a failing one comes last
    endpoints.release(fast)


def test_after_half_of_the_lease_the_rest_is_due_again(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LEASE", timedelta(0))
    make_promises(3, fast)
    recorded: list[int] = []

    def with_key(key: str) -> None:
        recorded.append(NotifyTask.objects.filter(state=State.DELIVERED).count())

    send(with_key)
    assert deliver() == 3

    assert recorded == [0, 1, 2]


def test_other_endpoints_are_left_to_another_thread(
    mall: str, send: Any, nudged: list[None]
) -> None:
    make_promise("first", endpoint=mall, next_attempt_at=NOW - timedelta(seconds=1))
    make_promise("second", endpoint=f"{mall}-second")
    nudges_at: list[tuple[str, int]] = []
    send(lambda key: nudges_at.append((key, len(nudged))))

    assert deliver() == 2
    assert nudges_at == [("first", 1), ("second", 1)]


def test_a_delivery_whose_time_is_up_leaves_the_rest_to_another_one(
    mall: str, send: Any, nudged: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_promises(2, mall)
    sent = send(lambda key: monkeypatch.setattr(outbox, "SWEEP", 15))
    monkeypatch.setattr(outbox, "SWEEP", 0)

    assert deliver() == 0
    assert (sent, nudged) == ([], [None])


def test_one_endpoint_gets_few_batches_at_once(
    mall: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a dead endpoint holds its sends, another one's promise goes through."""
    monkeypatch.setattr(endpoints, "SLICE", 0)  # both are slow
    make_promises(6, mall)
    make_promise("alive", endpoint=f"{mall}-alive")
    sent = send(lambda key: deliver() and None)  # another worker thread, while this one waits
    deliver()

    assert sent[: endpoints.AT_ONCE + 1] == ["0", "1", "2", "3", "alive"]
    assert sorted(sent) == ["0", "1", "2", "3", "4", "5", "alive"]


def test_a_promise_whose_nudge_found_no_slot_is_sent_by_the_batch_that_held_it(
    fast: str, send: Any
) -> None:
    [first] = make_promises(1, fast)
    nudged: list[int] = []

    def with_key(key: str) -> None:
        if key == first:
            make_promise("late", endpoint=fast, next_attempt_at=NOW)
            nudged.append(outbox.deliver_due(clock=lambda: NOW, new=True))

    sent = send(with_key)
    assert deliver() == 2

    assert (nudged, sent) == ([0], [first, "late"])


def test_an_endpoint_without_a_slot_hides_no_other(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _due() looks at promises of endpoints that are closed, too."""
    monkeypatch.setattr(outbox, "WINDOW", 2)
    make_promises(3, fast)
    make_promise("other", endpoint=f"{fast}-other")
    sent = send(lambda key: None)
    endpoints.acquire([fast])

    assert deliver() == 1

    assert sent == ["other"]
    endpoints.release(fast)


@pytest.mark.django_db(transaction=True)
def test_threads_that_claim_together_keep_the_limit(
    mall: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "SLICE", 0)
    keys = make_promises(3 * endpoints.AT_ONCE, mall)
    together = threading.Barrier(endpoints.AT_ONCE)
    lock, sending, most = threading.Lock(), 0, 0

    def count(key: str) -> None:
        nonlocal sending, most
        with lock:
            sending += 1
            most = max(most, sending)
        together.wait(LATE)
        with lock:
            sending -= 1

    sent = send(count)
    race(*[deliver] * 8)

    assert most == endpoints.AT_ONCE
    assert sorted(sent) == sorted(keys)
    assert NotifyAttempt.objects.filter(error="").count() == len(keys)


@pytest.mark.django_db(transaction=True)
def test_a_failing_endpoint_gets_one_promise_and_one_thread_at_a_time(mall: str, send: Any) -> None:
    endpoints.acquire([mall])
    endpoints.release(mall, sent=1, failed=True)
    make_promises(4, mall)
    done = threading.Semaphore(0)
    at_once: list[int] = []

    def fail(key: str) -> Result:
        if not at_once:
            for _other in range(3):
                assert done.acquire(timeout=LATE)  # the other threads found nothing to do
        at_once.append(NotifyTask.objects.filter(next_attempt_at__gt=NOW, attempts=0).count())
        return DOWN

    def worker() -> int:
        tried = deliver()
        done.release()
        return tried

    send(fail)

    assert sorted(race(*[worker] * 4)) == [0, 0, 0, 4]
    assert at_once == [1, 1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_another_worker_wins_is_not_sent(fast: str, send: Any) -> None:
    """A cluster of databases: the answer to the claim is that another node was first."""
    make_promises(2, fast)
    sent = send(lambda key: None)

    def other_wins() -> None:
        NotifyTask.objects.filter(key="0").update(next_attempt_at=NOW + outbox.LEASE)

    with connection.execute_wrapper(Breaking("UPDATE", other_wins)):
        assert deliver() == 1

    assert sent == ["1"]


@pytest.mark.django_db(transaction=True)
def test_a_claim_whose_answer_is_lost_is_sent(fast: str, send: Any) -> None:
    """Mutation: the second try of the claim has a lease of its own."""
    keys = make_promises(2, fast)
    sent = send(lambda key: None)

    with connection.execute_wrapper(Breaking("UPDATE", lambda: None, is_done=True)):
        assert deliver() == 2

    assert sent == keys
    assert states() == DELIVERED[:2]


def test_attempts_that_an_operator_resets_during_a_send_stay_reset(fast: str, send: Any) -> None:
    """Mutation: _record() counts a failure whatever the promise's attempts are by now."""
    make_promise("0", endpoint=fast, state=State.RETRYING, attempts=7)
    send(lambda key: DOWN)

    def requeue(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if sql.startswith("SELECT"):
            outbox.requeue(NotifyTask.objects.all(), now=NOW)
        return result

    with connection.execute_wrapper(Once(requeue)):
        assert deliver() == 1

    assert states() == [("0", State.NEW, 0, 1)]


@pytest.mark.django_db(transaction=True)
def test_an_outcome_that_does_not_commit_is_recorded_again(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: the attempts keep the primary keys of the transaction that was rolled back."""
    keys = make_promises(5, fast)
    sent = send(lambda key: None)
    other = make_promise("other", endpoint="other", next_attempt_at=None, state=State.DELIVERED)
    commit, broken = connection.commit, list[None]()

    def break_once() -> None:
        if NotifyAttempt.objects.count() != 5 or broken:
            return commit()
        broken.append(None)
        connection.rollback()
        NotifyAttempt.objects.create(task=other, number=1, started_at=NOW, duration_ms=1)
        raise OperationalError(1213, "x")

    monkeypatch.setattr(connection, "commit", break_once)
    assert deliver() == 5

    assert broken == [None]
    assert sent == keys
    assert states()[:5] == DELIVERED


class Once:
    """Wraps the first statement only."""

    def __init__(self, wrap: Callable[..., Any]) -> None:
        self.wrap, self.is_over = wrap, False

    def __call__(self, execute: Any, *args: Any) -> Any:
        if self.is_over:
            return execute(*args)
        self.is_over = True
        return self.wrap(execute, *args)


class Breaking:
    """Fails the first statement of this kind, carried out or not, as a lost certification does."""

    def __init__(self, kind: str, meanwhile: Callable[[], Any], *, is_done: bool = False) -> None:
        self.kind, self.meanwhile, self.is_done, self.is_over = kind, meanwhile, is_done, False

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if self.is_over or not sql.startswith(self.kind):
            return execute(sql, *args)
        self.is_over = True
        if self.is_done:
            execute(sql, *args)
        self.meanwhile()
        raise OperationalError(1213, "x")


class Killed(BaseException):
    """The process dies: nothing catches this, and the database rolls back."""


class Killer:
    """Kills at the nth step; a step is what precedes or follows a statement or a send.

    forks: the process is a real one, and gets SIGKILL.
    """

    def __init__(self, at: int | None = None, *, forks: bool = False) -> None:
        self.at, self.count, self.forks = at, 0, forks

    def step(self) -> None:
        self.count += 1
        if self.count - 1 == self.at:
            if self.forks:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("BEGIN"):
            return execute(sql, *args)
        self.step()
        result = execute(sql, *args)
        self.step()
        return result


def deliver_in_a_process() -> None:
    """Deliver in a process with a connection of its own, and wait until it is killed."""
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        return
    try:
        inherited, connection.connection = connection.connection, None  # closing it would end ours
        deliver()
        del inherited
    finally:
        os._exit(0)


def deliver_until_killed(endpoint: str, monkeypatch: pytest.MonkeyPatch, killer: Killer) -> mmap:
    """Deliver three promises; 1 fails the first time. Returns how often each arrived."""
    received = mmap(-1, 3)  # shared with a forked process

    def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Any]:
        number = int(tasks[0].key)
        killer.step()
        received[number] += 1
        killer.step()
        return {tasks[0].key: DOWN if (number, received[number]) == (1, 1) else OK}

    make_promises(3, endpoint)
    monkeypatch.setattr(transports, "send", send)
    with connection.execute_wrapper(killer), suppress(Killed):
        deliver_in_a_process() if killer.forks else deliver()
    killer.at = None
    return received


IN_MEMORY = "a process has a copy of its own of SQLite's database in memory"
ON_MARIADB = pytest.mark.skipif(connection.vendor != "mysql", reason=IN_MEMORY)


@pytest.mark.parametrize("forks", [False, pytest.param(True, marks=ON_MARIADB, id="SIGKILL")])
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_at_any_step_loses_nothing(
    fast: str, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    """Each notification arrives, and at most once from each worker."""
    steps = Killer()
    deliver_until_killed(fast, monkeypatch, steps)
    assert steps.count > 20

    for at in range(steps.count):
        NotifyTask.objects.all().delete()
        endpoints.acquire([fast])
        endpoints.release(fast, sent=endpoints.BATCH, seconds=0.01)

        received = deliver_until_killed(fast, monkeypatch, Killer(at, forks=forks))
        deliver(NOW + outbox.LEASE)
        deliver(NOW + timedelta(hours=1))

        assert {key for key, state, *_ in states() if state == State.DELIVERED} == {"0", "1", "2"}
        assert received[0] in (1, 2), at
        assert received[1] in (2, 3), at
        assert received[2] in (1, 2), at
        assert all(counted == kept for *_, counted, kept in states()), at


def test_a_worker_that_was_overtaken_changes_no_promise(
    fast: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutations: _record() without `leased`, for what was sent and for the rest."""
    monkeypatch.setattr(outbox, "LEASE", timedelta(microseconds=1))  # so one is sent, one is rest
    make_promises(2, fast)
    other_lease = NOW + timedelta(minutes=1)

    def overtake(_key: str) -> None:
        NotifyTask.objects.filter(key="0").update(next_attempt_at=other_lease)
        delivered = {"state": State.DELIVERED, "next_attempt_at": None, "attempts": 1}
        NotifyTask.objects.filter(key="1").update(**delivered)

    sent = send(overtake)
    assert deliver() == 1

    assert sent == ["0"]
    assert states() == [("0", State.NEW, 0, 1), ("1", State.DELIVERED, 1, 0)]
    kept = NotifyTask.objects.order_by("key").values_list("next_attempt_at", flat=True)
    assert list(kept) == [other_lease, None]
