"""Live switches (动态配置), and the in-process copies of them."""

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from rest_framework.test import APIClient

from activity.models import Activity
from activity.trial import TrialQuery, run_trial
from groupbuy import snapshots, switches
from groupbuy.errors import ErrorCode
from groupbuy.models import ApiKey, Switch, SwitchChange
from groupbuy.snapshots import Snapshot
from tests.factories import GOODS, NOW, make_activity, set_switch
from tests.racing import LATE

USERS = [f"user{n}" for n in range(2000)]
TICK = 1e-6  # seconds; a test that moves the clock by some of these is not ahead of the next one


def let_in(per_cent: str) -> set[str]:
    set_switch("cutRange", per_cent)
    return {user for user in USERS if switches.in_cut_range(user)}


@pytest.mark.django_db
def test_defaults() -> None:
    assert switches.is_downgraded() is False
    assert switches.in_cut_range("anybody") is True
    assert switches.is_blacklisted("s02", "c02") is True
    assert switches.is_blacklisted("s01", "c01") is False
    assert switches.caches_off() is False


@pytest.mark.django_db
def test_cut_range_grows_from_nobody_to_everybody() -> None:
    thirty, forty = let_in("30"), let_in("40")

    assert let_in("0") == set()
    assert thirty < forty < let_in("100") == set(USERS)
    assert 500 < len(thirty) < 700


def let_into(activity: Activity, per_cent: int) -> set[str]:
    activity.cut_range = per_cent
    activity.save()
    snapshots.invalidate()
    asked = {user: run_trial(TrialQuery(user, "s01", "c01", GOODS), now=NOW) for user in USERS}
    refused = {user for user, trial in asked.items() if trial.refusals}
    assert all(asked[user].refusals == (ErrorCode.OUTSIDE_CUT_RANGE,) for user in refused)
    return set(USERS) - refused


@pytest.mark.django_db
def test_an_activity_samples_other_users_than_the_switch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    activity = make_activity()
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)

    thirty, forty = let_into(activity, 30), let_into(activity, 40)

    assert let_into(activity, 0) == set()
    assert thirty < forty < let_into(activity, 100) == set(USERS)
    assert thirty != {user for user in USERS if switches.in_first(30, user)}
    assert 500 < len(thirty) < 700


BUCKETS = """
from groupbuy import switches
print([switches.bucket(f"user{n}") for n in range(2000)])
"""


def test_two_processes_admit_the_same_users() -> None:
    """Mutation: bucket() by hash(), which each process salts in its own way."""
    answers = {
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", BUCKETS],
            cwd=Path(__file__).parent.parent,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[-1]
        for seed in ("1", "2")
    }

    assert answers == {str([switches.bucket(user) for user in USERS])}


