"""The loop, until Ctrl-C or SIGTERM."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, close_old_connections
from django.utils import timezone

from mall import work

EVERY = 1.0  # seconds

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Query Alipay, close, settle, refund and catch up, until Ctrl-C. Several may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="do what is due, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        stop = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: stop.set())
        at_start = True
        while True:
            try:
                work.daily(now=timezone.now(), at_start=at_start)
                work.work(now=timezone.now(), clock=timezone.now)
                at_start = False
            except OperationalError as error:  # the database is away or busy
                if once:
                    raise
                log.warning("the loop goes on after: %s", error)
            if once or stop.wait(EVERY):
                return
            close_old_connections()
