"""The retention sweep: which rows are deleted when, and which stay at any age."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from groupbuy import switches
from groupbuy.models import Switch, SwitchChange
from tag import jobs
from tag.models import CrowdJob, CrowdPart, CrowdTag
from tests.factories import NOW, lock, make_activity, make_promise, refund, set_switch
from trade import invariants, retention
from trade.models import NotifyAttempt, NotifyTask, Order, Team
from trade.retention import delete_old_rows

pytestmark = pytest.mark.django_db
State = NotifyTask.State
MOMENT = timedelta(microseconds=1)


def ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


def make_delivered(key: str, at: datetime, **fields: Any) -> NotifyTask:
    defaults = {"state": State.DELIVERED, "delivered_at": at, "created_at": at}
    task = make_promise(key, next_attempt_at=None, **(defaults | fields))
    NotifyAttempt.objects.create(task=task, number=1, started_at=at, duration_ms=5)
    return task


def make_session(key: str, at: datetime) -> Session:
    return Session.objects.create(session_key=key, session_data="", expire_date=at)


def make_log_entry(text: str, at: datetime) -> LogEntry:
    user, _ = User.objects.get_or_create(username="operator")
    return LogEntry.objects.create(user=user, action_time=at, action_flag=CHANGE, object_repr=text)


def make_switch_change(text: str, at: datetime) -> SwitchChange:
    change = SwitchChange.objects.create(
        switch_id="cutRange", after=text, by="operator", reason="r"
    )
    SwitchChange.objects.filter(pk=change.pk).update(at=at)
    return change


MAKERS: dict[Switch.Key, Any] = {
    Switch.Key.KEEP_SESSIONS: make_session,
    Switch.Key.KEEP_NOTIFICATIONS: make_delivered,
    Switch.Key.KEEP_LOG: make_log_entry,
    Switch.Key.KEEP_CHANGES: make_switch_change,
}


@pytest.fixture(params=[1, 2, 500], autouse=True)
def _batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", request.param)


@pytest.mark.parametrize("key", MAKERS)
def test_rows_are_kept_for_the_days_of_their_switch(key: Switch.Key) -> None:
    model = type(MAKERS[key]("probe", NOW))
    model.objects.all().delete()
    set_switch(key, "100")
    for n in range(3):
        MAKERS[key](f"old {n}", ago(100) - MOMENT)
    kept = [MAKERS[key]("at the limit", ago(100)), MAKERS[key]("young", NOW)]

    assert delete_old_rows(now=NOW) == 3

    assert list(model.objects.order_by("pk")) == sorted(kept, key=lambda row: row.pk)
    assert delete_old_rows(now=NOW) == 0


def test_given_up_notifications_do_not_use_up_the_time_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "SECONDS", 0)  # a run ends after its first batch
    for n in range(retention.BATCH):
        make_delivered(f"given up {n}", ago(500), state=State.GIVEN_UP, delivered_at=None)
    make_delivered("delivered", ago(500))

    assert delete_old_rows(now=NOW) == 1
    assert set(NotifyTask.objects.values_list("state", flat=True)) == {State.GIVEN_UP}


def test_defaults() -> None:
    days = {key: switches.days_kept(key) for key in retention.KINDS}

    assert days == {
        Switch.Key.KEEP_SESSIONS: 30,
        Switch.Key.KEEP_NOTIFICATIONS: 400,
        Switch.Key.KEEP_RUNS: 30,
        Switch.Key.KEEP_LOG: 400,
        Switch.Key.KEEP_CHANGES: 400,
    }


def test_off_keeps_rows_for_ever() -> None:
    for key, make in MAKERS.items():
        set_switch(key, "off")
        make("old", ago(9999))

    assert delete_old_rows(now=NOW) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [*((key, "0") for key in retention.KINDS), (Switch.Key.KEEP_NOTIFICATIONS, "89")],
)
def test_too_few_days_are_refused(key: Switch.Key, value: str) -> None:
    with pytest.raises(ValidationError, match="9999"):
        switches.change(key, value, by="operator", reason="r")


def test_the_shortest_time_of_notifications_is_what_events_promise() -> None:
    days = switches.EVENTS_KEPT.days

    switches.validate(Switch.Key.KEEP_NOTIFICATIONS, str(days))
    with pytest.raises(ValidationError):
        switches.validate(Switch.Key.KEEP_NOTIFICATIONS, str(days - 1))


def test_only_delivered_notifications_are_deleted_and_their_attempts_with_them() -> None:
    first = make_delivered("given up", ago(900), state=State.GIVEN_UP, delivered_at=None)
    waiting = make_promise("new", created_at=ago(899))
    retrying = make_promise("retrying", created_at=ago(899), state=State.RETRYING)
    make_delivered("old", ago(401))
    late = make_delivered("delivered late", ago(399), created_at=ago(900))

    assert delete_old_rows(now=NOW) == 1

    assert set(NotifyTask.objects.all()) == {first, waiting, retrying, late}
    assert set(NotifyAttempt.objects.values_list("task", flat=True)) == {first.pk, late.pk}


def test_a_notification_that_is_being_sent_again_is_not_deleted() -> None:
    """An operator uses “Send again” after the sweep has read the keys."""
    task = make_delivered("again", ago(401))

    def send_again(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "created_at" in sql and sql.startswith("SELECT"):
            NotifyTask.objects.update(state=State.NEW, next_attempt_at=NOW)
        return result

    with connection.execute_wrapper(send_again):
        assert delete_old_rows(now=NOW) == 0

    assert NotifyTask.objects.get() == task
    assert NotifyAttempt.objects.count() == 1


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_a_notification_that_is_being_deleted_is_not_sent_again_meanwhile() -> None:
    """Mutation: _delivered_notifications() without select_for_update."""
    task = make_delivered("again", ago(401))
    unlocked: list[int] = []

    def look() -> None:
        with transaction.atomic():
            free = NotifyTask.objects.select_for_update(skip_locked=True)
            unlocked.extend(free.values_list("pk", flat=True))
        connection.close()

    def look_before(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("DELETE"):
            with ThreadPoolExecutor(1) as thread:
                thread.submit(look).result()
        return execute(sql, *arguments)

    with connection.execute_wrapper(look_before):
        assert delete_old_rows(now=NOW) == 1

    assert unlocked == []
    assert not NotifyTask.objects.filter(pk=task.pk).exists()


def test_events_continue_after_the_deleted_ones(mall: APIClient) -> None:
    for n in range(3):
        make_delivered(f"team_success-{n}", ago(401))
    assert [each["no"] for each in ask(mall, 0)] == [1, 2, 3]
    delete_old_rows(now=NOW)

    make_promise("team_success-3", created_at=NOW)

    for after in (0, 2, 3):
        assert [each["no"] for each in ask(mall, after)] == [4]


def ask(mall: APIClient, after: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = mall.get("/api/v1/gbm/events", {"after": after}).json()["data"][
        "events"
    ]
    return events


def test_the_invariants_hold_after_the_deletion() -> None:
    make_activity()
    lock("a")
    refund("a")
    NotifyTask.objects.update(state=State.DELIVERED, delivered_at=NOW, next_attempt_at=None)
    Team.objects.update(status=Team.Status.FAILED)
    set_switch(Switch.Key.KEEP_NOTIFICATIONS, "90")
    later = NOW + timedelta(days=90)

    assert delete_old_rows(now=later) == 0
    assert broken(later) == []

    assert delete_old_rows(now=later + MOMENT) == 1
    assert broken(later + MOMENT) == []


def test_a_missing_notification_is_found_while_it_must_be_kept() -> None:
    make_activity()
    lock("a")
    refund("a")
    NotifyTask.objects.all().delete()
    Team.objects.update(status=Team.Status.FAILED)

    assert broken(NOW + timedelta(days=90)) == [f"order {Order.objects.get().pk}"]


def broken(now: datetime) -> list[str]:
    return [row.split(":")[0] for _sentence, rows in invariants.check_all(now) for row in rows]


def make_stopped_run(batch_id: str, at: datetime) -> CrowdJob:
    tag, _ = CrowdTag.objects.get_or_create(tag_id="RQ", defaults={"name": "crowd"})
    job = CrowdJob.objects.create(tag=tag, batch_id=batch_id, kind=0, at_least=1)
    jobs.start(job.pk, now=at)
    jobs.stop(job.pk)
    return job


def test_stopped_runs_are_dropped_and_their_jobs_can_start_again() -> None:
    old = make_stopped_run("old", ago(30) - MOMENT)
    young = make_stopped_run("young", ago(30))
    running = make_stopped_run("running", ago(99))
    jobs.resume(running.pk)

    assert delete_old_rows(now=NOW) == 1

    assert not jobs.resume(old.pk)
    assert jobs.start(old.pk, now=NOW)
    assert jobs.resume(young.pk)
    running.refresh_from_db()
    assert running.status == CrowdJob.Status.RUNNING
    retired = CrowdPart.objects.exclude(pk__in=CrowdJob.objects.values("run"))
    assert [part.job for part in retired] == [old]


def test_a_run_that_is_resumed_meanwhile_is_kept() -> None:
    job = make_stopped_run("job", ago(99))

    def resume(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "started_at" in sql and sql.startswith("SELECT"):
            jobs.resume(job.pk)
        return result

    with connection.execute_wrapper(resume):
        assert delete_old_rows(now=NOW) == 0

    job.refresh_from_db()
    assert (job.status, job.run is None) == (CrowdJob.Status.RUNNING, False)


def test_a_run_of_the_sweep_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SECONDS", 0)
    monkeypatch.setattr(retention, "BATCH", 2)
    for key, make in MAKERS.items():
        if key != Switch.Key.KEEP_SESSIONS:
            for n in range(3):
                make(f"{n}", ago(401))

    assert delete_old_rows(now=NOW) == 2 * 3
    assert delete_old_rows(now=NOW) == 3


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="MariaDB scans small tables")
def test_old_rows_are_found_by_an_index() -> None:
    for make in MAKERS.values():
        make("old", ago(9999))
        make("young", NOW)
    with CaptureQueriesContext(connection) as captured:
        delete_old_rows(now=NOW)

    slow = {step for plan in plans(captured) for step in plan if re.match("SCAN|USE TEMP", step)}
    assert slow == {"SCAN groupbuy_switch", "SCAN tag_crowdjob"}  # small tables


def plans(captured: CaptureQueriesContext) -> Iterator[list[str]]:
    for query in captured:
        if query["sql"].startswith(("SELECT", "DELETE", "UPDATE")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql'].replace('%', '%%')}")
                yield [row[-1] for row in cursor.fetchall()]
