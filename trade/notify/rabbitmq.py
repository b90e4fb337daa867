"""Publish to RabbitMQ. Source: docs/contract.md, section 3.

The client is py-amqp, Celery's own: it reads the broker's confirms on demand, so those of a whole
batch are awaited together. An idle connection is replaced, because nothing answers the broker's
heartbeats between two batches, so the broker closes it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import amqp
import kombu
from django.conf import settings

from groupbuy import metrics, tracing
from trade.models import NotifyTask

EXCHANGE = "group_buy_market_exchange"
TIMEOUT = 5  # seconds for each answer of the broker, and for all confirms of a batch
HEARTBEAT = 10  # seconds; the broker closes a connection after two missed heartbeats
IDLE = 5  # seconds after which a connection is not used again
ERRORS = (amqp.AMQPError, OSError)

_kept: list["_Publisher"] = []  # those not in use


def publish(tasks: Sequence[NotifyTask], answers: dict[str, str]) -> None:
    """Publish promises. answers gets an outcome by key: "" if a queue has it, else the reason.

    Raises one of ERRORS if the broker fails. Promises without an answer may have been published.
    """
    began = time.monotonic()
    with metrics.BROKER_FAILURES.labels("publish").count_exceptions(ERRORS):
        while waiting := [task for task in tasks if task.key not in answers]:
            close_idle()
            kept = None
            with suppress(IndexError):
                kept = _kept.pop()
            publisher = kept or _Publisher()
            try:
                publisher.publish(waiting, answers)
            except ERRORS as exc:
                publisher.connection.collect()
                if not kept or isinstance(exc, TimeoutError):
                    raise
            else:
                _kept.append(publisher)
    metrics.BROKER_SECONDS.labels("publish").observe(time.monotonic() - began)


def close_idle() -> None:
    """Close the connections on which nothing was published for IDLE seconds."""
    for publisher in list(_kept):
        if time.monotonic() - publisher.used_at >= IDLE:
            with suppress(ValueError, *ERRORS):  # ValueError: another thread has just taken it
                _kept.remove(publisher)
                publisher.connection.close()


def connect() -> Any:
    """A connection to AMQP_URL, with a limit on how long each answer may take."""
    tls: Any = {"server_hostname": None} if settings.AMQP_URL.startswith("amqps:") else False
    broker = kombu.Connection(settings.AMQP_URL, ssl=tls, connect_timeout=TIMEOUT)
    broker.heartbeat = HEARTBEAT
    connection: Any = broker.transport.establish_connection()
    connection.sock.settimeout(TIMEOUT)
    return connection


def declare_exchange(channel: Any) -> None:
    """Declare the exchange to which malls bind their queues; an existing one stays unchanged."""
    channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)


class _Publisher:
    """A connection with a channel in confirm mode."""

    def __init__(self) -> None:
        self.connection = connect()
        self.channel = self.connection.channel()
        declare_exchange(self.channel)
        self.channel.confirm_select()
        self.channel.events["basic_return"].add(self._return)
        self.channel.events["basic_ack"].add(partial(self._answer, ""))
        self.channel.events["basic_nack"].add(partial(self._answer, "the broker refused it"))
        self.published = 0  # the broker counts too, and answers with the number of a message
        self.unanswered: dict[int, str] = {}  # keys by number
        self.answers: dict[str, str] = {}
        self.used_at = 0.0

    def publish(self, tasks: Sequence[NotifyTask], answers: dict[str, str]) -> None:
        """Publish all promises, then wait for the broker's answers."""
        self.answers = answers
        about = {"content_type": "text/plain", "content_encoding": "UTF-8", "delivery_mode": 2}
        for task in tasks:
            self.published += 1
            self.unanswered[self.published] = task.key
            headers = {tracing.HEADER: tracing.next_span(task.traceparent)}
            message = amqp.Message(
                task.payload, message_id=task.key, application_headers=headers, **about
            )
            routing_key = task.target or f"topic.{task.event}"
            self.channel.basic_publish(message, EXCHANGE, routing_key, mandatory=True)
        deadline = time.monotonic() + TIMEOUT
        while self.unanswered:
            self.connection.drain_events(timeout=max(0.001, deadline - time.monotonic()))
        self.used_at = time.monotonic()

    def _return(self, exc: Exception, exchange: str, routing_key: str, message: Any) -> None:
        """Record that no queue takes the message. The broker returns it before its confirm."""
        self.answers[message.properties["message_id"]] = f"no queue is bound to {routing_key}"

    def _answer(self, error: str, number: int, multiple: bool) -> None:
        """Record the broker's answer to one message; with `multiple`, to all before it as well."""
        for each in [n for n in self.unanswered if n <= number] if multiple else [number]:
            self.answers.setdefault(self.unanswered.pop(each), error)
