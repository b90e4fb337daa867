"""The loop, until Ctrl-C or SIGTERM."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections
from django.utils import timezone

from mall import work

EVERY = 1.0  # seconds


class Command(BaseCommand):
    help = "Query Alipay, close, settle, refund and catch up, until Ctrl-C. Several may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="do what is due, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        stop = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: stop.set())
        work.daily(now=timezone.now(), at_start=True)
        while True:
            work.work(now=timezone.now(), clock=timezone.now)
            if once or stop.wait(EVERY):
                return
            work.daily(now=timezone.now())
            close_old_connections()
