"""Crowd jobs find exactly the buyers, and swap members as a whole, whichever process is killed."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Event, current_thread
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import translation
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from rest_framework.test import APIClient

from groupbuy import snapshots
from tag import bitmaps, crowd, jobs
from tag.admin import CrowdTagForm
from tag.crowd import add_members, crowds_of, members_of
from tag.jobs import Rule
from tag.models import CrowdJob, CrowdMember, CrowdPart, CrowdSlice, CrowdTag, CrowdUser
from tests.checks import broken_invariants, is_member
from tests.factories import NOW, lock, make_activity, refund, set_switch, settle
from tests.racing import LATE, race
from trade import history, tasks
from trade.models import Order

Kind, Status = CrowdJob.Kind, CrowdJob.Status
PEOPLE = [f"u{n:02}" for n in range(20)]


class History:
    """A scripted history: a job finds exactly the shoppers that the test names."""

    def __init__(self, *people: str, size: int = 4) -> None:
        self.people = set(people)
        self.size = size
        self.looked_at: list[str] = []

    def slices(self) -> Iterator[tuple[str, str]]:
        ends = PEOPLE[self.size - 1 : -1 : self.size]
        yield from zip(["", *ends], [*ends, ""], strict=True)

    def found(self, rule: Rule, *, after: str, upto: str) -> list[str]:
        self.looked_at.append(after)
        return sorted(who for who in self.people if after < who and (not upto or who <= upto))


def make_job(tag_id: str = "RQ", batch_id: str = "10001", **fields: Any) -> CrowdJob:
    tag, _ = CrowdTag.objects.get_or_create(tag_id=tag_id, defaults={"name": tag_id})
    defaults = {"kind": Kind.ORDERS, "at_least": Decimal(1)}
    return CrowdJob.objects.create(tag=tag, batch_id=batch_id, **(defaults | fields))


def run(job: CrowdJob, history: jobs.History, *, now: datetime = NOW) -> None:
    assert jobs.start(job.pk, now=now)
    work(history)
    job.refresh_from_db()
    assert job.status == Status.DONE


def work(history: jobs.History, *, now: datetime = NOW) -> int:
    steps = 0
    while jobs.work(history, clock=lambda: now):
        steps += 1
    return steps


def members(tag_id: str = "RQ") -> list[str]:
    return sorted(members_of(tag_id).values_list("user_id", flat=True))


@pytest.mark.django_db
def test_a_run_replaces_what_the_job_found_before_and_nothing_else() -> None:
    job, other = make_job(), make_job(batch_id="10002")
    add_members(job.tag, ["by hand", "u01"])
    run(other, History("u09"))
    run(job, History("u01", "u02"))
    assert members() == ["by hand", "u01", "u02", "u09"]

    run(job, History("u02", "u03"))

    assert members() == ["by hand", "u01", "u02", "u03", "u09"]
    assert CrowdTag.objects.get().size == 5
    assert jobs.progress(job).found == 2
    assert CrowdPart.objects.filter(is_live=False).count() == 0  # what it found before is gone
    assert CrowdMember.objects.count() == 5
    assert CrowdSlice.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
def test_no_trial_sees_a_half_built_crowd() -> None:
    job = make_job()
    run(job, History("u01", "u02", "u19"))
    history = History("u02", "u03", "u18")
    assert jobs.start(job.pk, now=NOW)
    assert not jobs.start(job.pk, now=NOW)  # one at a time

    while jobs.progress(CrowdJob.objects.get()).status == Status.RUNNING:
        assert members() == ["u01", "u02", "u19"]
        assert [who for who in PEOPLE if is_member("RQ", who)] == members()
        assert jobs.work(history, clock=lambda: NOW)

    assert [who for who in PEOPLE if is_member("RQ", who)] == ["u02", "u03", "u18"]
    assert list(bitmaps.mismatches()) == []


@pytest.mark.django_db
def test_a_stopped_run_goes_on_where_it_was() -> None:
    job = make_job()
    history = History("u01", "u19")
    jobs.start(job.pk, now=NOW)
    jobs.work(history, clock=lambda: NOW)
    jobs.work(history, clock=lambda: NOW)

    assert jobs.stop(job.pk)
    assert not jobs.stop(job.pk)
    assert work(history) == 0
    found = jobs.progress(CrowdJob.objects.select_related("run").get())
    assert (found.status, found.done, found.slices, found.found) == (Status.RESET, 2, 5, 1)
    assert members() == []

    assert jobs.resume(job.pk)
    work(history)
    assert history.looked_at == ["", *PEOPLE[3:-1:4]]  # each slice once
    assert members() == ["u01", "u19"]
    assert not jobs.resume(job.pk)


@pytest.mark.django_db
def test_a_stopped_job_may_start_a_new_run() -> None:
    job = make_job()
    jobs.start(job.pk, now=NOW)
    jobs.work(History("u01"), clock=lambda: NOW)
    jobs.stop(job.pk)

    run(job, History("u02"))

    assert members() == ["u02"]
    assert CrowdMember.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_dead_workers_slice_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    history = History("u01", "u05")
    jobs.start(job.pk, now=NOW)

    def die(*arguments: Any) -> None:
        insert(*arguments)
        raise SystemExit

    insert = crowd.insert_members
    with monkeypatch.context() as dying:
        dying.setattr(crowd, "insert_members", die)
        with pytest.raises(SystemExit):
            jobs.work(history, clock=lambda: NOW)
    assert CrowdMember.objects.count() == 0  # all of a slice or nothing

    assert work(history) == 4  # the others
    assert members() == []
    work(history, now=NOW + jobs.LEASE)
    assert members() == ["u01", "u05"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_lease_has_expired_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: _fill does not compare the lease."""
    job = make_job()
    jobs.start(job.pk, now=NOW)
    late = History("u01", "u02")

    def meanwhile(rule: Rule, *, after: str, upto: str) -> list[str]:
        monkeypatch.undo()
        work(History("u01"), now=NOW + jobs.LEASE)
        return ["u01", "u02"]

    monkeypatch.setattr(late, "found", meanwhile)
    jobs.work(late, clock=lambda: NOW)

    assert members() == ["u01"]
    assert CrowdMember.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_workers_share_the_slices_of_a_run() -> None:
    job = make_job()
    history = History(*PEOPLE, size=1)
    jobs.start(job.pk, now=NOW)
    jobs.work(history, clock=lambda: NOW)  # has planned

    def patient() -> int:
        done = 0
        while CrowdJob.objects.get().status == Status.RUNNING:
            done += jobs.work(history, clock=lambda: NOW)
        return done

    done = race(*[patient] * 4)

    assert [each for each in done if isinstance(each, Exception)] == []
    assert sorted(history.looked_at) == ["", *PEOPLE[:-1]]  # each slice once
    assert members() == PEOPLE
    assert jobs.progress(CrowdJob.objects.select_related("run").get()).found == len(PEOPLE)
    numbers = sorted(CrowdUser.objects.values_list("pk", flat=True))
    assert numbers == list(range(numbers[0], numbers[0] + len(PEOPLE)))  # dense


