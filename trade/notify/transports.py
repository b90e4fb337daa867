"""Send promises by HTTP or MQ. Source: docs/contract.md, section 3.

HTTP: the payload verbatim, signed by Standard Webhooks 1.0, to a host on the channel's allow-list
(connections.py). MQ: the payload as text (rabbitmq.py).
"""

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from groupbuy import channels, tracing
from groupbuy.channels import KnownChannel
from groupbuy.models import Channel
from trade.models import NotifyTask, Transport
from trade.notify import connections, rabbitmq

TIMEOUT = 5  # seconds, from looking the host up to the end of the answer
NOWHERE = "the channel has no refund callback URL, and there is no message broker"


class Result(NamedTuple):
    """The outcome of a send. final: no further attempt can deliver the promise."""

    error: str = ""  # "": delivered
    status_code: int | None = None
    retry_after: int = 0  # seconds
    final: bool = False
    is_endpoint_failing: bool = True  # False: only this promise cannot be delivered there


def send(tasks: Sequence[NotifyTask], *, now: datetime) -> dict[str, Result]:
    """Send the first of these promises to one endpoint; by MQ send all of them together.

    Returns the results by key; a promise without a result has not been tried. An HTTP promise
    without a target goes to the present refund callback URL of its channel.
    """
    task = tasks[0]
    if task.transport == Transport.HTTP:
        channel = channels.get(task.channel_id)
        if channel and (url := task.target or channel.refund_notify_url):
            return {task.key: _post(url, task, channel, now)}
        if not settings.AMQP_URL:
            return {task.key: Result(NOWHERE, final=True)}
        tasks = [task]
    return _publish(tasks)


def _publish(tasks: Sequence[NotifyTask]) -> dict[str, Result]:
    """Publish promises. If the broker fails, the first unanswered one counts as failed."""
    if not settings.AMQP_URL:
        return {tasks[0].key: Result("no message broker is set up: AMQP_URL is empty")}
    answers: dict[str, str] = {}
    failed: dict[str, Result] = {}
    try:
        rabbitmq.publish(tasks, answers)
    except rabbitmq.ERRORS as exc:
        rest = [task.key for task in tasks if task.key not in answers]
        failed = {key: Result(repr(exc)) for key in rest[:1]}
    return {key: Result(why, is_endpoint_failing=False) for key, why in answers.items()} | failed


def signed_headers(
    key: str, body: bytes, channel: Channel | KnownChannel, now: datetime
) -> dict[str, str]:
    """The three headers of Standard Webhooks; two signatures while a secret is rotated."""
    text = body.decode()
    signatures = [Webhook(secret).sign(key, now, text) for secret in channel.webhook_secrets]
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _post(url: str, task: NotifyTask, channel: KnownChannel, now: datetime) -> Result:
    if not channel.allows(url):
        return Result("the URL is not among the channel's callback hosts")
    body = task.payload.encode()
    headers = signed_headers(task.key, body, channel, now) | {
        "Content-Type": "application/json",
        "User-Agent": "groupbuy-notify/1",
        tracing.HEADER: tracing.next_span(task.traceparent),
    }
    try:
        answer, text = connections.post(url, body, headers, timeout=TIMEOUT)
    except TimeoutError:
        return Result(f"no complete answer within {TIMEOUT} s")
    except (OSError, HTTPException, ValueError) as exc:
        return Result(f"{type(exc).__name__}: {exc}")
    if 200 <= answer.status < 300 and text.strip() in (b"success", b""):
        return Result(status_code=answer.status)
    return Result(
        f"answered {answer.status} {text[:80].decode(errors='replace')!r}",
        status_code=answer.status,
        retry_after=_seconds(answer.headers.get("Retry-After", ""), timezone.now()),
        final=answer.status == 410,
    )


def _seconds(retry_after: str, now: datetime) -> int:
    """Retry-After as seconds, from a number or an HTTP date; 0 when it is neither."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return int(retry_after)
    try:
        return max(0, round((parsedate_to_datetime(retry_after) - now).total_seconds()))
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a time zone
        return 0
