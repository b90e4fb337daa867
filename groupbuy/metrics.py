"""Metrics (监控指标) of the server, its parts and its tasks; trade/metrics.py has the trade's.

docs/monitoring.md lists them all. Labels take few values: endpoints, codes, tasks, switches; no
label holds an id of a shopper, an order or a team.
"""

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import Error
from django.http import HttpRequest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric

from groupbuy import metric_files

logger = logging.getLogger(__name__)

if settings.METRICS_LISTEN:
    metric_files.share(settings.METRICS_DIR)

COMPLETE_AT = "groupbuy.complete_at"  # in the WSGI environ: monotonic(), when the body was whole
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
CALL_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

PROCESSES = Gauge("gbm_processes", "Processes alive.", ["kind"], multiprocess_mode="livesum")
REQUESTS = Counter(
    "gbm_http_requests",
    "Requests answered; code is the envelope's, empty for pages.",
    ["endpoint", "code", "status"],
)
REQUEST_SECONDS = Histogram(
    "gbm_http_request_seconds",
    "From the whole request to its answer, the wait for a thread included.",
    ["endpoint"],
    buckets=SECONDS,
)
LIMITED = Counter("gbm_limit_refusals", "Requests refused by a rate limit.", ["scope"])
LIMIT_CHECKS = Counter("gbm_limit_checks", "Limits checked, by who decided.", ["by"])
GATED = Counter("gbm_gate_refusals", "Joiners of full teams refused by the gate.", ["by"])
REDIS_SECONDS = Histogram("gbm_redis_seconds", "Commands to Redis.", buckets=CALL_SECONDS)
REDIS_FAILURES = Counter("gbm_redis_failures", "Commands that Redis did not answer.")
REDIS_BREAKER = Gauge(
    "gbm_redis_breaker_open",
    "Processes whose last command to Redis failed.",
    multiprocess_mode="livesum",
)
BROKER_SECONDS = Histogram(
    "gbm_broker_seconds", "Calls of a broker.", ["call"], buckets=CALL_SECONDS
)
BROKER_FAILURES = Counter(
    "gbm_broker_failures", "Calls that a broker did not answer, or too late.", ["call"]
)
DATABASE_SECONDS = Histogram("gbm_database_seconds", "SQL statements.", buckets=CALL_SECONDS)
DATABASE_FAILURES = Counter("gbm_database_failures", "SQL statements that failed.", ["error"])
SNAPSHOT_LOADS = Counter("gbm_snapshot_loads", "Copies of configuration loaded.", ["outcome"])
CONFIRMED = Gauge(
    "gbm_configuration_confirmed_timestamp_seconds",
    "When the process that is farthest behind last knew its copies to be current.",
    ["of"],  # so that a process that has no copies has no value
    multiprocess_mode="livemin",
)
TASKS = Counter("gbm_task_runs", "Celery tasks that have ended.", ["task", "state"])
TASK_SECONDS = Histogram("gbm_task_seconds", "Celery tasks.", ["task"], buckets=SECONDS)
TASK_ROWS = Counter("gbm_task_rows", "Rows that a sweep has changed.", ["task"])
TASK_SUCCESS = Gauge(
    "gbm_task_last_success_timestamp_seconds",
    "When a task last succeeded.",
    ["task"],
    multiprocess_mode="max",
)

FIGURES: list[Callable[[], Iterable[Metric]]] = []  # read from the database for a scrape


def count_request(request: HttpRequest, code: str, status: int, seconds: float) -> None:
    """Count and time a request that was answered; called by groupbuy/access.py."""
    requests, histogram = _children(endpoint_of(request), code, status)
    requests.inc()
    histogram.observe(seconds)


def endpoint_of(request: HttpRequest) -> str:
    """The name of the view that has answered the request; "none" for an unknown path."""
    match = request.resolver_match
    return _endpoint(match.func, match.app_name, match.url_name) if match else "none"


def time_statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Execute wrapper of the database connections."""
    began = monotonic()
    try:
        return execute(sql, params, many, context)
    except Error as exc:
        DATABASE_FAILURES.labels(type(exc).__name__).inc()
        raise
    finally:
        DATABASE_SECONDS.observe(monotonic() - began)


def time_statements(connection: Any, **signal: Any) -> None:
    """Receives connection_created, which is also sent after a reconnection (groupbuy/apps.py)."""
    if time_statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(time_statement)


def start_task(task: Any, **signal: Any) -> None:
    task.request.began = monotonic()


def end_task(task: Any, state: str, retval: Any, **signal: Any) -> None:
    """Count and time a task. retval: how many rows a sweep has changed, or None."""
    seconds = monotonic() - task.request.began
    TASKS.labels(task.name, state).inc()
    TASK_SECONDS.labels(task.name).observe(seconds)
    if state == "SUCCESS":
        TASK_SUCCESS.labels(task.name).set_to_current_time()
        if isinstance(retval, int):
            TASK_ROWS.labels(task.name).inc(retval)
            _log_rows(task.name, retval, seconds)


def _log_rows(task: str, rows: int, seconds: float) -> None:
    if rows:
        about = {"task": task, "rows": rows, "duration": int(seconds * 1e9)}
        logger.info("task %s: %d rows", task, rows, extra=about)


@lru_cache(1000)
def _endpoint(view: Any, app_name: str, url_name: str | None) -> str:
    """api_ACTION for a call of the API, page_NAME for a page, one name for the whole console."""
    actions = getattr(view, "actions", None) or {}
    for action in actions.values():
        return f"api_{action}"
    return app_name or (f"page_{url_name}" if url_name else view.__name__)


@lru_cache(5000)
def _children(endpoint: str, code: str, status: int) -> tuple[Counter, Histogram]:
    """The labelled metrics. Cached, because labels() costs as much as counting."""
    return REQUESTS.labels(endpoint, code, str(status)), REQUEST_SECONDS.labels(endpoint)
