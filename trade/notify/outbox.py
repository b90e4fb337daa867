"""The outbox (本地消息表): a notification is written with its change and sent after the commit.

A promise is such a notification, until it is delivered or given up.

record()       called inside the transaction that makes the event true
deliver_due()  called by Celery every few seconds for all due promises, and by the worker's sending
               threads right after a commit (the nudge) for the new ones
requeue()      makes promises due again, for operators

One UPDATE claims a batch of promises to one endpoint. One transaction records the outcomes. After
a failure retry_or_give_up() sets the next attempt by BACKOFF. It gives a promise up after the
eighth attempt, after a 410, or if it has no destination.
Delivery is at least once. The receiver recognises copies by NotifyTask.key.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Max, QuerySet

from groupbuy import rows, tracing
from trade import metrics
from trade.models import NotifyAttempt, NotifyTask
from trade.notify import connections, endpoints, nudges, rabbitmq, transports
from trade.notify.transports import Result

logger = logging.getLogger(__name__)

BACKOFF = (5, 30, 120, 600, 1800, 7200, 21600)  # seconds after the 1st, 2nd, ... failure
LONGEST_RETRY_AFTER = 24 * 3600  # seconds; a receiver may ask for no more
LEASE = timedelta(seconds=6 * transports.TIMEOUT)  # after half of it no further send starts
SWEEP = 15  # seconds after which deliver_due() leaves the rest to its next call
NEW = timedelta(minutes=1)  # a nudge sends what came due within this time
WINDOW = 250  # due promises looked at to make a batch
PIECE = 1000  # promises made due again at once
State = NotifyTask.State
Tasks = Sequence[NotifyTask]
Try = tuple[NotifyAttempt, Result]
Clock = Callable[[], datetime]
Send = Callable[..., Mapping[str, Result]]  # transports.send, or what takes its place


def record(task: NotifyTask) -> None:
    """Write a promise. Must run in the transaction that makes its event true."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("outbox.record() outside a transaction")
    rows.insert(task)
    if task.target:
        transaction.on_commit(nudges.nudge, robust=True)


def deliver_due(*, clock: Clock, new: bool = False, send: Send | None = None) -> int:
    """Send the due promises and return how many were tried.

    With `new`, only those that came due within NEW, so that a nudge skips the backlog of failing
    endpoints. `send` replaces transports.send in simulations.
    """
    tried, taken = 0, set[int]()  # taken: those that other workers have claimed
    stop = time.monotonic() + SWEEP
    connections.close_old()
    rabbitmq.close_idle()
    while time.monotonic() < stop:
        now = clock()
        window = list(_due(now, taken, new=new)[:WINDOW])
        names = Counter(task.endpoint for task in window)
        endpoint, size = endpoints.acquire(names)
        if not size:
            return tried
        tasks = [task for task in window if task.endpoint == endpoint][:size]
        others = names - Counter({endpoint: size})
        if len(window) == WINDOW or others.keys() - endpoints.closed():
            nudges.nudge()  # another thread sends those of the rest that are new
        sent = _deliver(endpoint, tasks, now, clock, send or transports.send)
        tried += sent
        if sent == len(window) < WINDOW and not endpoints.passed_over():
            return tried  # a nudge or a sweep delivers what has come due since
        if not sent:
            taken.update(task.pk for task in tasks)
    nudges.nudge()  # another thread goes on
    return tried


def requeue(tasks: QuerySet[NotifyTask], *, now: datetime) -> int:
    """Make promises due again, with all attempts left; return how many. New ones are due anyway.

    It updates them in small pieces, so that workers that send these promises do not wait. Outside a
    transaction a piece that collides with one is repeated.
    """
    inside = transaction.get_connection().in_atomic_block
    newest = tasks.order_by().aggregate(pk=Max("pk"))["pk"] or 0  # later ones would have no end
    again = tasks.exclude(state=State.NEW).filter(pk__lte=newest).order_by("pk")
    last, count = 0, 0
    due = {"state": State.NEW, "attempts": 0, "next_attempt_at": now}
    while keys := list(again.filter(pk__gt=last).values_list("pk", flat=True)[:PIECE]):
        update = partial(again.order_by().filter(pk__in=keys).update, **due)
        count += update() if inside else rows.retry(update)
        last = keys[-1]
    return count


def _due(now: datetime, taken: Collection[int], *, new: bool) -> QuerySet[NotifyTask]:
    due = NotifyTask.objects.filter(next_attempt_at__lte=now).exclude(pk__in=taken)
    if new:
        due = due.filter(next_attempt_at__gt=now - NEW)
    return due.exclude(endpoint__in=endpoints.closed(passing_over=True)).order_by("next_attempt_at")


