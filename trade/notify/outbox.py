"""The outbox (本地消息表): promises written with the change, delivered after it commits.

record()       called inside the transaction that makes the event true
deliver()      one promise, called by Celery right after the commit (the nudge)
deliver_due()  whatever is due, called every few seconds for what the nudge lost
requeue()      due again at once, for operators

Delivery is at least once. The receiver tells copies apart by NotifyTask.key.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Min, QuerySet

from groupbuy import rows
from trade.models import NotifyAttempt, NotifyTask, Team, Transport
from trade.notify import connections, endpoints, transports
from trade.notify.nudges import nudge
from trade.notify.transports import Failure

logger = logging.getLogger(__name__)

BACKOFF = (5, 30, 120, 600, 1800, 7200, 21600)  # seconds after the 1st, 2nd, ... failure
LONGEST_RETRY_AFTER = 24 * 3600  # seconds; a receiver may ask for no more
LEASE = timedelta(seconds=6 * transports.TIMEOUT)  # longer than the slowest send
SWEEP = 15  # seconds after which a sweep, or a nudge that found more to do, leaves the rest
LATEST = 5000  # attempts looked at to see what is being served
PIECE = 1000  # promises made due again at once


def record(
    event: NotifyTask.Event,
    *,
    key: str,
    team: Team,
    url: str,
    payload: Mapping[str, Any],
    now: datetime,
) -> NotifyTask:
    """Write a promise. Must run in the transaction that makes the event true."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("outbox.record() outside a transaction")
    task = draft(event, key=key, team=team, url=url, payload=payload, now=now)
    rows.insert(task)
    if task.target:
        transaction.on_commit(lambda: nudge(task.pk), robust=True)
    return task


def draft(
    event: NotifyTask.Event,
    *,
    key: str,
    team: Team,
    url: str,
    payload: Mapping[str, Any],
    now: datetime,
) -> NotifyTask:
    """A promise, not saved: by MQ if the team's leader chose it or there is no URL, else by HTTP.

    With neither a URL nor a message broker it is given up at once, and the inbox says what is
    missing.
    """
    by_mq = team.notify_transport == Transport.MQ or bool(settings.AMQP_URL and not url)
    task = NotifyTask(
        key=key,
        channel_id=team.channel_id,
        event=event,
        transport=Transport.MQ if by_mq else Transport.HTTP,
        target=f"topic.{event}" if by_mq else url,
        endpoint="RabbitMQ" if by_mq else _endpoint(url),
        payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
        next_attempt_at=now,
        created_at=now,
    )
    if not task.target:
        task.state, task.next_attempt_at = NotifyTask.State.GIVEN_UP, None
        task.last_error = transports.NOWHERE
    return task


def deliver(task_id: int, *, clock: Callable[[], datetime]) -> bool:
    """Send this promise if it is due and nobody else holds it; then what waits for a place."""
    task = _claim_or_wait(NotifyTask.objects.filter(pk=task_id), clock)
    if task is None:
        return False
    sent = _send(task, clock)
    stop = time.monotonic() + SWEEP
    while time.monotonic() < stop and (endpoint := endpoints.next_waiting()) is not None:
        more = _claim_or_wait(_in_turn(NotifyTask.objects.filter(endpoint=endpoint)), clock)
        if more is not None:
            endpoints.wait_again(endpoint)
            _send(more, clock)
    return sent


def deliver_due(*, clock: Callable[[], datetime]) -> int:
    """Send what is due and return how many promises were tried."""
    tried = 0
    connections.close_old()
    stop = time.monotonic() + SWEEP
    while time.monotonic() < stop:
        task = _claim(_in_turn(NotifyTask.objects.all()), clock())
        if task is None:
            break
        _send(task, clock)
        tried += 1
    return tried


def requeue(tasks: QuerySet[NotifyTask], *, now: datetime) -> int:
    """Make promises due again, with a full set of attempts; new ones are due anyway.

    In small pieces, which hold up nobody who sends one of them.
    """
    again = tasks.exclude(state=NotifyTask.State.NEW)
    ends = NotifyTask.objects.aggregate(first=Min("pk"), last=Max("pk"))
    count = 0
    for start in range(ends["first"] or 0, (ends["last"] or 0) + 1, PIECE):
        count += again.filter(pk__gte=start, pk__lt=start + PIECE).update(
            state=NotifyTask.State.NEW, attempts=0, next_attempt_at=now
        )
    return count


