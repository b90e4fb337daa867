"""Nudges: have a worker deliver what is due right now, without making a request wait.

The nudges that no worker has taken yet are one element of a list in Redis. A worker takes it before
it looks for promises, so that a promise committed after its look makes a new one. A nudge may be
lost; the sweep does its work.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from django.conf import settings
from django.db import close_old_connections
from redis import Redis, RedisError

from groupbuy import redis
from trade import metrics

logger = logging.getLogger(__name__)

LIST = "gbm:nudges"
GAP = 0.01  # seconds between two nudges that a worker takes: those in between are one
WAIT = 1  # seconds that a worker waits for a nudge at a time

_put = redis.Script("return redis.call('LLEN', KEYS[1]) == 0 and redis.call('LPUSH', KEYS[1], 1)")
_threads: list[threading.Thread] = []
_stopped = threading.Event()
_turn = threading.Lock()  # one thread waits for the next nudge, those that deliver do not


def nudge() -> None:
    """Have new promises delivered soon. Call after the commit."""
    answer = redis.try_redis(lambda client: _put(client, [LIST]) or 0)
    metrics.NUDGES.labels("lost" if answer is None else "sent").inc()


def start(deliver: Callable[[], object], *, threads: int) -> None:
    """Call deliver() after each nudge, in one of so many new threads, until stop()."""
    _stopped.clear()
    for _number in range(threads):
        _threads.append(threading.Thread(target=_deliver, args=[deliver], daemon=True))
        _threads[-1].start()


def stop() -> None:
    """End these threads, and wait until their deliveries are recorded."""
    _stopped.set()
    while _threads:
        _threads.pop().join()


def _deliver(deliver: Callable[[], object]) -> None:
    while not _stopped.is_set():
        try:
            with _turn:
                time.sleep(GAP)
                nudged = not _stopped.is_set() and _client(settings.REDIS_URL).blpop([LIST], WAIT)
            if nudged:
                close_old_connections()  # keeps those that still answer
                deliver()
        except RedisError:  # the sweep delivers meanwhile
            time.sleep(WAIT)
        except Exception:
            logger.exception("A nudge is left to the sweep")


@lru_cache
def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=WAIT, socket_timeout=2 * WAIT)
