"""An example consumer: print what the platform sends by RabbitMQ, and acknowledge it."""

from contextlib import suppress
from typing import Any

import pika
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pika.adapters.blocking_connection import BlockingChannel

from trade import rabbitmq
from trade.models import NotifyTask


class Command(BaseCommand):
    help = "Print the notifications that come by RabbitMQ, one line each, and acknowledge them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queue",
            default="",
            help="a durable queue, kept when the command ends; default: one that vanishes with it",
        )
        parser.add_argument(
            "--count", type=int, default=0, help="stop after so many; default: Ctrl-C stops it"
        )

    def handle(self, *args: Any, queue: str, count: int, **options: Any) -> None:
        if not settings.AMQP_URL:
            raise CommandError("AMQP_URL is empty: there is no RabbitMQ to listen to.")
        try:
            with pika.BlockingConnection(rabbitmq.connection_parameters()) as connection:
                self._listen(connection.channel(), queue, count)
        except rabbitmq.ERRORS as exc:
            raise CommandError(f"RabbitMQ: {exc!r}") from exc

    def _listen(self, channel: BlockingChannel, queue: str, count: int) -> None:
        rabbitmq.declare_exchange(channel)
        channel.queue_declare(queue, durable=bool(queue), exclusive=not queue)
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
