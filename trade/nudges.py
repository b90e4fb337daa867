"""Nudges: ask Celery to deliver a promise right now, and never make a request wait for that.

A nudge may be lost: the broker is away or hangs, the process dies, too many wait already. The
sweep does its work. One thread per process sends them, because talking to a broker that
accepts connections and does not answer has no useful time limit.
"""

import logging
import queue
import threading

from celery import current_app

logger = logging.getLogger(__name__)

TASK = "trade.tasks.deliver_notification"
WAITING = 1000  # nudges kept while the broker is slow; the next ones are dropped

_queue: queue.Queue[int] = queue.Queue(WAITING)
_start = threading.Lock()
_sender: threading.Thread | None = None


def nudge(task_id: int) -> None:
    """Returns at once. Call after the commit."""
    global _sender
    try:
        _queue.put_nowait(task_id)
    except queue.Full:
        return
    with _start:
        if _sender is None or not _sender.is_alive():  # the first one, or after a fork
            _sender = threading.Thread(target=_send_all, args=[_queue], daemon=True)
            _sender.start()


def _send_all(waiting: queue.Queue[int]) -> None:
    while True:
        _send(waiting.get())
        waiting.task_done()


def _send(task_id: int) -> None:
    try:
        current_app.send_task(TASK, args=[task_id], retry=False, expires=60)
    except Exception as exc:  # noqa: BLE001  a nudge may be lost, the thread may not
        logger.warning("nudge for notification %s lost: %s", task_id, exc)
