"""An example consumer: print what the platform sends by RabbitMQ, and acknowledge it."""

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

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
            with rabbitmq.connect() as connection, suppress(KeyboardInterrupt):
                self._listen(connection, count)
        except rabbitmq.ERRORS as exc:
            raise CommandError(f"RabbitMQ: {exc!r}") from exc

    def _listen(self, connection: Any, count: int) -> None:
        """Consume from an exclusive queue: a lasting one would hide that no mall has a queue."""
        channel = connection.channel()
        rabbitmq.declare_exchange(channel)
        queue = channel.queue_declare("", exclusive=True).queue
        for event in NotifyTask.Event.values:
            channel.queue_bind(queue, rabbitmq.EXCHANGE, f"topic.{event}")
        channel.basic_consume(queue, callback=self._print)
        self.stderr.write("Listening. Ctrl-C stops.")
        self.printed = 0
        while not count or self.printed < count:
            with suppress(TimeoutError):
                connection.drain_events(timeout=rabbitmq.HEARTBEAT / 2)
            connection.heartbeat_tick()

    def _print(self, message: Any) -> None:
        key, body = message.delivery_info["routing_key"], message.body
        text = body if isinstance(body, str) else body.decode(errors="replace")
        self.stdout.write(f"{key} {message.properties['message_id']} {text}")
        self.stdout.flush()
        message.channel.basic_ack(
            message.delivery_tag
        )  # a message that was not printed comes again
        self.printed += 1