def served_since(moment: datetime) -> set[str]:
    """The endpoints that something was sent to since then, of the latest attempts."""
    latest = NotifyAttempt.objects.order_by("-pk").values_list("started_at", "task__endpoint")
    return {endpoint for started_at, endpoint in latest[:LATEST] if started_at >= moment}


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or parts.scheme}" if parts.hostname else ""


def _in_turn(tasks: QuerySet[NotifyTask]) -> QuerySet[NotifyTask]:
    return tasks.order_by("next_attempt_at")


def _claim_or_wait(tasks: QuerySet[NotifyTask], clock: Callable[[], datetime]) -> NotifyTask | None:
    """Claim one of an endpoint's promises; without a place, leave word with who has the places."""
    for _again in range(2):  # in the moment between, a place may have come free
        task = _claim(tasks, clock())
        if task is not None:
            return task
        due = tasks.filter(next_attempt_at__lte=clock()).values_list("endpoint", flat=True).first()
        if due is None or endpoints.wait(due):
            return None
    return None


def _claim(tasks: QuerySet[NotifyTask], now: datetime) -> NotifyTask | None:
    """Take a place at its endpoint and a lease on one due row.

    A crashed worker's row comes back by itself when the lease ends.
    """
    while not endpoints.full():
        task, has_place = None, False
        try:
            with transaction.atomic(durable=True):
                due = tasks.filter(next_attempt_at__lte=now).exclude(endpoint__in=endpoints.busy())
                task = due.select_for_update(skip_locked=True).first()
                if task is None:
                    return None
                has_place = endpoints.take(task.endpoint)
                if has_place:
                    task.attempts += 1
                    task.next_attempt_at = now + LEASE
                    task.save(update_fields=["attempts", "next_attempt_at"])
        except BaseException:
            if task and has_place:
                endpoints.give_back(task.endpoint)
            raise
        if has_place:
            return task
        # Another thread took the last place in this moment: look again, without that endpoint.
    return None


def _send(task: NotifyTask, clock: Callable[[], datetime]) -> bool:
    attempt = NotifyAttempt(task=task, number=task.attempts, started_at=clock())
    started = time.monotonic()
    failure: Failure | None = Failure("")
    try:
        result = transports.send([task], now=attempt.started_at)[task.key]
        failure = result if isinstance(result, Failure) else None
        attempt.status_code = result.status_code if isinstance(result, Failure) else result
    except Exception as exc:
        # A bug must not keep a promise for ever: it counts as an attempt and is given up in time.
        logger.exception("notification %s", task.key)
        failure = Failure(f"{type(exc).__name__}: {exc}")
    finally:
        failed = bool(failure and failure.is_endpoint_failing)
        endpoints.remember(task.endpoint, failed=failed)
        endpoints.give_back(task.endpoint)
    if failure:
        attempt.error = failure.message[:255]
    attempt.duration_ms = round((time.monotonic() - started) * 1000)
    _record_outcome(task, attempt, failure, clock())
    return failure is None


def _record_outcome(
    task: NotifyTask,
    attempt: NotifyAttempt,
    failure: Failure | None,
    now: datetime,
) -> None:
    """Keep the attempt; move the promise on unless its lease has passed to somebody else."""
    if failure is None:
        outcome = {
            "state": NotifyTask.State.DELIVERED,
            "next_attempt_at": None,
            "delivered_at": now,
        }
    elif failure.final or task.attempts > len(BACKOFF):
        logger.error("notification %s given up: %s", task.key, attempt.error)
        outcome = {"state": NotifyTask.State.GIVEN_UP, "next_attempt_at": None}
    else:
        logger.warning("notification %s, attempt %d: %s", task.key, task.attempts, attempt.error)
        delay = _delay(task.attempts, failure.retry_after)
        outcome = {"state": NotifyTask.State.RETRYING, "next_attempt_at": now + delay}
    with transaction.atomic(durable=True):
        # The promise before its attempt: inserting a child locks the parent only shared, and two
        # that both want more wait for each other.
        NotifyTask.objects.filter(pk=task.pk, attempts=task.attempts).update(
            last_error=attempt.error, **outcome
        )
        attempt.save()


def _delay(attempts: int, retry_after: int) -> timedelta:
    """Back-off with up to a fifth of jitter, never sooner than the receiver asked."""
    backoff = BACKOFF[attempts - 1] * random.uniform(1, 1.2)  # noqa: S311  not a secret
    return timedelta(seconds=max(backoff, min(retry_after, LONGEST_RETRY_AFTER)))
