"""Metrics count what was committed, once, and answer within a bounded number of series."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from celery import current_app
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone
from kombu import Connection
from prometheus_client import REGISTRY
from redis import RedisError
from rest_framework.test import APIClient

import groupbuy.redis
import trade.tasks  # noqa: F401  registers the tasks
from groupbuy import exporter, health, metrics, rows, sweeps
from groupbuy.errors import GroupBuyError
from groupbuy.redis import pause, try_redis
from groupbuy.switches import Key
from tests.factories import (
    NOW,
    lock,
    make_activity,
    make_promise,
    make_team,
    refund,
    set_switch,
    settle,
)
from tests.sink import Sink, reply
from trade import expire
from trade import metrics as trade_metrics
from trade.models import NotifyTask, Order
from trade.notify import outbox

TRIAL = "/api/v1/gbm/trade/trial"
committed = pytest.mark.django_db(transaction=True)


class Growth:
    """The growth of the samples since: name{label,…} -> difference."""

    def __init__(self) -> None:
        self._before = self._samples()

    def of(self, *names: str) -> dict[str, float]:
        """The samples that start with these names and have changed."""
        grown = {
            name: value - self._before.get(name, 0)
            for name, value in self._samples().items()
            if name.startswith(names)
        }
        return {name: value for name, value in grown.items() if value}

    def _samples(self) -> dict[str, float]:
        return {
            f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if not sample.name.endswith(("_created", "_bucket", "_sum"))
        }


@pytest.fixture
def growth() -> Growth:
    return Growth()


TRADE = (
    *("gbm_locks", "gbm_locked", "gbm_payments", "gbm_orders", "gbm_refunds"),
    *("gbm_completions", "gbm_completed", "gbm_team"),
)


@committed
def test_the_journey_of_a_team(growth: Growth) -> None:
    make_activity()
    make_team("a", "b", "c", paid=3)
    lock("a")
    settle("a")
    refund("b", now=NOW + timedelta(minutes=2))
    refund("b")

    assert growth.of(*TRADE) == {
        "gbm_locks_total{open}": 1,
        "gbm_locks_total{join}": 2,
        "gbm_locked_fen_total{}": 24_000,
        "gbm_payments_total{seated}": 3,
        "gbm_payments_total{repeated}": 1,
        "gbm_payments_fen_total{seated}": 24_000,
        "gbm_completions_total{members}": 1,
        "gbm_completed_seats_total{}": 3,
        "gbm_orders_closed_total{refunded}": 1,
        "gbm_refunds_total{paid_formed}": 1,
        "gbm_refunds_fen_total{paid_formed}": 8_000,
    }


@committed
def test_a_team_that_fails(growth: Growth) -> None:
    make_activity()
    make_team("a", "b", paid=1)
    over = NOW + timedelta(minutes=15) + expire.GRACE
    expire.end_overdue_teams(clock=lambda: over)
    with pytest.raises(GroupBuyError):
        settle("b", now=over)

    assert growth.of("gbm_team_failures", "gbm_orders", "gbm_refunds", "gbm_payments") == {
        "gbm_team_failures_total{}": 1,
        "gbm_orders_closed_total{team_ended}": 2,
        "gbm_orders_closed_total{late_payment}": 1,
        "gbm_refunds_total{unpaid_unlock}": 1,
        "gbm_refunds_total{paid_unformed}": 2,
        "gbm_refunds_fen_total{paid_unformed}": 16_000,
        "gbm_payments_total{seated}": 1,
        "gbm_payments_fen_total{seated}": 8_000,
        "gbm_payments_total{late}": 1,
        "gbm_payments_fen_total{late}": 8_000,
    }


@committed
def test_a_transaction_that_is_rolled_back_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    lock("a")
    growth = Growth()

    def fail(*_arguments: Any, **_named: Any) -> None:
        raise OperationalError("gone away")

    monkeypatch.setattr(rows, "update", fail)
    with pytest.raises(OperationalError):
        settle("a")
    with pytest.raises(OperationalError):
        refund("a")

    assert growth.of(*TRADE) == {}


@committed
def test_callbacks_by_endpoint_and_outcome(growth: Growth) -> None:
    statuses = {"/failing": 500, "/healthy": 200, "/gone": 410}
    sink = Sink(lambda request: reply(statuses[request.path]))
    for number, path in enumerate(statuses):
        make_promise(f"team_success-{number}", target=sink.url + path, endpoint=path)

    outbox.deliver_due(clock=lambda: NOW)
    sink.stop()

    assert growth.of("gbm_notification") == {
        "gbm_notification_attempts_total{/failing,failed}": 1,
        "gbm_notification_attempts_total{/healthy,delivered}": 1,
        "gbm_notification_attempts_total{/gone,given_up}": 1,
        "gbm_notification_attempt_seconds_count{}": 3,
        "gbm_notification_delivery_seconds_count{}": 1,
    }


@pytest.mark.django_db
def test_endpoints_beyond_the_limit_are_one(
    growth: Growth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_metrics, "MOST_ENDPOINTS", 0)
    attempt = make_promise(endpoint="new.example.com:https").tries.model(
        task=NotifyTask.objects.get(), duration_ms=3, error="answered 500"
    )

    trade_metrics.count_attempt(attempt, is_last=False)

    assert growth.of("gbm_notification_attempts") == {
        "gbm_notification_attempts_total{others,failed}": 1
    }


@pytest.mark.django_db
def test_requests_by_endpoint_code_and_status(mall: APIClient, growth: Growth) -> None:
    body = {"userId": "u", "source": "s01", "channel": "c01", "goodsId": "none"}
    mall.post(TRIAL, body, format="json")
    mall.post(TRIAL, {"source": "s01", "channel": "c01"}, format="json")
    APIClient().post(TRIAL, body, format="json")
    for number in range(3):
        mall.get(f"/api/v1/gbm/trade/orders/{number}")
        mall.get(f"/api/{number}")
        mall.get(f"/{number}")
    mall.get("/admin/login/")

    assert growth.of("gbm_http_requests") == {
        "gbm_http_requests_total{api_trial,E0002,200}": 1,
        "gbm_http_requests_total{api_trial,0002,200}": 1,
        "gbm_http_requests_total{api_trial,0401,401}": 1,
        "gbm_http_requests_total{api_order,E0104,200}": 3,
        "gbm_http_requests_total{path_not_found,,404}": 3,
        "gbm_http_requests_total{none,,404}": 3,
        "gbm_http_requests_total{admin,,200}": 1,
    }
    assert growth.of("gbm_http_request_seconds") == {
        "gbm_http_request_seconds_count{api_trial}": 3,
        "gbm_http_request_seconds_count{api_order}": 3,
        "gbm_http_request_seconds_count{path_not_found}": 3,
        "gbm_http_request_seconds_count{none}": 3,
        "gbm_http_request_seconds_count{admin}": 1,
    }


@pytest.mark.django_db
def test_refusals_by_limit_and_gate(redis: Any, mall: APIClient, growth: Growth) -> None:
    set_switch(Key.TRADE_CHANNEL, "2/60")
    for _ in range(3):
        mall.get("/api/v1/gbm/trade/orders/1")
    make_activity()
    team = make_team("a", "b", "c")
    for user in ("d", "e"):
        with pytest.raises(GroupBuyError):
            lock(user, team_id=str(team.pk))

    assert growth.of("gbm_limit") == {
        "gbm_limit_refusals_total{trade}": 1,
        "gbm_limit_checks_total{redis}": 3,
    }
    assert sum(growth.of("gbm_gate").values()) >= 1
    assert growth.of("gbm_redis_failures") == {}
    assert growth.of("gbm_redis_seconds")["gbm_redis_seconds_count{}"] >= 1


@pytest.mark.django_db
def test_a_large_limit_is_checked_by_the_process(
    redis: Any, mall: APIClient, growth: Growth
) -> None:
    set_switch(Key.TRADE_CHANNEL, "6000/60")
    for _ in range(3):
        mall.get("/api/v1/gbm/trade/orders/1")

    assert growth.of("gbm_limit") == {"gbm_limit_checks_total{process}": 3}


def test_commands_that_redis_does_not_answer() -> None:
    pause.clear()
    growth = Growth()

    assert try_redis(lambda client: client.ping()) is None
    assert growth.of("gbm_redis_failures") == {"gbm_redis_failures_total{}": 1}


@pytest.mark.usefixtures("redis")
def test_the_breaker_is_open_until_redis_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupbuy.redis, "PAUSE", 0.0)
    pause.clear()
    growth = Growth()

    def fail(_redis: Any) -> None:
        raise RedisError("too late")

    try_redis(fail)
    try_redis(fail)
    assert growth.of("gbm_redis_breaker") == {"gbm_redis_breaker_open{}": 1}

    try_redis(lambda client: client.ping())
    assert growth.of("gbm_redis_breaker") == {}


@pytest.mark.django_db
def test_statements_and_their_failures(growth: Growth) -> None:
    connection.ensure_connection()
    metrics.time_statements(connection)
    metrics.time_statements(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(Exception, match="no_such"), connection.cursor() as cursor:
        cursor.execute("SELECT no_such FROM trade_team")

    assert growth.of("gbm_database_seconds") == {"gbm_database_seconds_count{}": 2}
    assert sum(growth.of("gbm_database_failures").values()) == 1


@committed
def test_tasks_with_their_rows(growth: Growth) -> None:
    now, day = timezone.now(), timedelta(days=1)
    make_activity(start_at=now - day, end_at=now + day, valid_minutes=24 * 60)
    lock("slow", now=now - timedelta(hours=2))

    sweeps.run("close overdue holds")

    name = "trade.tasks.close_overdue_holds"
    assert growth.of("gbm_task_runs", "gbm_task_rows", "gbm_task_seconds") == {
        f"gbm_task_runs_total{{{name},SUCCESS}}": 1,
        f"gbm_task_rows_total{{{name}}}": 1,
        f"gbm_task_seconds_count{{{name}}}": 1,
    }
    assert Order.objects.get().status == Order.Status.CLOSED


def scrape(path: str = "/internal/metrics") -> tuple[str, str]:
    """Status and body of the internal listener."""
    start_response = Mock()
    body = exporter.application({"PATH_INFO": path}, start_response)
    return start_response.call_args.args[0], b"".join(body).decode()


@committed
def test_a_scrape_reads_the_waiting_rows(redis: Any) -> None:
    make_activity()
    make_team("a", "b", paid=1)
    now = timezone.now()
    make_promise("team_success-1", next_attempt_at=now - timedelta(seconds=50))
    hour_ago = {"created_at": now - timedelta(hours=1, minutes=1)}
    refund_due = {"event": NotifyTask.Event.TEAM_REFUND, "next_attempt_at": None, **hour_ago}
    make_promise("team_refund-1-paid_formed", state=NotifyTask.State.GIVEN_UP, **refund_due)
    make_promise("team_refund-2-paid_formed", state=NotifyTask.State.DELIVERED, **refund_due)
    make_promise("team_refund-3-unpaid_unlock", state=NotifyTask.State.RETRYING, **refund_due)

    status, text = scrape()

    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert status == "200 -"
    assert {name: float(found[name]) for name in found if name.startswith("gbm_part")} == {
        'gbm_part_up{part="database"}': 1,
        'gbm_part_up{part="migrations"}': 1,
        'gbm_part_up{part="redis"}': 1,
        'gbm_part_up{part="broker"}': 1,
    }
    expected = {
        'gbm_notifications{state="new"}': 1,
        'gbm_notifications{state="retrying"}': 1,
        'gbm_notifications{state="given_up"}': 1,
        "gbm_late_refunds": 1,
        "gbm_teams_forming": 1,
        "gbm_holds": 1,
        'gbm_overdue_seconds{rows="teams"}': 0,  # the factories' rows are of 2036
        'gbm_switch{key="cutRange"}': 100,
        'gbm_switch{key="tradeUserLimit"}': 6,
    }
    assert float(found["gbm_queue_tasks"]) >= 0
    assert {name: float(found[name]) for name in expected} == expected
    assert 50 <= float(found['gbm_overdue_seconds{rows="notifications"}']) < 110


@committed
def test_the_waiting_rows_are_read_by_indexes(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(10):
        list(trade_metrics.figures())


@committed
def test_health_with_all_parts(redis: Any, growth: Growth) -> None:
    assert scrape("/internal/live") == ("200 -", '{"status":"live","version":"dev"}')
    status, body = scrape("/internal/ready")
    assert (status, json.loads(body)) == (
        "200 -",
        {
            "status": "ready",
            "version": "dev",
            "database": "ok",
            "migrations": "ok",
            "redis": "ok",
            "broker": "ok",
        },
    )
    assert scrape("/internal/else")[0] == "404 -"
    checks = growth.of("gbm_broker")["gbm_broker_seconds_count{check}"]
    assert growth.of("gbm_broker") == {"gbm_broker_seconds_count{check}": checks}


@committed
def test_without_redis_and_broker_it_is_degraded(
    growth: Growth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(**_options: Any) -> Connection:
        return Connection("redis://127.0.0.1:1/0")

    monkeypatch.setattr(current_app, "connection_for_read", connect)

    status, body = scrape("/internal/ready")

    assert status == "200 -"
    assert (json.loads(body)["status"], json.loads(body)["redis"]) == ("degraded", "away")
    assert json.loads(body)["broker"] == "away"
    assert "gbm_queue_tasks" not in scrape()[1]
    failures = growth.of("gbm_broker")["gbm_broker_failures_total{check}"]
    assert growth.of("gbm_broker") == {"gbm_broker_failures_total{check}": failures}


def test_without_database_it_is_down(django_db_blocker: Any) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OperationalError("gone away")

    with (
        django_db_blocker.unblock(),
        connection.execute_wrapper(refuse),
    ):
        status, body = health.ready()
        text = b"".join(exporter.application({"PATH_INFO": "/internal/metrics"}, print)).decode()

    assert status == 503
    assert (json.loads(body)["status"], json.loads(body)["database"]) == ("down", "away")
    assert 'gbm_part_up{part="database"} 0.0' in text
    assert "gbm_teams_forming" not in text


@committed
def test_with_a_migration_to_apply_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_applied", False)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_arguments: ["one"])

    status, body = health.ready()

    assert (status, json.loads(body)["migrations"]) == (503, "away")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"REMOTE_ADDR": "10.1.2.3"}, 200),
        ({"REMOTE_ADDR": "127.0.0.1"}, 200),
        ({"REMOTE_ADDR": ""}, 200),  # on a Unix socket
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}, 404),
        ({"REMOTE_ADDR": "1.2.3.4"}, 404),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}, 404),
    ],
)
def test_health_is_not_public(client: Client, headers: dict[str, Any], status: int) -> None:
    assert client.get("/internal/live", **headers).status_code == status
    assert client.get("/internal/ready", **headers).status_code == status
    assert client.get("/internal/metrics", **headers).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("guide", ["monitoring.md", "monitoring.zh-CN.md"])
def test_the_guide_lists_every_metric(guide: str) -> None:
    text = (Path(__file__).parent.parent / "docs" / guide).read_text("utf-8")
    listed = set(re.findall(r"`(gbm_\w+)`", text))

    found = {metric.name for metric in [*REGISTRY.collect(), *exporter.Figures().collect()]}

    assert listed == {name for name in found if name.startswith("gbm_")} | {"gbm_queue_tasks"}
