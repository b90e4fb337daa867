"""Find what is probably wrong now, from metrics and log alone."""

from datetime import datetime
from typing import Any

from assistant import prometheus, trouble
from groupbuy.log_search import SearchError

MINUTES = 30  # of the log that are searched
RULES = {  # PromQL that returns series while something is wrong -> a sentence for each series
    'up{{job="groupbuy"}} == 0': "{instance} does not return its metrics",
    "min by (part) (gbm_part_up) == 0": "{part} does not respond",
    '(sum(gbm_processes{{kind="web"}}) or vector(0)) == 0': "no web process is alive",
    '(sum(gbm_processes{{kind="worker"}}) or vector(0)) == 0': "no worker is alive",
    "time() - max(gbm_task_last_success_timestamp_seconds"
    '{{task="trade.tasks.close_overdue_holds"}}) > 30'
    ' and on () sum(gbm_processes{{kind="worker"}}) > 0': (
        "a worker is alive, but no sweep has succeeded for {value:.0f} s: stuck or no beat"
    ),
    "histogram_quantile(0.99, sum by (le) (rate(gbm_database_seconds_bucket[{window}]))) > 0.25": (
        "the database is slow: one statement in a hundred takes {value:.2f} s or more"
    ),
    'sum by (endpoint) (rate(gbm_notification_attempts_total{{outcome!="delivered"}}[{window}]))'
    " / sum by (endpoint) (rate(gbm_notification_attempts_total[{window}])) > 0.5": (
        "{value:.0%} of the callbacks to {endpoint} fail"
    ),
    'sum by (endpoint) (rate(gbm_http_requests_total{{status=~"5.."}}[{window}])) > 0': (
        "{endpoint} returns HTTP 5xx"
    ),
    "max(gbm_late_refunds) > 0": "{value:.0f} refunds are not delivered after an hour",
    "max(gbm_invariants_broken) > 0": "{value:.0f} invariants are broken",
    "max(gbm_queue_tasks) > 1000": "{value:.0f} tasks wait in the broker",
}
WINDOW = "1m"  # of rates; short, so that a fault that has ended is soon no longer reported


def find_causes(*, now: datetime) -> dict[str, Any]:
    try:
        measured = _measured(now)
    except prometheus.PrometheusError as exc:
        measured = [str(exc)]
    try:
        explained = trouble.explain_errors(minutes=MINUTES, endpoint="", now=now)
    except SearchError as exc:
        changed = trouble.changes(now - trouble.BEFORE, now, lines=())
        return {"causes": measured, "errors in the log": [str(exc)], "changed before": changed}
    return {
        "causes": [*measured, *_deployed(explained)],
        "errors in the log": explained["errors"][:5],
        "changed before": explained["changed since half an hour before the first"],
    }


def _measured(now: datetime) -> list[str]:
    """One sentence for each series that a rule returns."""
    found = []
    for rule, sentence in RULES.items():
        for series in prometheus.query(rule.format(window=WINDOW), minutes=0, now=now):
            if "labels" in series:
                value = float(series["value"])
                found.append(sentence.format(**series["labels"], value=value))
    return found


def _deployed(explained: dict[str, Any]) -> list[str]:
    """Exceptions of a single version, if that version started within the MINUTES."""
    started = explained["versions started"]
    return [
        f"{error['what']} since version {version} started at {started[version]}"
        for error in explained["errors"]
        for version in error["versions"]
        if error["is exception"] and error["versions"] == [version] and version in started
    ]