@pytest.mark.django_db(transaction=True)
def test_trials_of_other_threads_see_no_half_built_crowd(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _finish makes the part live before its last slice, or start() makes it live."""
    monkeypatch.setattr(snapshots, "MAX_AGE", 0.01)
    stays, leaves, comes = PEOPLE[::3], PEOPLE[1::3], PEOPLE[2::3]
    job = make_job()
    run(job, History(*stays, *leaves))
    goes_on = Event()

    def try_out() -> list[frozenset[str]]:
        """The members that trials see after each slice of the job."""
        seen = []
        while not goes_on.is_set():
            version = crowd._versions.get()["RQ"]
            inside = frozenset(who for who in PEOPLE if is_member("RQ", who))
            if crowd._versions.get()["RQ"] == version:  # else it saw the end of one, the next
                seen.append(inside)
        return seen

    def rebuild() -> None:
        for found in ([*stays, *comes], [*stays, *leaves]) * 3:
            run(job, History(*found, size=1))
        goes_on.set()

    first, second, built = race(try_out, try_out, rebuild)

    assert built is None
    before, after = frozenset([*stays, *leaves]), frozenset([*stays, *comes])
    assert set(first) | set(second) <= {before, after}
    assert len(set(first) | set(second)) == 2


@pytest.mark.django_db(transaction=True)
def test_a_job_may_be_deleted_while_its_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: discard() does not lock the job before the crowd: a deadlock on MariaDB."""
    job, history = make_job(), History("u01")
    jobs.start(job.pk, now=NOW)
    real, ends, is_discarded = crowd.give_new_version, Event(), Event()

    def give_new_version(tag_id: str) -> None:
        if current_thread().name == "discard":
            real(tag_id)
            is_discarded.set()
            return
        ends.set()
        is_discarded.wait(0.5)
        real(tag_id)

    def discard() -> None:
        current_thread().name = "discard"
        assert ends.wait(LATE)
        jobs.discard(job)

    monkeypatch.setattr(crowd, "give_new_version", give_new_version)

    results = race(partial(work, history), discard)

    assert [each for each in results if isinstance(each, Exception)] == []
    assert not CrowdJob.objects.exists()
    assert members() == []


@pytest.mark.django_db
def test_only_so_many_slices_of_a_run_are_in_work_at_once() -> None:
    job = make_job()
    jobs.start(job.pk, now=NOW)
    run = CrowdJob.objects.select_related("run").get().run
    assert run is not None
    jobs._plan(run, History(size=1), now=NOW)

    claimed = [jobs._claim(run, now=NOW) for _ in range(jobs.PARALLEL + 1)]

    assert [each is not None for each in claimed] == [True] * jobs.PARALLEL + [False]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "work", "work", "die", "stop", "resume", "add", "lose redis"]),
        st.sets(st.sampled_from(PEOPLE), max_size=8),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
