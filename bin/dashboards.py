"""Write deploy/grafana/dashboards: python -m bin.dashboards.

A panel has a title, a unit and queries. make test-operations sends each query to a Prometheus.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboards"
WINDOW = "[$__rate_interval]"  # Grafana sets it: at least four scrapes
COLUMNS, HEIGHT = 2, 8  # panels in a row; height of a panel in Grafana's grid units


class Query(NamedTuple):
    expression: str
    legend: str = ""


class Panel(NamedTuple):
    title: str
    unit: str  # as Grafana names it
    queries: tuple[Query, ...]


def rate(metric: str, by: str = "", *, per: int = 1) -> str:
    """The growth of a counter, per second or per this many seconds."""
    total = f"sum by ({by}) " if by else "sum"
    return f"{total}(rate({metric}{WINDOW}))" + (f" * {per}" if per != 1 else "")


def rare(expression: str) -> str:
    """Show zero instead of no data, for what has not happened yet."""
    return f"{expression} or vector(0)"


def quantile(share: float, histogram: str, by: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{WINDOW})))"


def panel(title: str, unit: str, *queries: str | Query) -> Panel:
    found = (query if isinstance(query, Query) else Query(query) for query in queries)
    return Panel(title, unit, tuple(found))


def response_time(title: str, histogram: str, by: str = "") -> Panel:
    legend = f"{{{{{by}}}}} " if by else ""
    queries = (Query(quantile(n / 100, histogram, by), f"{legend}p{n}") for n in (50, 99))
    return panel(title, "s", *queries)


def lines(title: str, unit: str, expression: str, label: str = "") -> Panel:
    return panel(title, unit, Query(expression, f"{{{{{label}}}}}" if label else title))


API = '{endpoint=~"api_.*"}'
MINUTE = 60
DASHBOARDS: dict[str, tuple[Panel, ...]] = {
    "business": (
        lines(
            "Seats locked per minute", "none", rate("gbm_locks_total", "kind", per=MINUTE), "kind"
        ),
        lines(
            "Payments per minute",
            "none",
            rate("gbm_payments_total", "outcome", per=MINUTE),
            "outcome",
        ),
        lines(
            "Money locked, yuan per minute",
            "none",
            rate("gbm_locked_fen_total", per=MINUTE) + " / 100",
        ),
        lines(
            "Money to pay back, yuan per minute",
            "none",
            rare(rate("gbm_refunds_fen_total", per=MINUTE) + " / 100"),
        ),
        lines(
            "Teams completed per minute",
            "none",
            rate("gbm_completions_total", "by", per=MINUTE),
            "by",
        ),
        lines("Teams failed per minute", "none", rare(rate("gbm_team_failures_total", per=MINUTE))),
        lines(
            "Orders closed per minute",
            "none",
            rate("gbm_orders_closed_total", "reason", per=MINUTE),
            "reason",
        ),
        panel(
            "Teams that form, orders to be paid",
            "none",
            Query("max(gbm_teams_forming)", "teams"),
            Query("max(gbm_holds)", "orders"),
        ),
    ),
    "trade API": (
        lines(
            "QPS 每秒请求数", "reqps", rate(f"gbm_http_requests_total{API}", "endpoint"), "endpoint"
        ),
        response_time("Response time 响应时间", "gbm_http_request_seconds", "endpoint"),
        lines(
            "Call volume 调用量, last hour",
            "none",
            f"sum by (endpoint) (increase(gbm_http_requests_total{API}[1h]))",
            "endpoint",
        ),
        lines(
            "Answers by code",
            "reqps",
            rate('gbm_http_requests_total{endpoint=~"api_.*",code!="0000"}', "code"),
            "code",
        ),
        lines("Faults (5xx)", "reqps", rare(rate('gbm_http_requests_total{status=~"5.."}'))),
        lines("Burn of the monthly error budget, 1 h", "none", "slo:burn1h", "slo"),
        lines(
            "Full teams refused without the database",
            "reqps",
            rare(rate("gbm_gate_refusals_total")),
        ),
        lines(
            "Limits checked, by who decided", "reqps", rate("gbm_limit_checks_total", "by"), "by"
        ),
        lines("Refused by rate limits", "reqps", rare(rate("gbm_limit_refusals_total"))),
    ),
    "callbacks": (
        lines(
            "Callbacks by outcome",
            "cps",
            rate("gbm_notification_attempts_total", "outcome"),
            "outcome",
        ),
        lines(
            "Failures by endpoint",
            "cps",
            rate('gbm_notification_attempts_total{outcome!="delivered"}', "endpoint"),
            "endpoint",
        ),
        response_time("Duration of a callback", "gbm_notification_attempt_seconds"),
        response_time("From the promise to its delivery", "gbm_notification_delivery_seconds"),
        lines("Not delivered", "none", "max by (state) (gbm_notifications)", "state"),
        lines("Oldest that is due", "s", 'max(gbm_overdue_seconds{rows="notifications"})'),
        lines("Refunds that are an hour late", "none", "max(gbm_late_refunds)"),
    ),
    "workers": (
        lines("Tasks per minute", "none", rate("gbm_task_runs_total", "task", per=MINUTE), "task"),
        lines(
            "Tasks that failed, per minute",
            "none",
            rare(rate('gbm_task_runs_total{state="FAILURE"}', per=MINUTE)),
        ),
        lines(
            "Since a sweep last succeeded",
            "s",
            "time() - max by (task) (gbm_task_last_success_timestamp_seconds)",
            "task",
        ),
        lines(
            "Rows changed per minute",
            "none",
            rate("gbm_task_rows_total", "task", per=MINUTE),
            "task",
        ),
        lines(
            "Overdue rows, age of the oldest", "s", "max by (rows) (gbm_overdue_seconds)", "rows"
        ),
        lines("Tasks in the broker", "none", "max(gbm_queue_tasks)"),
        lines("Nudges", "cps", rate("gbm_nudges_total", "outcome"), "outcome"),
        lines("Processes", "none", "sum by (kind) (gbm_processes)", "kind"),
    ),
    "services": (
        lines("Parts that answer", "none", "min by (part) (gbm_part_up)", "part"),
        response_time("SQL statements", "gbm_database_seconds"),
        lines("SQL statements per second", "ops", rate("gbm_database_seconds_count")),
        lines("SQL statements that failed", "ops", rare(rate("gbm_database_failures_total"))),
        response_time("Commands to Redis", "gbm_redis_seconds"),
        lines("Memory of Redis", "bytes", "redis_memory_used_bytes", "instance"),
        panel(
            "Connections of MariaDB",
            "none",
            Query("mysql_global_status_threads_connected", "{{instance}}"),
            Query("mysql_global_variables_max_connections", "{{instance}} at most"),
        ),
        lines(
            "Waits for a row of MariaDB",
            "ops",
            rate("mysql_global_status_innodb_row_lock_waits", "instance"),
            "instance",
        ),
        panel(
            "Messages in RabbitMQ",
            "none",
            Query("sum(rabbitmq_queue_messages_ready)", "ready"),
            Query("sum(rabbitmq_queue_messages_unacked)", "taken"),
        ),
        lines("Memory of RabbitMQ", "bytes", "rabbitmq_process_resident_memory_bytes", "instance"),
        panel(
            "Connections of nginx",
            "none",
            Query("sum(nginx_connections_active)", "open"),
            Query("sum(nginx_connections_waiting)", "idle"),
        ),
        lines("Requests to nginx", "reqps", rate("nginx_http_requests_total")),
        lines("Commands that Redis did not answer", "ops", rare(rate("gbm_redis_failures_total"))),
        lines("Open circuit breakers to Redis", "none", "sum(gbm_redis_breaker_open)"),
        response_time("Calls of the broker", "gbm_broker_seconds", "call"),
        lines(
            "Calls that the broker did not answer", "ops", rare(rate("gbm_broker_failures_total"))
        ),
        lines(
            "Age of the oldest configuration",
            "s",
            "time() - min(gbm_configuration_confirmed_timestamp_seconds)",
        ),
        lines("Switches", "none", "max by (key) (gbm_switch)", "key"),
        lines("Invariants broken", "none", rare("max(gbm_invariants_broken)")),
        lines("Versions", "none", "count by (version) (gbm_build_info)", "version"),
    ),
    "host": (
        lines(
            "Processors in use",
            "percentunit",
            f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}{WINDOW}))',
            "instance",
        ),
        lines(
            "Memory in use",
            "percentunit",
            "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
            "instance",
        ),
        lines("Load", "none", "node_load5", "instance"),
        lines(
            "Disk free",
            "percentunit",
            'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"} / node_filesystem_size_bytes',
            "mountpoint",
        ),
        lines(
            "Disk, bytes written",
            "Bps",
            f"sum by (instance) (rate(node_disk_written_bytes_total{WINDOW}))",
            "instance",
        ),
        lines(
            "Network, bytes sent",
            "Bps",
            f"sum by (instance) (rate(node_network_transmit_bytes_total{WINDOW}))",
            "instance",
        ),
    ),
}


def dashboard(name: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    return {
        "uid": f"groupbuy-{name.lower().replace(' ', '-')}",
        "title": f"Group buying: {name}",
        "tags": ["groupbuy"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": [_drawn(number, each) for number, each in enumerate(panels)],
    }


def _drawn(number: int, drawn: Panel) -> dict[str, Any]:
    width = 24 // COLUMNS
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": drawn.title,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": drawn.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": query.expression, "legendFormat": query.legend}
            for n, query in enumerate(drawn.queries)
        ],
    }


def files() -> dict[Path, str]:
    """The content of each file."""
    dump = partial(json.dumps, indent=1, ensure_ascii=False)
    return {
        DIRECTORY / f"{name.lower().replace(' ', '-')}.json": f"{dump(dashboard(name, panels))}\n"
        for name, panels in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, "utf-8")
