"""Crowds: exact whatever is built, changed, interrupted or lost."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis, RedisError

import groupbuy.redis
from activity.trial import TrialQuery, run_trial
from groupbuy import snapshots
from tag import bitmaps, crowd, tasks
from tag.crowd import add_members, crowds_of, remove_members
from tag.models import CrowdMember, CrowdTag, CrowdUser
from tests.checks import broken_invariants, is_member
from tests.factories import NOW, make_activity, make_discount, set_switch

pytestmark = pytest.mark.django_db
PEOPLE = [f"u{n}" for n in range(20)]


def make_crowd(*user_ids: str, tag_id: str = "RQ") -> CrowdTag:
    tag = CrowdTag.objects.create(tag_id=tag_id, name=tag_id)
    add_members(tag, user_ids)
    return tag


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on only bitmaps can answer."""

    def refuse(*args: Any) -> None:
        raise AssertionError("the table was asked")

    monkeypatch.setattr(crowd, "_from_table", refuse)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "build", "lose redis", "lose a bitmap"]),
        st.sampled_from(["A", "B"]),
        st.sets(st.sampled_from(PEOPLE), max_size=8),
    ),
    max_size=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_no_false_member_and_no_false_stranger(
    redis: Redis, steps: list[tuple[str, str, set[str]]]
) -> None:
    for model in (CrowdMember, CrowdTag):
        model._default_manager.all().delete()
    truth: dict[str, set[str]] = {"A": set(), "B": set()}
    tags = {tag_id: make_crowd(tag_id=tag_id) for tag_id in truth}
    changes: dict[str, Callable[[str, set[str]], object]] = {
        "add": lambda tag_id, people: add_members(tags[tag_id], people),
        "remove": lambda tag_id, people: remove_members(tags[tag_id], people),
        "build": lambda tag_id, people: bitmaps.refresh(),
        "lose redis": lambda tag_id, people: redis.flushall(),
        "lose a bitmap": lambda tag_id, people: redis.delete(*bitmap_keys(redis, tag_id), "x"),
    }
    for step, tag_id, people in steps:
        changes[step](tag_id, people)
        if step == "add":
            truth[tag_id] |= people
        if step == "remove":
            truth[tag_id] -= people
        for user_id in [*PEOPLE, "stranger"]:
            expected = {tag_id for tag_id, members in truth.items() if user_id in members}
            assert crowds_of(user_id, ["A", "B", "nowhere"]) == expected
    assert list(bitmaps.mismatches()) == []


def bitmap_keys(redis: Redis, tag_id: str) -> list[bytes]:
    return list(redis.scan_iter(f"gbm:crowd:{{{tag_id}}}:*"))


def test_numbers_are_dense_and_for_ever() -> None:
    make_crowd("a", "b", tag_id="A")
    first = {user.user_id: user.pk for user in CrowdUser.objects.all()}
    make_crowd("b", "c", "a", tag_id="B")
    make_crowd("d", tag_id="C")

    numbers = {user.user_id: user.pk for user in CrowdUser.objects.all()}
    assert {user_id: numbers[user_id] for user_id in first} == first
    assert sorted(numbers.values()) == list(range(min(numbers.values()), max(numbers.values()) + 1))
    assert len(numbers) == 4


@pytest.mark.usefixtures("redis")
def test_a_built_bitmap_answers_for_everybody(no_table: None) -> None:
    make_crowd("a", "b", tag_id="A")
    make_crowd("b", "c", tag_id="B")
    make_crowd(tag_id="empty")

    assert bitmaps.refresh() == 3
    assert bitmaps.refresh() == 0

    asked = ["A", "B", "empty"]
    answers = {user_id: set(crowds_of(user_id, asked)) for user_id in ("a", "b", "c", "d")}
    assert answers == {"a": {"A"}, "b": {"A", "B"}, "c": {"B"}, "d": set()}


def test_a_warm_trial_asks_no_database_and_redis_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = make_crowd("insider", tag_id="seen")
    cheap = make_crowd("insider", tag_id="cheap")
    make_activity(
        crowd=seen,
        restrict_visible=True,
        restrict_join=True,
        discount=make_discount(crowd=cheap),
    )
    bitmaps.refresh()
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    query = TrialQuery("insider", "s01", "c01", "9890001")
    run_trial(query, now=NOW)
    questions = 0
    real = groupbuy.redis.try_redis

    def counted(question: Callable[[Redis], Any]) -> Any:
        nonlocal questions
        questions += 1
        return real(question)

    monkeypatch.setattr(bitmaps, "try_redis", counted)
    sent_before = redis.info("stats")["total_commands_processed"]
    with CaptureQueriesContext(connection) as queries:
        trial = run_trial(query, now=NOW)

    assert (trial.visible, trial.joinable, trial.discounted) == (True, True, True)
    assert len(queries) == 0
    assert questions == 0  # both bitmaps have been copied into this process
    assert redis.info("stats")["total_commands_processed"] - sent_before <= 1  # this INFO itself
    stranger = TrialQuery("stranger", "s01", "c01", "9890001")
    run_trial(stranger, now=NOW)
    with CaptureQueriesContext(connection) as queries:
        trial = run_trial(stranger, now=NOW)
    assert (trial.visible, trial.joinable, trial.discounted) == (False, False, False)
    assert len(queries) == 0