@pytest.mark.django_db
def test_a_crowd_has_either_its_old_or_its_new_members(
    redis: Redis, steps: list[tuple[str, set[str]]]
) -> None:
    for model in (CrowdMember, CrowdPart, CrowdJob, CrowdTag):
        model._default_manager.all().delete()
    job = make_job()
    history, by_hand, by_job = History(), set[str](), set[str]()
    for n, (step, people) in enumerate(steps):
        now = NOW + timedelta(seconds=20 * n)
        if step == "add":
            by_hand |= people
        if step == "start" and CrowdJob.objects.get().status != Status.RUNNING:
            history = History(*people)
        step_by_step(job, step, people, history, redis, now)
        if CrowdJob.objects.get().status == Status.DONE:
            by_job = history.people
        assert {who for who in PEOPLE if crowds_of(who, ["RQ"])} == by_hand | by_job
        assert list(bitmaps.mismatches()) == []


def step_by_step(
    job: CrowdJob, step: str, people: set[str], history: History, redis: Redis, now: datetime
) -> None:
    steps: dict[str, Callable[[], object]] = {
        "start": lambda: jobs.start(job.pk, now=now),
        "work": lambda: jobs.work(history, clock=lambda: now),
        "die": lambda: claim_and_die(now),
        "stop": lambda: jobs.stop(job.pk),
        "resume": lambda: jobs.resume(job.pk),
        "add": lambda: add_members(job.tag, people),
        "lose redis": redis.flushall,
    }
    steps[step]()


def claim_and_die(now: datetime) -> None:
    run = CrowdJob.objects.select_related("run").get().run
    if run and run.is_planned:
        jobs._claim(run, now=now)


def buy(user_id: str, n: int, *, given_back: bool = False) -> None:
    trade_no = f"{user_id}-{n}"
    lock(user_id, out_trade_no=trade_no)
    settle(user_id, out_trade_no=trade_no, paid_at=NOW + timedelta(minutes=n))
    if given_back:
        refund(user_id, out_trade_no=trade_no)


