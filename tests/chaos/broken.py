"""A platform with a broken outbox: it calls the mall after the commit and stores no promise.

Settings for `python -m tests.chaos --broken-outbox`, which must find the loss.
"""

import threading
from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.utils import timezone

from groupbuy.settings import *  # noqa: F403
from groupbuy.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.broken.Broken"]


class Broken(AppConfig):
    name = "tests.chaos"

    def ready(self) -> None:
        from trade.notify import outbox  # noqa: PLC0415  not before the apps are loaded

        outbox.record = _send_after_commit


def _send_after_commit(task: Any) -> None:
    from trade.notify import transports  # noqa: PLC0415  settings come before models

    send = threading.Thread(target=transports.send, args=[[task]], kwargs={"now": timezone.now()})
    transaction.on_commit(send.start)
