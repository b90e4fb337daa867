"""Redis (缓存) holds copies only: short time-outs, and a pause after a failure.

A request waits half a second for Redis at most, and every caller can do without its answer.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.conf import settings
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoScriptError
from redis.retry import Retry

from groupbuy import metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")
CONNECT, ANSWER = 0.2, 0.5  # seconds that connecting and one command may take
PAUSE = 5.0  # seconds after a failure in which no command is sent

_clients = threading.local()


class Pause:
    """The pause after a failure, in which this process sends Redis nothing: a circuit breaker."""

    def __init__(self) -> None:
        self._until = 0.0

    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def start(self, reason: object, seconds: float) -> None:
        level = logging.DEBUG if self._until else logging.WARNING  # one line for an outage
        self._until = time.monotonic() + seconds
        metrics.REDIS_BREAKER.set(1)
        logger.log(level, "Redis is away, the database answers: %s", reason)

    def end(self) -> None:
        """Note that Redis has answered."""
        if self._until:
            self.clear()
            logger.warning("Redis is back.")

    def clear(self) -> None:
        self._until = 0.0
        metrics.REDIS_BREAKER.set(0)


pause = Pause()


def try_redis(command: Callable[[Redis], T]) -> T | None:
    """Run the command and return its result; None while Redis is away."""
    if pause.is_on():
        return None
    began = time.monotonic()
    try:
        answer = command(_client(settings.REDIS_URL))
    except RedisError as exc:
        metrics.REDIS_FAILURES.inc()
        pause.start(exc, PAUSE)
        return None
    metrics.REDIS_SECONDS.observe(time.monotonic() - began)
    pause.end()
    return answer


class Script:
    """A Lua script, whose text is sent only if Redis lacks it. Its keys share one hash tag."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, redis: Redis, keys: Sequence[str], *arguments: float | str) -> Any:
        given: Any = (len(keys), *keys, *arguments)
        try:
            return redis.evalsha(self._sha, *given)
        except NoScriptError:
            return redis.eval(self._text, *given)


def _client(url: str) -> Redis:
    """The client of this thread, with one connection; a pool adds a third to each command."""
    client: Redis | None = getattr(_clients, url, None)
    if client is None:
        client = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),  # it was restarted
        )
        setattr(_clients, url, client)
    return client
