"""Redis (缓存) is speed and never truth: short time-outs, and a pause after a failure.

So no request waits for a Redis that is dead, and whoever asks must be able to do without it.
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

logger = logging.getLogger(__name__)

T = TypeVar("T")
CONNECT, ANSWER = 0.2, 0.5  # seconds that one question may take
PAUSE = 5.0  # seconds after a failure in which nobody asks

_asked_again_at = 0.0
_clients = threading.local()


def ask(question: Callable[[Redis], T]) -> T | None:
    """What Redis answers; None while it is away."""
    global _asked_again_at
    if time.monotonic() < _asked_again_at:
        return None
    try:
        answer = question(_client(settings.REDIS_URL))
    except RedisError as exc:
        level = logging.DEBUG if _asked_again_at else logging.WARNING  # one line for an outage
        _asked_again_at = time.monotonic() + PAUSE
        logger.log(level, "Redis is away, the database answers: %s", exc)
        return None
    if _asked_again_at:
        _asked_again_at = 0.0
        logger.warning("Redis is back.")
    return answer


class Script:
    """A Lua script, sent whole only where Redis does not know it. Keys share one hash tag."""

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
    """One for each thread, with a connection of its own: a pool costs a third of a question."""
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
