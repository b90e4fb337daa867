"""The internal listener: metrics and health, on METRICS_LISTEN.

Every web process and worker of a host tries to bind this address. The process that succeeds answers
for all of them, because they share the files of their metrics (groupbuy/metric_files.py). When it
ends, another process binds the address within a second.
"""

import errno
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.db import Error, connections
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from groupbuy import health, metric_files, metrics
from groupbuy.snapshots import Snapshot

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds before another process may take over
SLOWEST = 5.0  # seconds for a client to send its request

_start = threading.Lock()
_thread: threading.Thread | None = None
_server: WSGIServer | None = None


def start(kind: str) -> None:
    """Count this process as a web process or a worker, and start its listener, once."""
    global _thread
    metrics.PROCESSES.labels(kind).set(1)
    with _start:
        if settings.METRICS_LISTEN and (_thread is None or not _thread.is_alive()):
            os.register_at_fork(after_in_child=_close)
            _thread = threading.Thread(target=_serve, args=settings.METRICS_LISTEN, daemon=True)
            _thread.start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: /internal/metrics, /internal/live and /internal/ready."""
    content_type, path = "application/json", environ["PATH_INFO"].rstrip("/")
    try:
        if path == "/internal/metrics":
            encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
            status, body = 200, encode(_registry())
        elif path in ("/internal/live", "/internal/ready"):
            status, body = health.live() if path.endswith("live") else health.ready()
        else:
            status, body = 404, b"{}"
    finally:
        connections.close_all()
    start_response(f"{status} -", [("Content-Type", content_type)])
    return [body]


class Figures:
    """A collector of the metrics that each scrape reads: health, and figures from the database."""

    def collect(self) -> Iterable[Metric]:
        return _figures.get()


def _registry() -> CollectorRegistry:
    registry = metric_files.collect() or CollectorRegistry()
    registry.register(Figures())
    return registry


def _read() -> list[Metric]:
    state = health.check()
    up = GaugeMetricFamily("gbm_part_up", "1: it answers.", labels=["part"])
    for name, is_up in state.parts.items():
        up.add_metric([name], is_up)
    found: list[Metric] = [up, _build()]
    if state.queue is not None:
        found.append(GaugeMetricFamily("gbm_queue_tasks", "Tasks in the broker.", state.queue))
    if state.database and state.migrations:
        found += _read_database()
    return found


def _read_database() -> Iterator[Metric]:
    """The figures of the database, up to the first that cannot be read."""
    try:
        for read in metrics.FIGURES:
            yield from read()
    except Error as exc:
        logger.warning("figures: %s", exc)


def _build() -> Metric:
    versions = (settings.VERSION, django.get_version(), platform.python_version())
    build = GaugeMetricFamily("gbm_build_info", "1.", labels=["version", "django", "python"])
    build.add_metric(versions, 1)
    return build


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = SLOWEST

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: each scrape would write a line."""


def _serve(host: str, port: int) -> None:
    global _server
    while True:
        try:
            with make_server(host, port, application, _Server, _Handler) as _server:
                _server.serve_forever()
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                logger.warning("METRICS_LISTEN: %s", exc)
        time.sleep(PAUSE)


def _close() -> None:
    """A forked child would hold the address and never answer."""
    if _server is not None:
        _server.socket.close()


_figures = Snapshot(_read, share=0.2)