@pytest.mark.django_db
def test_cut_range_is_the_same_in_every_process() -> None:
    """zlib.crc32 is not salted, unlike hash(): these users stay admitted."""
    set_switch("cutRange", "50")

    assert [switches.in_cut_range(user) for user in ("xiaofuge", "liergou", "xfg01")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("downgradeSwitch", "0"),
        ("downgradeSwitch", "1"),
        ("cutRange", "0"),
        ("cutRange", "100"),
        ("scBlacklist", ""),
        ("scBlacklist", "s02c02,s03c03"),
        ("cacheSwitch", "0"),
        ("cacheSwitch", "1"),
        ("cacheSwitch", "off"),
        ("rateLimiterSwitch", "open"),
        ("rateLimiterSwitch", "close"),
    ],
)
def test_readable_values_are_accepted(key: str, value: str) -> None:
    switches.validate(key, value)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("downgradeSwitch", "2", "value"),
        ("downgradeSwitch", "", "value"),
        ("cutRange", "101", "value"),
        ("cutRange", "-1", "value"),
        ("cutRange", "１０", "value"),
        ("scBlacklist", "a b", "value"),
        ("cacheSwitch", "", "value"),
        ("rateLimiterSwitch", "closed", "value"),
        ("scBlacklist", "s" * 1001, "value"),
        ("nothing", "1", "key"),
    ],
)
def test_unreadable_values_are_refused_with_the_field_named(
    key: str, value: str, field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        switches.validate(key, value)

    assert list(caught.value.message_dict) == [field]


@pytest.mark.django_db
def test_a_value_written_past_the_code_that_cannot_be_read_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_switch("cutRange", "many")

    assert switches.in_cut_range("anybody") is True
    assert "cutRange='many' is ignored" in caplog.text


DCC = "/api/v1/gbm/dcc/update_config"


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_an_operator_key_changes_switches(operator_api: APIClient, method: str, slash: str) -> None:
    answer = getattr(operator_api, method)(f"{DCC}{slash}?key=cutRange&value=0")

    assert answer.json() == {"code": "0000", "info": "Success", "data": None}
    assert switches.in_cut_range("anybody") is False
    change = SwitchChange.objects.get()
    assert (change.before, change.after) == ("100", "0")
    assert (change.by, change.reason) == (str(ApiKey.objects.get()), "API: dcc/update_config")


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["scBlacklist", "scBlackList"])
def test_both_spellings_of_the_blacklist_are_known(operator_api: APIClient, key: str) -> None:
    operator_api.get(f"{DCC}?key={key}&value=s03c03, s04c04")

    assert Switch.objects.get(key="scBlacklist").value == "s03c03,s04c04"
    assert switches.is_blacklisted("s04", "c04")
    assert not switches.is_blacklisted("s02", "c02")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("key=nothing&value=1", "key"),
        ("value=1", "key"),
        ("key=cutRange&value=101", "value"),
        ("key=cutRange", "value"),
        ("key=downgradeSwitch&value=on", "value"),
    ],
)
def test_a_refused_change_names_the_field_and_changes_nothing(
    operator_api: APIClient, query: str, field: str
) -> None:
    before = list(Switch.objects.order_by("key").values())

    body = operator_api.post(f"{DCC}?{query}").json()

    assert (body["code"], body["data"]) == ("0002", None)
    assert f"{field}:" in body["info"]
    # For a missing field, info says that it belongs into the URL.
    assert ("URL" in body["info"]) == (f"{field}=" not in query)
    assert list(Switch.objects.order_by("key").values()) == before
    assert not SwitchChange.objects.exists()


@pytest.mark.django_db
def test_only_operators_change_switches(client: APIClient, mall: APIClient) -> None:
    path = f"{DCC}?key=downgradeSwitch&value=1"

    for caller, status, code in ((client, 401, "0401"), (mall, 403, "0403")):
        for method in (caller.get, caller.post):
            answer = method(path)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert switches.is_downgraded() is False


def test_a_copy_is_loaded_once_until_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(snapshots, "MAX_AGE", TICK)
    monkeypatch.setattr(snapshots, "time", SimpleNamespace(monotonic=lambda: now))
    snapshot = Snapshot(partial(next, itertools.count(1)))
    assert [snapshot.get(), snapshot.get()] == [1, 1]

    now += TICK
    assert [snapshot.get(), snapshot.get()] == [2, 2]

    snapshots.invalidate()
    now += TICK
    assert [snapshot.get(), snapshot.get()] == [3, 3]


def test_an_expired_copy_that_cannot_be_reloaded_is_not_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Any] = [1]
    snapshot = Snapshot(answers.pop)
    assert snapshot.get() == 1

    with pytest.raises(IndexError):
        snapshot.get()


def ask_at_once(snapshot: Snapshot[Any], threads: int) -> list[Any]:
    def ask(_n: int) -> Any:
        try:
            return snapshot.get()
        except ZeroDivisionError as exc:
            return exc

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(ask, range(threads)))