def test_an_emptied_redis_admits_no_outsider(redis: Redis) -> None:
    make_crowd("a")
    CrowdUser.objects.create(user_id="numbered")
    bitmaps.refresh()
    redis.flushall()

    assert is_member("RQ", "a")
    assert not is_member("RQ", "numbered")


@pytest.mark.usefixtures("redis")
def test_redis_away_gets_one_command_a_pause() -> None:
    sent = 0

    def fail(redis: Redis) -> None:
        nonlocal sent
        sent += 1
        raise RedisError("away")

    groupbuy.redis.pause.clear()
    for _ in range(3):
        assert groupbuy.redis.try_redis(fail) is None

    assert sent == 1


def test_a_dead_redis_changes_no_answer() -> None:
    make_crowd("a")  # tests have no Redis unless they ask for it

    assert is_member("RQ", "a")
    assert not is_member("RQ", "b")
    assert bitmaps.refresh() == 0


def test_a_crowd_that_changes_while_it_is_built_is_not_published(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = make_crowd("a", "b", "c")
    read = bitmaps._from_table

    def change_meanwhile(tag_id: str) -> bytes:
        bits = read(tag_id)
        remove_members(tag, ["b"])
        return bits

    monkeypatch.setattr(bitmaps, "_from_table", change_meanwhile)
    assert not bitmaps.build("RQ")
    monkeypatch.setattr(bitmaps, "_from_table", read)

    assert list(redis.scan_iter("gbm:crowd:*")) == []
    assert not is_member("RQ", "b")


def test_a_build_that_dies_leaves_nothing_that_is_used(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_crowd("a")
    monkeypatch.setattr(bitmaps, "PIECE", 1)
    make_crowd(*PEOPLE, tag_id="large")

    def die(*args: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(Redis, "expire", die)
        with pytest.raises(SystemExit):
            bitmaps.build("large")

    tag = CrowdTag.objects.get(pk="large")
    assert not redis.exists(bitmaps._key("large", tag.version))
    assert all(is_member("large", user_id) for user_id in PEOPLE)
    assert bitmaps.build("large")
    assert list(bitmaps.mismatches()) == []


def test_large_bitmaps_are_written_in_pieces_and_read_in_pages(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitmaps, "PIECE", 1)
    monkeypatch.setattr(bitmaps, "PAGE", 3)
    make_crowd(*PEOPLE)
    bitmaps.refresh()

    assert list(bitmaps.mismatches()) == []
    assert all(is_member("RQ", user_id) for user_id in PEOPLE)
    [key] = redis.scan_iter("gbm:crowd:*")
    assert 0 < redis.ttl(key) <= bitmaps.LIFE


def test_the_tenth_invariant_finds_a_wrong_bitmap(redis: Redis) -> None:
    tag = make_crowd("a")
    other = CrowdUser.objects.create(user_id="b")
    bitmaps.refresh()
    assert broken_invariants() == {}

    redis.setbit(bitmaps._key("RQ", tag.version), other.pk, 1)
    tag.refresh_from_db()
    redis.setbit(bitmaps._key("RQ", tag.version), other.pk, 1)

    assert list(broken_invariants().values()) == [["crowd RQ: its bitmap is not its table"]]


@pytest.mark.usefixtures("redis")
def test_with_caches_off_the_table_answers() -> None:
    tag = make_crowd("a")
    bitmaps.refresh()
    CrowdMember.objects.filter(part__tag=tag).delete()  # past the code: only the table knows
    assert is_member("RQ", "a")

    set_switch("cacheSwitch", "1")

    assert not is_member("RQ", "a")


def test_the_console_takes_members_out(operator: Client) -> None:
    make_crowd("a", "b", "c")
    rows = {member.user.user_id: member.pk for member in CrowdMember.objects.all()}
    before = CrowdTag.objects.get().version

    operator.post(f"/admin/tag/crowdmember/{rows['a']}/delete/", {"post": "yes"})
    between = CrowdTag.objects.get().version
    operator.post(
        "/admin/tag/crowdmember/",
        {"action": "delete_selected", "_selected_action": [rows["b"]], "post": "yes"},
    )

    assert [member.user.user_id for member in CrowdMember.objects.all()] == ["c"]
    assert len({before, between, CrowdTag.objects.get().version}) == 3


def test_a_new_member_counts_at_once_and_an_unknown_user_is_cached_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tag = make_crowd("a")
    monkeypatch.setattr(snapshots, "MAX_AGE", 60)
    assert not is_member("RQ", "b")
    add_members(tag, ["b"])
    assert not is_member("RQ", "b")  # as old as configuration may be

    crowd._strangers["b"] -= timedelta(seconds=60).total_seconds()

    assert is_member("RQ", "b")


@pytest.mark.usefixtures("redis")
def test_threads_copy_bitmaps_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: _read_bits() iterates over _copies itself."""

    class Meanwhile(bytes):
        def __len__(self) -> int:
            bitmaps._copies["added by another thread"] = 1, b""
            return 0

    monkeypatch.setattr(bitmaps, "_copies", {"B": (1, Meanwhile())})
    make_crowd("a")
    bitmaps.refresh()

    assert crowds_of("a", ["RQ"]) == {"RQ"}


@pytest.mark.usefixtures("redis")
def test_the_task_builds() -> None:
    make_crowd("a")

    tasks.refresh_bitmaps()

    found = bitmaps.look_up(CrowdUser.objects.get().pk, crowd._versions.get())
    assert found == frozenset({"RQ"})