@pytest.mark.django_db
def test_the_history_counts_what_was_paid_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity(take_limit=9)
    monkeypatch.setattr(history, "SLICE", 2)
    set_switch("holdLimit", "off")
    for user_id, times in (("a", 3), ("b", 2), ("c", 1), ("e", 2)):
        for n in range(times):
            buy(user_id, n)
    buy("d", 0)
    buy("d", 1, given_back=True)
    lock("f")

    def found(kind: CrowdJob.Kind, at_least: str, **window: int) -> list[str]:
        ends = {name: NOW + timedelta(minutes=minutes) for name, minutes in window.items()}
        rule = Rule(kind, Decimal(at_least), ends.get("since"), ends.get("until"))
        ranges = list(history.slices())
        assert ranges[0][0] == ranges[-1][1] == ""
        assert [upto for _after, upto in ranges[:-1]] == [after for after, _upto in ranges[1:]]
        assert len(ranges) > 1
        return [
            who for after, upto in ranges for who in history.found(rule, after=after, upto=upto)
        ]

    assert found(Kind.ORDERS, "1") == ["a", "b", "c", "d", "e"]
    assert found(Kind.ORDERS, "2") == ["a", "b", "e"]
    assert found(Kind.AMOUNT, "160") == ["a", "b", "e"]
    assert found(Kind.AMOUNT, "160.01") == ["a"]
    assert found(Kind.ORDERS, "1", since=1) == ["a", "b", "e"]
    assert found(Kind.ORDERS, "1", since=1, until=1) == []
    assert found(Kind.ORDERS, "2", until=2) == ["a", "b", "e"]
    every = Rule(Kind.AMOUNT, Decimal(1), None, None)
    assert [history.measure(who, every) for who in "adfz"] == [240, 80, 0, 0]


@pytest.mark.django_db
def test_a_job_counts_its_last_days_back_from_each_run() -> None:
    make_activity()
    lock("a")
    settle("a")
    job = make_job(last_days=7)

    run(job, history, now=NOW + timedelta(days=7))
    assert members() == ["a"]
    run(job, history, now=NOW + timedelta(days=7, minutes=2))
    assert members() == []


@pytest.mark.django_db
def test_a_run_keeps_the_rule_it_began_with() -> None:
    seen: list[Decimal] = []

    class Noting(History):
        def found(self, rule: Rule, *, after: str, upto: str) -> list[str]:
            seen.append(rule.at_least)
            return super().found(rule, after=after, upto=upto)

    job, history = make_job(), Noting("u01")
    jobs.start(job.pk, now=NOW)
    jobs.work(history, clock=lambda: NOW)
    jobs.stop(job.pk)
    CrowdJob.objects.update(at_least=5)
    jobs.resume(job.pk)
    work(history)

    assert seen == [Decimal(1)] * 5


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_one_worker_at_a_time_deletes_the_members_of_a_deleted_job() -> None:
    job = make_job()
    run(job, History("u01", "u02"))
    jobs.discard(job)

    with transaction.atomic():
        CrowdPart.objects.select_for_update().get()  # as a worker that deletes holds it
        assert race(partial(jobs.work, History(), clock=lambda: NOW)) == [False]
    assert CrowdMember.objects.count() == 2
    assert work(History()) == 1
    assert not CrowdPart.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("at_work", [False, True])
def test_members_that_only_a_deleted_job_had_found_leave_the_crowd(
    at_work: bool, operator: Client
) -> None:
    job = make_job()
    add_members(job.tag, ["by hand"])
    run(job, History("u01", "u02"))
    bitmaps.refresh()
    if at_work:
        jobs.start(job.pk, now=NOW)
        jobs.work(History("u03"), clock=lambda: NOW)

    operator.post(f"/admin/tag/crowdjob/{job.pk}/delete/", {"post": "yes"})

    assert not CrowdJob.objects.exists()
    assert not is_member("RQ", "u01")
    assert members() == ["by hand"]
    bitmaps.refresh()
    assert list(bitmaps.mismatches()) == []
    assert is_member("RQ", "by hand")
    work(History())
    assert CrowdMember.objects.count() == CrowdPart.objects.count() == 1
    assert not jobs.start(job.pk, now=NOW)