@pytest.mark.parametrize("fails", [False, True])
def test_callers_that_wait_for_a_slow_load_get_its_result(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """All callers share one load, so a database that is slow or down gets one or two queries."""
    loads: list[int] = []
    looks, ticks = threading.Semaphore(0), itertools.count(time.monotonic(), TICK)

    def monotonic() -> float:
        """Time passes whenever someone looks at the clock: a copy is old before it is there."""
        looks.release()
        return next(ticks)

    def slow() -> int:
        loads.append(1)
        for _look in range(8 + 1) if len(loads) == 1 else ():  # of each caller, and of the load
            assert looks.acquire(timeout=LATE)
        return 1 // 0 if fails else 7

    monkeypatch.setattr(snapshots, "time", SimpleNamespace(monotonic=monotonic))

    answers = ask_at_once(Snapshot(slow), 8)

    assert len(loads) <= 2
    assert {type(answer) for answer in answers} == {ZeroDivisionError if fails else int}


@pytest.fixture
def clock() -> Iterator[SimpleNamespace]:
    """The time of the copies, which a test moves. It ends before the copies are made old."""
    moved = SimpleNamespace(now=time.monotonic())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshots, "time", SimpleNamespace(monotonic=lambda: moved.now))
        patched.setattr(snapshots, "MAX_AGE", 1)
        yield moved


def test_a_copy_with_a_small_share_is_served_old_while_it_loads(clock: SimpleNamespace) -> None:
    loads: list[int] = []
    loading, release = threading.Event(), threading.Event()

    def slow() -> int:
        loads.append(1)
        if len(loads) > 1:
            loading.set()
            assert release.wait(LATE)
        return len(loads)

    snapshot = Snapshot(slow, share=0.01)
    assert snapshot.get() == 1
    clock.now += 1

    with ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(snapshot.get)
        assert loading.wait(LATE)
        assert [snapshot.get() for _ in range(3)] == [1, 1, 1]
        clock.now += 0.1
        release.set()
        assert renewed.result() == 2

    clock.now += 9.8
    assert snapshot.get() == 2  # loading took 0.1 s, so the copy is kept for ten seconds
    assert len(loads) == 2


def test_a_copy_of_yesterday_is_not_served_while_a_new_one_loads(clock: SimpleNamespace) -> None:
    loads: list[int] = []
    met = threading.Barrier(2)

    def slow() -> int:
        loads.append(1)
        if len(loads) > 1:
            met.wait(LATE)
        return len(loads)

    snapshot = Snapshot(slow, share=0.01)
    assert snapshot.get() == 1
    clock.now += 24 * 60 * 60

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(snapshot.get) for _ in range(2)]
        met.wait(LATE)

    assert [answer.result() for answer in answers] == [2, 2]


@pytest.mark.django_db
def test_cache_switch_bypasses_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    snapshot = Snapshot(lambda: loads.append(1), bypass=switches.caches_off)
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    snapshot.get()
    snapshot.get()
    assert len(loads) == 1

    set_switch("cacheSwitch", "1")
    snapshots.invalidate()
    snapshot.get()
    snapshot.get()
    assert len(loads) == 3


@pytest.mark.django_db
def test_the_console_shows_a_rate_in_words_and_takes_it_as_before() -> None:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    url = "/admin/groupbuy/switch/tradeUserLimit/change/"
    rows: dict[str, Any] = {"changes-TOTAL_FORMS": 0, "changes-INITIAL_FORMS": 0}
    client.post(url, rows | {"value": "90/10", "reason": "sale"})

    listed, page = (client.get(each).content.decode() for each in ("/admin/groupbuy/switch/", url))

    assert "90 per 10 s" in listed
    assert "2000 per 1 s" in listed
    assert "90/10" not in listed
    assert re.findall(r"\d+ per 10 s", page) == ["60 per 10 s", "90 per 10 s"]  # before, after
    assert 'name="value" value="90/10"' in page
    assert "30/10 is a burst of 30, refilled over 10 seconds" in page
