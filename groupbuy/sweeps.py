"""Sweeps (定时任务) while the broker is away.

Celery beat sends the schedule through the broker. While a worker is not connected to the broker, it
runs the scheduled tasks itself, each in a thread of its own, so that a slow callback delays no
hold. The tasks claim their rows, so several workers may do this at once.
"""

import logging
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from celery import Task, bootsteps, current_app
from celery.beat import SchedulingError
from django.conf import settings
from django.db import connections
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

_connected = threading.Event()


class BrokerWatch(bootsteps.StartStopStep):
    """A step that a worker starts when its broker connection is up, and stops when it is lost."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        _connected.set()

    def stop(self, consumer: Any) -> None:
        _connected.clear()


class BriefErrors(logging.Filter):
    """Logs one line instead of two stack traces for each message that beat could not send."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, SchedulingError):
            record.msg, record.args, record.exc_info = "%s", (error,), None
        return True


def start() -> None:
    """Start the threads, once in a worker, whether it is connected or not."""
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        if not isinstance(entry["schedule"], timedelta):  # a task for a time of day can wait
            continue
        period = entry["schedule"].total_seconds()
        threading.Thread(target=_sweep_alone, args=[name, period], daemon=True).start()


def run(name: str) -> None:
    """Run a task of the schedule in this thread unless an operator has disabled it."""
    from django_celery_beat.models import PeriodicTask  # noqa: PLC0415  Django is set up now

    try:
        if not PeriodicTask.objects.filter(name=name, enabled=False).exists():
            current_app.tasks[settings.CELERY_BEAT_SCHEDULE[name]["task"]].apply()
    except Exception as exc:  # noqa: BLE001  the database may be away, too; the thread goes on
        logger.warning("sweep %s: %s", name, exc)
    finally:
        connections.close_all()


def again(task: Task) -> None:
    """Queue the task once more, unless this worker runs it without the broker."""
    if not task.request.is_eager:
        with suppress(OperationalError):  # the broker is away: the next sweep goes on
            task.apply_async(retry=False)


def _sweep_alone(name: str, period: float) -> None:
    while True:
        time.sleep(period)
        if not _connected.is_set():
            run(name)