@pytest.mark.django_db
def test_the_form_of_a_crowd_writes_only_the_fields_that_it_changes(
    monkeypatch: pytest.MonkeyPatch, operator: Client
) -> None:
    """Mutation: save_changed() saves every column."""
    tag = make_job().tag
    full_clean = CrowdTagForm.full_clean

    def meanwhile(form: CrowdTagForm) -> None:
        add_members(tag, ["u01"])
        bitmaps.refresh()
        full_clean(form)

    monkeypatch.setattr(CrowdTagForm, "full_clean", meanwhile)
    operator.post("/admin/tag/crowdtag/RQ/change/", {"name": "renamed", "new_members": ""})

    before, tag = tag, CrowdTag.objects.get()
    assert (tag.name, tag.size, members()) == ("renamed", 1, ["u01"])
    assert tag.version != before.version
    assert list(bitmaps.mismatches()) == []


@pytest.mark.django_db
def test_one_worker_plans_a_run() -> None:
    job = make_job()
    jobs.start(job.pk, now=NOW)
    part = jobs.get(job.pk).run
    assert part is not None
    planned = partial(jobs._plan, part, now=NOW)

    class Slow(History):
        def slices(self) -> Iterator[tuple[str, str]]:
            assert not planned(history=History())  # while this one plans
            assert not jobs.work(History(), clock=lambda: NOW)
            yield from super().slices()

    assert planned(history=Slow())
    assert jobs.progress(jobs.get(job.pk)).slices == 5


@pytest.mark.django_db
def test_amounts_are_added_up_to_the_fen() -> None:
    """Mutation: sum the prices as they are, which SQLite does in floats."""
    make_activity(take_limit=9)
    for n in range(3):
        buy("a", n)
    Order.objects.update(pay_price="1.15")
    for at_least, names in (("3.45", ["a"]), ("3.46", [])):
        rule = Rule(Kind.AMOUNT, Decimal(at_least), None, None)
        assert history.found(rule, after="", upto="") == names
        assert history.measure("a", rule) == Decimal("3.45")


@pytest.mark.django_db
def test_a_preview_counts_and_builds_nothing() -> None:
    job = make_job()
    history = History("u01", "u02", "u19")

    assert jobs.preview(job, history, now=NOW, seconds=5) == (3, True)
    assert jobs.preview(job, history, now=NOW, seconds=-1) == (0, False)
    assert (CrowdPart.objects.count(), CrowdMember.objects.count()) == (0, 0)
    assert broken_invariants() == {}


JOB = "/api/v1/gbm/tag/exec_tag_batch_job"


@pytest.mark.django_db
def test_the_api_starts_a_job_once_and_reports_its_progress(
    mall: APIClient, operator_api: APIClient
) -> None:
    job = make_job()
    operator = operator_api
    named = {"tagId": "RQ", "batchId": "10001"}

    assert mall.post(JOB, named, format="json").status_code == 403
    unknown = operator.post(JOB, named | {"batchId": "x"}, format="json").json()
    assert (unknown["code"], unknown["data"]) == ("0002", None)
    assert unknown["info"].endswith("tagId, batchId: there is no such crowd job")
    assert operator.post(JOB, {}, format="json").json()["code"] == "0002"
    assert CrowdPart.objects.count() == 0

    running = {"status": 1, "slices": 0, "slicesDone": 0, "found": 0}
    assert operator.post(JOB, named, format="json").json()["data"] == running
    assert operator.post(JOB, named, format="json").json()["data"] == running
    assert CrowdPart.objects.count() == 1
    work(History("u01"))
    job.refresh_from_db()
    assert (job.status, members()) == (Status.DONE, ["u01"])


