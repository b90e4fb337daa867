"""The Celery application. Tasks live in each app's tasks.py; the schedule is in settings."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init

from groupbuy import sweeps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupbuy.settings")

app = Celery("groupbuy")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(sweeps.BrokerWatch)


@setup_logging.connect
def keep_logging(**signal: Any) -> None:
    """Celery sets up no logging, as there is a receiver: Django's settings have done it."""


@worker_init.connect
@worker_process_init.connect
def start_listener(**signal: Any) -> None:
    from groupbuy import changes, exporter  # noqa: PLC0415  Django is set up now

    changes.start_listener()
    exporter.start("worker")


@worker_init.connect
def sweep_without_broker(**signal: Any) -> None:
    sweeps.start()