def _deliver(endpoint: str, tasks: Tasks, now: datetime, clock: Clock, send: Send) -> int:
    """Claim, send and record a batch, free its slot, and return how many were tried."""
    started, tries = time.monotonic(), list[Try]()
    lease = now + LEASE - timedelta(microseconds=random.randrange(1_000_000))  # noqa: S311
    try:
        if claimed := rows.retry(lambda: _claim(tasks, now, lease)):
            tries += _tries(claimed, started + LEASE.total_seconds() / 2, clock, send)
            rows.retry(lambda: _record(lease, claimed, tries, clock()))
            for attempt, result in tries:
                metrics.count_attempt(attempt, is_last=_is_last(attempt, result))
    finally:
        seconds = time.monotonic() - started
        failed = any(result.error and result.is_endpoint_failing for _attempt, result in tries)
        endpoints.release(endpoint, sent=len(tries), seconds=seconds, failed=failed)
    return len(tries)


def _claim(tasks: Tasks, now: datetime, lease: datetime) -> Tasks:
    """Take a lease on the promises that are still due, and return these.

    If this worker dies, they come due again when the lease ends. The random microsecond of the
    lease identifies the worker; if two workers choose the same one, a promise is sent twice, with
    the same key.
    """
    rows_of = NotifyTask.objects.filter(pk__in=[task.pk for task in tasks])
    if rows_of.filter(next_attempt_at__lte=now).update(next_attempt_at=lease) == len(tasks):
        return tasks
    mine = set(rows_of.filter(next_attempt_at=lease).values_list("pk", flat=True))
    return [task for task in tasks if task.pk in mine]


def _tries(tasks: Tasks, until: float, clock: Clock, send: Send) -> Iterator[Try]:
    """Send these promises until a send fails or time.monotonic() reaches `until`."""
    while tasks:
        started, started_at = time.monotonic(), clock()
        try:
            results = send(tasks, now=started_at)
        except Exception as exc:
            # An exception counts as a failed attempt, so that the promise is given up in the end.
            about = {"notification": tasks[0].key, tracing.HEADER: tasks[0].traceparent}
            logger.exception("notification %s", tasks[0].key, extra=about)
            results = {tasks[0].key: Result(f"{type(exc).__name__}: {exc}")}
        milliseconds = round((time.monotonic() - started) * 1000)
        for task, result in ((each, results[each.key]) for each in tasks if each.key in results):
            attempt = NotifyAttempt(
                task=task,
                number=task.attempts + 1,
                started_at=started_at,
                duration_ms=milliseconds,
                status_code=result.status_code,
                error=result.error[:255],
            )
            yield attempt, result
        if result.error or time.monotonic() > until:
            return
        tasks = [task for task in tasks if task.key not in results]


def _record(lease: datetime, tasks: Tasks, tries: Sequence[Try], now: datetime) -> None:
    """Store the attempts, update the promises that were tried, and make the rest due again.

    Promises on which another worker has a lease by now stay unchanged.
    """
    attempts = [attempt for attempt, _result in tries]
    tried = {attempt.task_id for attempt in attempts}
    rest = [task for task in tasks if task.pk not in tried]
    delivered = {"state": State.DELIVERED, "next_attempt_at": None, "delivered_at": now}
    leased = NotifyTask.objects.filter(next_attempt_at=lease)
    with transaction.atomic(durable=True):
        # Promises are changed before attempts are inserted: the INSERT share-locks the promise,
        # and two workers that both hold that lock deadlock when each updates it.
        done = leased.filter(pk__in=[each.task_id for each in attempts if not each.error])
        done.update(attempts=F("attempts") + 1, last_error="", **delivered)
        for attempt, result in tries:
            if result.error:
                setback = retry_or_give_up(attempt, result, now)
                # Skips promises whose attempts an operator has reset since they were read.
                same = leased.filter(pk=attempt.task_id, attempts=attempt.number - 1)
                same.update(attempts=attempt.number, **setback)
        leased.bulk_update(rest, ["next_attempt_at"])  # due as before the claim
        for attempt in attempts:
            attempt.pk = None  # set by a transaction that did not commit
        NotifyAttempt.objects.bulk_create(attempts)


def retry_or_give_up(attempt: NotifyAttempt, result: Result, now: datetime) -> dict[str, Any]:
    """A promise's values after a failure: given up, or due after BACKOFF and Retry-After."""
    if _is_last(attempt, result):
        return {"state": State.GIVEN_UP, "next_attempt_at": None, "last_error": attempt.error}
    backoff = BACKOFF[attempt.number - 1] * random.uniform(1, 1.2)  # noqa: S311  not a secret
    due = now + timedelta(seconds=max(backoff, min(result.retry_after, LONGEST_RETRY_AFTER)))
    return {"state": State.RETRYING, "next_attempt_at": due, "last_error": attempt.error}


def _is_last(attempt: NotifyAttempt, result: Result) -> bool:
    """Whether no attempt follows if this one has failed."""
    return result.final or attempt.number > len(BACKOFF)