@pytest.mark.django_db
def test_a_saved_job_leads_to_the_page_that_starts_it(operator: Client) -> None:
    CrowdTag.objects.create(tag_id="vip", name="vip")
    sent = {"tag": "vip", "batch_id": "may", "kind": 0, "at_least": "2", "last_days": "30"}

    page = operator.post("/admin/tag/crowdjob/add/", sent)

    assert page["Location"] == f"/admin/tag/crowdjob/{CrowdJob.objects.get().pk}/watch/"


@pytest.mark.django_db
def test_the_console_counts_runs_stops_and_goes_on(operator: Client) -> None:
    make_activity()
    lock("a")
    settle("a")
    job = make_job()
    page = f"/admin/tag/crowdjob/{job.pk}/watch/"

    def press(button: str) -> str:
        return operator.post(page, {button: "1"}, follow=True).content.decode()

    assert "It would find 1 user." in press("count")
    assert CrowdPart.objects.count() == 0
    assert "running" in press("start")
    stopped = press("stop")
    assert "stopped" in stopped
    assert "Run from the beginning" in stopped
    assert f' href="/admin/tag/crowdjob/{job.pk}/change/"' in stopped
    assert f'href="{page}"' in operator.get("/admin/tag/crowdjob/").content.decode()
    assert "running" in press("resume")
    work(history)
    shown = operator.get(page).content.decode()
    assert "done" in shown
    assert "1 user found" in shown
    assert members() == ["a"]
    viewer = Client()
    viewer.force_login(User.objects.create_user("viewer", is_staff=True))
    assert viewer.post(page, {"start": "1"}).status_code == 403


