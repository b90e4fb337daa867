"""Nudges make a worker deliver new promises at once, without making a request wait.

All pending nudges are one element of a list in Redis. A worker removes the element before it reads
the due promises, so that a promise committed after that read adds a new one. A nudge may be lost;
then a sweep delivers the promise.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import close_old_connections
from redis import Redis, RedisError

from groupbuy import redis
from trade import metrics

logger = logging.getLogger(__name__)

LIST = "gbm:nudges"
GAP = 0.01  # seconds between two nudges that a worker takes; nudges in between are merged
WAIT = 1  # seconds that a worker waits for a nudge at a time

_put = redis.Script("return redis.call('LLEN', KEYS[1]) == 0 and redis.call('LPUSH', KEYS[1], 1)")
_threads: list[threading.Thread] = []
_stopped = threading.Event()
_waiting = threading.Lock()  # held by the one thread that waits for the next nudge


def nudge() -> None:
    """Wake a worker that delivers the new promises. Call after the commit."""
    answer = redis.try_redis(lambda client: _put(client, [LIST]) or 0)
    metrics.NUDGES.labels("lost" if answer is None else "sent").inc()


def start(deliver: Callable[[], object], *, threads: int) -> None:
    """Call deliver() after each nudge, in one of so many new threads, until stop()."""
    client = Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=WAIT, socket_timeout=2 * WAIT
    )
    _stopped.clear()
    for _number in range(threads):
        _threads.append(threading.Thread(target=_deliver, args=[client, deliver], daemon=True))
        _threads[-1].start()


def stop() -> None:
    """End these threads, and wait until their deliveries are recorded."""
    _stopped.set()
    while _threads:
        _threads.pop().join()


def _deliver(client: Redis, deliver: Callable[[], object]) -> None:
    while not _stopped.is_set():
        try:
            with _waiting:
                time.sleep(GAP)
                nudged = not _stopped.is_set() and client.blpop([LIST], WAIT)
            if nudged:
                close_old_connections()  # keeps those that still answer
                deliver()
        except RedisError:  # the sweep delivers meanwhile
            time.sleep(WAIT)
        except Exception:
            logger.exception("A nudge is left to the sweep")
