"""Nudges: ask Celery to deliver a promise right now, and never make a request wait for that.

A nudge may be lost: the broker is away or hangs, the process dies, too many wait already. The
sweep does its work. One thread per process sends them, because talking to a broker that
accepts connections and does not answer has no useful time limit.
"""

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app

logger = logging.getLogger(__name__)

TASK = "trade.tasks.deliver_notification"
SWEEP_TASK = "trade.tasks.deliver_due_notifications"
WAITING = 1000  # nudges kept while the broker is slow; the next ones are dropped

_queue: queue.Queue[tuple[str, list[int]]] = queue.Queue(WAITING)
_start = threading.Lock()
_sender: threading.Thread | None = None


class _Bundle(threading.local):
    """Whether this thread's nudges are one, and whether there was any."""

    is_open = False
    is_needed = False


_bundle = _Bundle()


def nudge(task_id: int) -> None:
    """Returns at once. Call after the commit."""
    if _bundle.is_open:
        _bundle.is_needed = True
    else:
        _ask(TASK, [task_id])


@contextmanager
def bundled() -> Iterator[None]:
    """All nudges inside are one, for whatever is due: a sweep makes them by the hundred."""
    _bundle.is_open, _bundle.is_needed = True, False
    try:
        yield
    finally:
        _bundle.is_open = False
        if _bundle.is_needed:
            _ask(SWEEP_TASK, [])


def _ask(task: str, args: list[int]) -> None:
    global _sender
    try:
        _queue.put_nowait((task, args))
    except queue.Full:
        return
    with _start:
        if _sender is None or not _sender.is_alive():  # the first one, or after a fork
            _sender = threading.Thread(target=_send_all, args=[_queue], daemon=True)
            _sender.start()


def _send_all(waiting: queue.Queue[tuple[str, list[int]]]) -> None:
    level = logging.WARNING
    while True:
        is_sent = _send(*waiting.get(), level=level)
        level = logging.WARNING if is_sent else logging.DEBUG  # one line for an outage
        waiting.task_done()


def _send(task: str, args: list[int], *, level: int) -> bool:
    try:
        current_app.send_task(task, args=args, retry=False, expires=60)
    except Exception as exc:  # noqa: BLE001  a nudge may be lost, the thread may not
        logger.log(level, "The broker is away, nudges are left to the sweep: %s", exc)
        return False
    return True