@pytest.mark.django_db
def test_a_second_press_is_not_logged_and_none_takes_effect_without_its_log_entry(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    page = f"/admin/tag/crowdjob/{job.pk}/watch/"
    for _press in range(2):
        operator.post(page, {"start": "1"})
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["start"]

    def die(*_args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(ModelAdmin, "log_change", die)
    with pytest.raises(RuntimeError):
        operator.post(page, {"stop": "1"})
    job.refresh_from_db()
    assert job.status == Status.RUNNING


@pytest.mark.django_db
def test_a_job_that_is_no_number_is_not_found(operator: Client) -> None:
    assert operator.get("/admin/tag/crowdjob/abc/watch/").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("window", "rule"),
    [
        ({}, "number of paid orders ≥ 2"),
        ({"last_days": 1}, "number of paid orders ≥ 2, last 1 day"),
        ({"last_days": 30}, "number of paid orders ≥ 2, last 30 days"),
        (
            {"start_at": NOW, "end_at": NOW + timedelta(days=1)},
            "number of paid orders ≥ 2, since 2036-05-01 12:00, before 2036-05-02 12:00",
        ),
    ],
)
def test_a_rule_is_described_with_its_window(window: dict[str, Any], rule: str) -> None:
    with translation.override("en"):
        assert CrowdJob(kind=0, at_least=Decimal(2), **window).rule == rule


@pytest.mark.django_db
def test_a_schedule_is_in_the_consoles_time() -> None:
    assert str(CrontabSchedule().timezone) == "Asia/Shanghai"


@pytest.mark.django_db
def test_a_schedule_starts_the_job_again_and_goes_with_it(operator: Client) -> None:
    nightly = CrontabSchedule.objects.create(hour="3", minute="0")
    CrowdTag.objects.create(tag_id="RQ", name="crowd")
    form = {"tag": "RQ", "batch_id": "10001", "kind": 0, "at_least": "2", "last_days": "30"}
    operator.post("/admin/tag/crowdjob/add/", form | {"schedule": nightly.pk})
    job = CrowdJob.objects.get()

    planned = PeriodicTask.objects.get(name=f"crowd job {job.pk}")
    assert (planned.crontab, planned.enabled) == (nightly, True)
    assert planned.task == tasks.start_crowd_job.name
    tasks.start_crowd_job(*json.loads(planned.args))
    assert CrowdJob.objects.get().status == Status.RUNNING

    operator.post(f"/admin/tag/crowdjob/{job.pk}/change/", form)
    assert not PeriodicTask.objects.filter(name=planned.name).exists()
    operator.post(f"/admin/tag/crowdjob/{job.pk}/change/", form | {"schedule": nightly.pk})
    operator.post(f"/admin/tag/crowdjob/{job.pk}/delete/", {"post": "yes"})
    assert not PeriodicTask.objects.filter(name=planned.name).exists()
    assert not CrowdJob.objects.exists()


@pytest.mark.django_db
def test_a_contradictory_rule_of_a_job_is_refused(operator: Client) -> None:
    CrowdTag.objects.create(tag_id="RQ", name="crowd")
    form = {"tag": "RQ", "batch_id": "1", "kind": 0, "at_least": "1"}
    window = {"start_at_0": "2036-05-02", "start_at_1": "00:00:00"}
    before = {"end_at_0": "2036-05-01", "end_at_1": "00:00:00"}
    for wrong, field in (
        ({"at_least": "1.5"}, "at_least"),
        ({"at_least": "0"}, "at_least"),
        ({"last_days": "7"} | window, "last_days"),
        (window | before, "end_at"),
        ({"batch_id": "a/b"}, "batch_id"),
    ):
        answer = operator.post("/admin/tag/crowdjob/add/", form | wrong)
        assert list(answer.context["adminform"].form.errors) == [field]
    assert not CrowdJob.objects.exists()


@pytest.mark.django_db
def test_why_a_user_is_in_or_not(operator: Client) -> None:
    make_activity(take_limit=9)
    buy("a", 0)
    buy("b", 0)
    job = make_job()
    add_members(job.tag, ["by hand"])
    run(job, history)
    buy("late", 0)
    refund("b", out_trade_no="b-0")

    def reasons(user_id: str) -> list[tuple[bool, Decimal, bool]]:
        found = history.why(job.tag, user_id, now=NOW)
        assert [each.job for each in found] == [None, job]
        return [(each.inside, each.measure, each.enough) for each in found]

    nothing = (False, Decimal(0), False)
    assert reasons("a") == [nothing, (True, 1, True)]
    assert reasons("b") == [nothing, (True, 0, False)]
    assert reasons("late") == [nothing, (False, 1, True)]
    assert reasons("by hand") == [(True, Decimal(0), False), nothing]
    page = "/admin/tag/crowdjob/why/"
    shown = operator.get(page, {"tag": "RQ", "user_id": "late"}).content.decode()
    assert "Is not in the crowd." in shown
    assert "The next run would find this user." in shown
    shown = operator.get(page, {"tag": "RQ", "user_id": "b"}).content.decode()
    assert "Is in the crowd." in shown
    assert "The next run would not find this user again." in shown


@pytest.mark.django_db
def test_the_api_puts_users_in_and_takes_them_out(mall: APIClient, operator_api: APIClient) -> None:
    CrowdTag.objects.create(tag_id="RQ", name="crowd")
    operator = operator_api
    add, remove = (f"/api/v1/gbm/tag/{verb}_members" for verb in ("add", "remove"))

    def post(path: str, **body: Any) -> Any:
        return operator.post(path, {"tagId": "RQ"} | body, format="json").json()

    assert post(add, userIds=["a", "b", "a"])["data"] == {"tagId": "RQ", "members": 2}
    assert post(add, userIds=["b", "c"])["data"] == {"tagId": "RQ", "members": 3}
    assert post(remove, userIds=["b", "x"])["data"] == {"tagId": "RQ", "members": 2}
    assert members() == ["a", "c"]
    for wrong, named in (
        ({"userIds": ["d", "x" * 65]}, "userIds"),
        ({"userIds": []}, "userIds"),
        ({}, "userIds"),
        ({"userIds": ["d"], "tagId": "nowhere"}, "tagId"),
    ):
        answer = post(add, **wrong)
        assert (answer["code"], answer["data"]) == ("0002", None)
        assert named in answer["info"]
    assert mall.post(add, {"tagId": "RQ", "userIds": ["d"]}, format="json").status_code == 403
    assert members() == ["a", "c"]
