"""Take the platform's notifications from RabbitMQ, until Ctrl-C or SIGTERM."""

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections
from django.utils import timezone

from mall import rabbitmq

log = logging.getLogger(__name__)
AGAIN = 5.0  # seconds between attempts to reach a lost broker


class Command(BaseCommand):
    help = "Take the platform's notifications from RabbitMQ (MALL_AMQP_URL), until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.AMQP_URL:
            raise CommandError("MALL_AMQP_URL is empty: the platform calls back by HTTP.")
        stop = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: stop.set())

        def is_over() -> bool:
            close_old_connections()
            return stop.is_set()

        while not stop.is_set():
            try:
                rabbitmq.consume(clock=timezone.now, is_over=is_over)
            except rabbitmq.ERRORS as exc:
                log.warning("RabbitMQ: %r", exc)
                stop.wait(AGAIN)
