"""Changes of configuration, announced to every process by Redis pub/sub.

announce() publishes, on commit; listen() starts the thread that hears and tells the snapshots, and
whoever else wants to hear() of something. It also asks Redis for a sign of life three times a
second: while none comes, the snapshots are read anew every second, as without Redis.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from redis import Redis, RedisError

from groupbuy import snapshots

logger = logging.getLogger(__name__)

CHANNEL = "gbm:changed"
MODELS = {  # the configuration; whatever else changes it calls announce() itself
    "groupbuy.Channel",
    "groupbuy.ApiKey",
    "groupbuy.Switch",
    "tag.CrowdTag",
    "activity.Sku",
    "activity.Discount",
    "activity.Activity",
    "activity.Offer",
}
PING = 0.3  # seconds between two signs of life
PAUSE = 0.5  # seconds before a lost subscription is tried again

_hearers: dict[str, Callable[[str], None]] = {CHANNEL: lambda _nothing: snapshots.changed()}
_start = threading.Lock()
_listener: threading.Thread | None = None


def announce() -> None:
    """Once this transaction commits, every process reads configuration anew."""
    waiting = transaction.get_connection().run_on_commit
    if not any(call is _publish for _savepoints, call, _robust in waiting):
        transaction.on_commit(_publish, robust=True)


def announce_saved(sender: Any, **signal: Any) -> None:
    """A row of a model was saved or deleted; connected in groupbuy/apps.py."""
    if sender._meta.label in MODELS:
        announce()


def hear(channel: str, tell: Callable[[str], None]) -> None:
    """Tell of each message there; and "" when there may have been some before we listened.

    Call it before listen(): in an AppConfig's ready().
    """
    _hearers[channel] = tell


def listen() -> None:
    """Hear of changes in this process from now on."""
    global _listener
    with _start:
        if _listener is None or not _listener.is_alive():
            _listener = threading.Thread(target=_listen, daemon=True)
            _listener.start()


def _publish() -> None:
    """Not through groupbuy.redis: its pause after a failure would lose this."""
    snapshots.changed()
    try:
        with _connect() as redis:
            redis.publish(CHANNEL, "")
    except RedisError as exc:
        # Who cannot hear Redis either reads anew every second; who can, after snapshots.LONGEST.
        logger.debug("a change was not announced: %s", exc)


def _connect() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)


def _listen() -> None:
    while True:
        try:
            _hear()
        except RedisError as exc:
            logger.debug("not subscribed: %s", exc)
        time.sleep(PAUSE)


def _hear() -> None:
    """Until the connection is lost."""
    with _connect() as redis, redis.pubsub() as subscription:
        subscription.subscribe(*_hearers)
        while True:
            message = subscription.get_message(timeout=PING)
            if message is None:
                subscription.ping()
                continue
            if message["type"] in ("subscribe", "message"):
                said = (
                    message["data"].decode(errors="replace") if message["type"] == "message" else ""
                )
                _hearers[message["channel"].decode()](said)
            snapshots.heard(time.monotonic() + snapshots.MAX_AGE)
