"""Health (健康检查): is this process alive, and can it trade?

It cannot trade without its database, or before all migrations are applied. Without Redis or the
broker it trades more slowly (docs/architecture.md, "When parts fail").
"""

import ipaddress
from time import monotonic
from typing import Any, NamedTuple

import orjson
from celery import current_app
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse
from kombu.exceptions import KombuError

from groupbuy import metrics
from groupbuy.redis import try_redis
from groupbuy.snapshots import Snapshot

TIMEOUT = 1  # seconds for the broker to answer


class Health(NamedTuple):
    database: bool
    migrations: bool  # all are applied
    redis: bool
    queue: int | None  # tasks that wait in the broker; None: it is away

    @property
    def parts(self) -> dict[str, bool]:
        return {
            "database": self.database,
            "migrations": self.migrations,
            "redis": self.redis,
            "broker": self.queue is not None,
        }


def check() -> Health:
    """The last result: at most a second old, or older while a check is slow."""
    return _checked.get()


def live() -> tuple[int, bytes]:
    """The status and body of /internal/live."""
    return 200, orjson.dumps({"status": "live", "version": settings.VERSION})


def ready() -> tuple[int, bytes]:
    """The status and body of /internal/ready."""
    parts = check().parts
    can_trade = parts["database"] and parts["migrations"]
    status = "ready" if all(parts.values()) else "degraded" if can_trade else "down"
    named = {name: "ok" if is_up else "away" for name, is_up in parts.items()}
    body = {"status": status, "version": settings.VERSION} | named
    return 200 if can_trade else 503, orjson.dumps(body)


def live_view(request: HttpRequest) -> HttpResponse:
    _require_inside(request)
    status, body = live()
    return HttpResponse(body, status=status, content_type="application/json")


def ready_view(request: HttpRequest) -> HttpResponse:
    _require_inside(request)
    status, body = ready()
    return HttpResponse(body, status=status, content_type="application/json")


def _require_inside(request: HttpRequest) -> None:
    """Raise Http404 unless the request comes from a private network and through no proxy."""
    address = request.META["REMOTE_ADDR"]  # empty on a Unix socket
    is_private = not address or ipaddress.ip_address(address).is_private
    if not is_private or "HTTP_X_FORWARDED_FOR" in request.META:
        raise Http404


def _check() -> Health:
    try:
        database, migrations = True, _are_applied()
    except Error:
        database = migrations = False
    return Health(database, migrations, bool(try_redis(lambda redis: redis.ping())), _queue())


def _are_applied() -> bool:
    """Whether all migrations are applied. Once they are, only check that the database answers."""
    global _applied
    if _applied:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True
    executor = MigrationExecutor(connection)
    _applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _applied


def _queue() -> int | None:
    """How many tasks wait in the broker; None if it is away. Also measures its response time."""
    began = monotonic()
    waiting = _waiting()
    if waiting is None:
        metrics.BROKER_FAILURES.labels("check").inc()
    else:
        metrics.BROKER_SECONDS.labels("check").observe(monotonic() - began)
    return waiting


def _waiting() -> int | None:
    limits = {"read_timeout": TIMEOUT, "write_timeout": TIMEOUT}
    broker: Any = current_app.connection_for_read(transport_options=limits)
    try:
        with broker:
            broker.ensure_connection(max_retries=1, interval_start=0)
            name = current_app.conf.task_default_queue
            channel: Any = broker.channel()
            return int(channel.queue_declare(name, passive=True).message_count)
    except broker.channel_errors:
        return 0  # Redis has no queue while it is empty
    except (OSError, KombuError, *broker.connection_errors):
        return None


_checked = Snapshot(_check, share=0.2)
_applied = False
