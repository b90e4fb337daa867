"""Publish to RabbitMQ. Source: the wire contract, section 3.

Every thread keeps a connection of its own, because pika's connections belong to one thread, and
opens it again when it is lost or has been idle: nobody answers the broker's heartbeats between
two messages, so it closes an idle one.
"""

import threading
import time
from contextlib import suppress

import pika
from django.conf import settings
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, NackError, UnroutableError

EXCHANGE = "group_buy_market_exchange"
TIMEOUT = 5  # seconds to connect; a broker that falls silent later is noticed by HEARTBEAT
HEARTBEAT = 5  # seconds; pika notices a silent broker after 20, and a promise's lease has 30
ERRORS = (AMQPError, AMQPConnectorException, OSError)


class _Line(threading.local):
    """This thread's channel, and when it was last used."""

    channel: BlockingChannel | None = None
    used_at = 0.0


_line = _Line()


def publish(routing_key: str, body: str, *, message_id: str) -> None:
    """Return once the broker has the message safe in a queue; raise one of ERRORS if not."""
    kept = _kept_channel()
    try:
        _publish(kept or _open_channel(), routing_key, body, message_id)
    except (UnroutableError, NackError):
        raise
    except ERRORS:
        hang_up()
        if kept is None:
            raise
        _publish(_open_channel(), routing_key, body, message_id)  # the kept one was dead


def hang_up() -> None:
    """Close this thread's connection."""
    channel, _line.channel = _line.channel, None
    if channel is not None:
        with suppress(*ERRORS):
            channel.connection.close()


def declare_exchange(channel: BlockingChannel) -> None:
    """The exchange that malls bind their queues to; there already, it stays as it is."""
    channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)


def connection_parameters() -> pika.URLParameters:
    """Where AMQP_URL leads, with limits on how long anything may take."""
    parameters = pika.URLParameters(settings.AMQP_URL)
    parameters.socket_timeout = parameters.stack_timeout = TIMEOUT
    parameters.blocked_connection_timeout = TIMEOUT
    parameters.heartbeat = HEARTBEAT
    return parameters


def _publish(channel: BlockingChannel, routing_key: str, body: str, message_id: str) -> None:
    """Raises UnroutableError when no queue is bound for the key, NackError when refused."""
    _line.used_at = time.monotonic()
    channel.basic_publish(
        EXCHANGE,
        routing_key,
        body.encode(),
        pika.BasicProperties(
            content_type="text/plain",
            content_encoding="UTF-8",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=message_id,
        ),
        mandatory=True,
    )


def _kept_channel() -> BlockingChannel | None:
    if time.monotonic() - _line.used_at > HEARTBEAT:
        hang_up()
    return _line.channel


def _open_channel() -> BlockingChannel:
    _line.channel = channel = pika.BlockingConnection(connection_parameters()).channel()
    declare_exchange(channel)
    channel.confirm_delivery()
    return channel
