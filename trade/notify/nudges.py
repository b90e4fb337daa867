"""Nudges: ask Celery to deliver what is due right now, and never make a request wait for that.

A nudge wakes this process's sender thread. A key in Redis makes one Celery message of the nudges
of all processes; the worker deletes it before it looks for promises, so that one committed after
its look causes a new message. A nudge may be lost; the sweep does its work. The thread is there
because talking to a broker that accepts connections and never answers has no useful time limit.
"""

import logging
import threading
import time
from contextlib import suppress

from celery import current_app

from groupbuy import redis
from trade import metrics

logger = logging.getLogger(__name__)

TASK = "trade.tasks.deliver_new_notifications"
KEY = "gbm:nudged"
LOST = 1000  # milliseconds after which a message counts as lost
GAP = 0.01  # seconds between two messages of one process

_needed = threading.Event()
_start = threading.Lock()
_sender: threading.Thread | None = None


def nudge() -> None:
    """Have new promises delivered soon. Returns at once; call after the commit."""
    global _sender
    _needed.set()
    with _start:
        if _sender is None or not _sender.is_alive():  # the first one, or after a fork
            _sender = threading.Thread(target=_send_all, daemon=True)
            with suppress(RuntimeError):  # no thread can be started: the sweep delivers
                _sender.start()


def take_up() -> None:
    """The worker's side: later promises need a new message. Call before looking for promises."""
    redis.try_redis(lambda client: client.delete(KEY))


def _send_all() -> None:
    level = logging.WARNING
    while True:
        _needed.wait()
        _needed.clear()
        try:
            is_first = redis.try_redis(lambda client: bool(client.set(KEY, 1, nx=True, px=LOST)))
            if is_first is not False:  # None: Redis is away
                current_app.send_task(TASK, retry=False, expires=60)
                metrics.NUDGES.labels("sent").inc()
                level = logging.WARNING
        except Exception as exc:  # noqa: BLE001  a nudge may be lost, the thread may not
            metrics.NUDGES.labels("lost").inc()
            logger.log(level, "The broker is away, nudges are left to the sweep: %s", exc)
            level = logging.DEBUG  # one line for an outage
        time.sleep(GAP)
