"""An example consumer: print what the platform sends by RabbitMQ, and acknowledge it."""

from contextlib import suppress
from typing import Any

import pika
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pika.adapters.blocking_connection import BlockingChannel

from trade.models import NotifyTask
from trade.notify import rabbitmq


class Command(BaseCommand):
    help = (
        "Print the notifications that come by RabbitMQ, one line each, and acknowledge them. For"
        " trying things out: while it listens, a message that no mall takes counts as delivered."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--count", type=int, default=0, help="stop after so many; default: Ctrl-C stops it"
        )

    def handle(self, *args: Any, count: int, **options: Any) -> None:
        if not settings.AMQP_URL:
            raise CommandError("AMQP_URL is empty: there is no RabbitMQ to listen to.")
        try:
            with pika.BlockingConnection(rabbitmq.connection_parameters()) as connection:
                self._listen(connection.channel(), count)
        except rabbitmq.ERRORS as exc:
            raise CommandError(f"RabbitMQ: {exc!r}") from exc

    def _listen(self, channel: BlockingChannel, count: int) -> None:
        """On a queue that vanishes with us: one that stayed would hide that a mall is missing."""
        rabbitmq.declare_exchange(channel)
        queue = channel.queue_declare("", exclusive=True).method.queue
        for event in NotifyTask.Event.values:
            channel.queue_bind(queue, rabbitmq.EXCHANGE, f"topic.{event}")
        self.stderr.write("Listening. Ctrl-C stops.")
        with suppress(KeyboardInterrupt):
            for method, properties, body in channel.consume(queue):
                self.stdout.write(
                    f"{method.routing_key} {properties.message_id} {body.decode(errors='replace')}"
                )
                self.stdout.flush()
                # Acknowledged only now: what was not printed comes again.
                channel.basic_ack(method.delivery_tag or 0)
                if method.delivery_tag == count:
                    break
