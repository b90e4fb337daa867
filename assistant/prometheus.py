"""Queries of Prometheus: named ones, and PromQL of limited length and range."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
from django.conf import settings

from groupbuy import logs

TIMEOUT = 5  # seconds
SERIES, POINTS = 20, 60  # at most, in an answer
LONGEST = 500  # characters of an expression or an error
DAY = 24 * 60  # minutes, the longest range
NAMED = {
    "requests per second": "sum by (endpoint) (rate(gbm_http_requests_total[5m]))",
    "refusals per second": (
        'sum by (endpoint, code) (rate(gbm_http_requests_total{code!="",code!="0000"}[5m]))'
    ),
    "faults per second": 'sum by (endpoint) (rate(gbm_http_requests_total{status=~"5.."}[5m]))',
    "p99 seconds": (
        "histogram_quantile(0.99,"
        " sum by (endpoint, le) (rate(gbm_http_request_seconds_bucket[5m])))"
    ),
    "locks per minute": "sum by (kind) (rate(gbm_locks_total[5m])) * 60",
    "payments per minute": "sum by (outcome) (rate(gbm_payments_total[5m])) * 60",
    "completions per minute": "sum by (by) (rate(gbm_completions_total[5m])) * 60",
    "refunds per minute": "sum by (kind) (rate(gbm_refunds_total[5m])) * 60",
    "callbacks per second": (
        "sum by (endpoint, outcome) (rate(gbm_notification_attempts_total[5m]))"
    ),
    "notifications waiting": "sum by (state) (gbm_notifications)",
    "overdue seconds": "max by (rows) (gbm_overdue_seconds)",
    "queue": "max(gbm_queue_tasks)",
    "task failures per minute": (
        'sum by (task) (rate(gbm_task_runs_total{state="FAILURE"}[5m])) * 60'
    ),
    "database p99 seconds": (
        "histogram_quantile(0.99, sum by (le) (rate(gbm_database_seconds_bucket[5m])))"
    ),
    "redis failures per second": "sum(rate(gbm_redis_failures_total[5m]))",
    "parts up": "min by (part) (gbm_part_up)",
    "processes": "sum by (kind) (gbm_processes)",
    "switches": "max by (key) (gbm_switch)",
    "invariants broken": "max(gbm_invariants_broken)",
    "versions": "count by (version) (gbm_build_info)",
}


class PrometheusError(Exception):
    """The query was refused or failed; the message says why."""


def query(expression: str, *, minutes: int, now: datetime) -> list[dict[str, Any]]:
    """The values now, or those of the last minutes, oldest first. Raises PrometheusError."""
    if len(expression) > LONGEST:
        raise PrometheusError(f"expression: longer than {LONGEST} characters")
    if not 0 <= minutes <= DAY:
        raise PrometheusError(f"minutes: expected 0 to {DAY}")
    asked = {"query": expression, "timeout": f"{TIMEOUT}s"}
    if not minutes:
        found = _get("query", asked | {"time": str(now.timestamp())})["result"]
    else:
        start = (now - timedelta(minutes=minutes)).timestamp()
        step = max(1, math.ceil(minutes * 60 / (POINTS - 1)))
        limits = {"start": str(start), "end": str(now.timestamp()), "step": str(step)}
        found = _get("query_range", asked | limits)["result"]
    return [_series(each) for each in found[:SERIES]] + _left_out(found)


def alerts() -> list[dict[str, Any]]:
    """The alerts that are firing or pending. Raises PrometheusError."""
    return [
        {
            "alert": each["labels"].get("alertname", ""),
            "state": each["state"],
            "since": each.get("activeAt", ""),
            "labels": each["labels"],
            "summary": each.get("annotations", {}).get("summary", ""),
        }
        for each in _get("alerts", {})["alerts"][:SERIES]
    ]


def _series(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):  # one of the two elements of a scalar, or of a string
        return {"value": found}
    labels = found["metric"]
    if "value" in found:
        return {"labels": labels, "value": found["value"][1]}
    return {"labels": labels, "values": [value for _at, value in found["values"]]}


def _left_out(found: list[Any]) -> list[dict[str, Any]]:
    rest = len(found) - SERIES
    return [{"left out": f"{rest} more series"}] if rest > 0 else []


def _get(name: str, params: Mapping[str, str]) -> Any:
    if not settings.PROMETHEUS_URL:
        raise PrometheusError("No metrics: PROMETHEUS_URL is not set.")
    url = f"{settings.PROMETHEUS_URL.rstrip('/')}/api/v1/{name}"
    try:
        answer = requests.get(url, params=params, timeout=TIMEOUT).json()
        if answer["status"] != "success":
            raise PrometheusError(str(answer.get("error", "Prometheus failed"))[:LONGEST])
        return answer["data"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as exc:
        reason = logs.without_secrets(str(exc))
        raise PrometheusError(f"PROMETHEUS_URL: {type(exc).__name__}: {reason}") from exc
