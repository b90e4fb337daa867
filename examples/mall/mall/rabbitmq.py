"""The platform's notifications by RabbitMQ: a message is acknowledged once its effect is stored.

We publish a message that is unreadable, or that fails TRIES times, to our queue for dead letters.
The broker cannot do that: the notifications' queues may already exist, without such an argument.
Messages are not signed; the broker's accounts decide who may publish.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

import pika
from django.conf import settings
from django.db import OperationalError
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from groupbuy_client import WebhookError, read_notification
from mall import callbacks

log = logging.getLogger(__name__)
EXCHANGE = "group_buy_market_exchange"
ERRORS = (AMQPError, AMQPConnectorException, OSError)
TRIES = 3
PAUSE = 1  # seconds between two tries
TIMEOUT = 10  # seconds


def consume(*, clock: Callable[[], datetime], is_over: Callable[[], bool]) -> None:
    """Process messages until is_over(), which is called at least once a second. Raises ERRORS."""
    parameters = pika.URLParameters(settings.AMQP_URL)
    parameters.socket_timeout = parameters.blocked_connection_timeout = TIMEOUT
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        declare(channel)
        for queue in settings.QUEUES.values():
            channel.basic_consume(queue, partial(_take, clock))
        while not is_over():
            connection.process_data_events(time_limit=1)


def declare(channel: BlockingChannel) -> None:
    """Declare queues and bindings. Existing ones are not changed."""
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1)
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    for routing_key, queue in settings.QUEUES.items():
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, EXCHANGE, routing_key)
    channel.queue_declare(settings.DEAD_LETTERS, durable=True)


def _take(
    clock: Callable[[], datetime],
    channel: BlockingChannel,
    method: pika.spec.Basic.Deliver,
    properties: pika.BasicProperties,
    body: bytes,
) -> None:
    tag = method.delivery_tag or 0
    try:
        problem = _apply(channel, properties.message_id or "", body, clock)
    except OperationalError as exc:  # our database is down, and the message is not to blame
        log.warning("%s is requeued: %s", properties.message_id, exc)
        channel.connection.sleep(PAUSE)
        channel.basic_nack(tag, requeue=True)
        return
    if problem:
        log.error("%s is a dead letter: %s", properties.message_id, problem)
        properties.headers = {"problem": problem[:255], "routing_key": method.routing_key}
        channel.basic_publish("", settings.DEAD_LETTERS, body, properties, mandatory=True)
    channel.basic_ack(tag)


def _apply(channel: BlockingChannel, key: str, body: bytes, clock: Callable[[], datetime]) -> str:
    """Store the message's effect; return "", or the problem of the last try."""
    try:
        if not key:
            raise WebhookError("no message_id")  # noqa: TRY301
        notification = read_notification(key, body)
    except WebhookError as exc:
        return str(exc)
    problem = ""
    for _ in range(TRIES):
        if problem:
            channel.connection.sleep(PAUSE)
        try:
            callbacks.apply(notification, json.loads(body), via="mq", now=clock())
        except OperationalError:
            raise
        except Exception as exc:  # noqa: BLE001  tried again, then a dead letter
            problem = repr(exc)
        else:
            return ""
    return problem
