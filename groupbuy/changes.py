"""Changes of configuration, announced to every process over Redis pub/sub.

announce() publishes on commit. start_listener() starts a subscriber thread that invalidates the
snapshots and calls the callbacks registered with subscribe(). The thread also pings Redis three
times a second: without an answer the subscription counts as lost, and the snapshots are loaded
again every second, as without Redis.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from redis import Redis, RedisError

from groupbuy import redis, snapshots

logger = logging.getLogger(__name__)

CHANNEL = "gbm:changed"
MODELS = {  # the configuration; code that changes anything else calls announce()
    "groupbuy.Channel",
    "groupbuy.ApiKey",
    "groupbuy.Switch",
    "tag.CrowdTag",
    "activity.Sku",
    "activity.Discount",
    "activity.Activity",
    "activity.Offer",
}
PING = 0.3  # seconds between two pings
PAUSE = 0.5  # seconds before a lost subscription is tried again

_callbacks: dict[str, Callable[[str], None]] = {CHANNEL: lambda _message: snapshots.invalidate()}
_start = threading.Lock()
_listener: threading.Thread | None = None


def announce() -> None:
    """Make every process reload configuration once this transaction commits."""
    waiting = transaction.get_connection().run_on_commit
    if not any(call is _publish for _savepoints, call, _robust in waiting):
        transaction.on_commit(_publish, robust=True)


def announce_saved(sender: Any, **signal: Any) -> None:
    """Receives post_save and post_delete of all models (groupbuy/apps.py)."""
    if sender._meta.label in MODELS:
        announce()


def subscribe(channel: str, callback: Callable[[str], None]) -> None:
    """Have the listener call callback with each message on the channel.

    After (re)subscribing it calls callback with "", because messages may have been missed. Must run
    before start_listener(): at import, or in an AppConfig's ready().
    """
    _callbacks[channel] = callback


def channels() -> list[str]:
    """The Redis channels that the listener subscribes to."""
    return list(_callbacks)


def dispatch(channel: str, message: str) -> None:
    """Call the callback of the channel."""
    _callbacks[channel](message)


def start_listener() -> None:
    """Start this process's subscriber thread, once."""
    global _listener
    with _start:
        if _listener is None or not _listener.is_alive():
            _listener = threading.Thread(target=_listen_forever, daemon=True)
            _listener.start()


def _publish() -> None:
    """Publish a change. groupbuy.redis would drop the message in its pause after a failure."""
    snapshots.invalidate()
    try:
        with _connect() as client:
            client.publish(CHANNEL, "")
    except RedisError as exc:
        # Processes that lost Redis too reload every second; the others after snapshots.LONGEST.
        logger.debug("a change was not announced: %s", exc)


def _connect() -> Redis:
    return Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=redis.CONNECT, socket_timeout=redis.ANSWER
    )


def _listen_forever() -> None:
    while True:
        try:
            _listen()
        except RedisError as exc:
            logger.debug("not subscribed: %s", exc)
        time.sleep(PAUSE)


def _listen() -> None:
    """Dispatch messages until the connection is lost."""
    with _connect() as client, client.pubsub() as subscription:
        subscription.subscribe(*_callbacks)
        while True:
            message = subscription.get_message(timeout=PING)
            if message is None:
                subscription.ping()
                continue
            if message["type"] in ("subscribe", "message"):
                is_message = message["type"] == "message"
                text = message["data"].decode(errors="replace") if is_message else ""
                dispatch(message["channel"].decode(), text)
            snapshots.confirm_subscription(time.monotonic() + snapshots.MAX_AGE)
