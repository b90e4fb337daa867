"""Live switches (动态配置) and the copies they are read through."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from groupbuy import snapshots, switches
from groupbuy.snapshots import Snapshot
from tests.factories import set_switch

USERS = [f"user{n}" for n in range(2000)]


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


@pytest.mark.django_db
def test_cut_range_is_the_same_in_every_process() -> None:
    """zlib.crc32 is not salted as hash() is: these users are in for ever."""
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
        ("cacheSwitch", "off", "value"),
        ("nothing", "1", "key"),
    ],
)
def test_unreadable_values_are_refused_with_the_field_named(
    key: str, value: str, field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        switches.validate(key, value)

    assert list(caught.value.message_dict) == [field]


def test_a_copy_is_loaded_once_and_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []

    def load() -> int:
        loads.append(1)
        return len(loads)

    snapshot = Snapshot(load)
    monkeypatch.setattr(snapshots, "MAX_AGE", 0.05)
    assert [snapshot.get(), snapshot.get()] == [1, 1]

    time.sleep(0.06)
    assert snapshot.get() == 2

    snapshot.drop()
    assert snapshot.get() == 3


def test_a_copy_that_cannot_be_renewed_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_whoever_waits_for_a_slow_load_gets_what_it_brings(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Not one load after the other: a database that is slow or away is asked once or twice."""
    loads: list[int] = []

    def slow() -> int:
        loads.append(1)
        time.sleep(0.2)
        return 1 // 0 if fails else 7

    monkeypatch.setattr(snapshots, "MAX_AGE", 0.1)  # old before it is there

    answers = ask_at_once(Snapshot(slow), 8)

    assert len(loads) <= 2
    assert {type(answer) for answer in answers} == {ZeroDivisionError if fails else int}


def test_a_copy_with_a_small_share_is_served_old_while_it_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[int] = []

    def slow() -> int:
        loads.append(1)
        time.sleep(0.1 if len(loads) > 1 else 0)
        return len(loads)

    monkeypatch.setattr(snapshots, "MAX_AGE", 0.01)
    snapshot = Snapshot(slow, share=0.1)
    assert snapshot.get() == 1
    time.sleep(0.05)

    answers = ask_at_once(snapshot, 4)

    assert sorted(answers) == [1, 1, 1, 2]
    time.sleep(0.1)  # loading took 0.1 s, so the copy is kept for a second
    assert snapshot.get() == 2


@pytest.mark.django_db
def test_cache_switch_bypasses_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    snapshot = Snapshot(lambda: loads.append(1), bypass=switches.caches_off)
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    snapshot.get()
    snapshot.get()
    assert len(loads) == 1

    set_switch("cacheSwitch", "1")
    snapshots.drop_all()
    snapshot.get()
    snapshot.get()
    assert len(loads) == 3
