"""A platform with a broken outbox: it calls the mall after the commit and stores no promise.

Each process loses every second notification of a kind to the mall in tests/chaos/shoppers.py,
starting with the first, as if it had died between the two. So something is lost on a slow machine,
too, where few faults happen in the time.

Settings for `python -m tests.chaos --broken-outbox`, which must find the loss.
"""

import threading
from collections import Counter
from functools import partial
from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.utils import timezone

from groupbuy.settings import *  # noqa: F403
from groupbuy.settings import INSTALLED_APPS

promised = Counter[str]()  # event -> notifications of this process
INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.broken.Broken"]


class Broken(AppConfig):
    name = "tests.chaos"

    def ready(self) -> None:
        from trade.notify import outbox  # noqa: PLC0415  not before the apps are loaded

        outbox.record = _send_after_commit


def _send_after_commit(task: Any) -> None:
    from trade.notify import transports  # noqa: PLC0415  settings come before models

    is_shoppers = task.channel.source == "s07"
    promised[task.event] += is_shoppers
    if not is_shoppers or promised[task.event] % 2 == 0:
        send = partial(transports.send, [task], now=timezone.now())
        transaction.on_commit(threading.Thread(target=send).start)
