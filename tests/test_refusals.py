"""The cached refusals of a process; time is passed in."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from groupbuy import snapshots
from groupbuy.errors import ErrorCode
from trade import refusals
from trade.refusals import LONGEST, REFRESH, Refusals

FULL = ErrorCode.TEAM_FULL


@pytest.fixture
def cached() -> Refusals:
    """The cache of a process that is subscribed to seat releases."""
    snapshots.confirm_subscription(time.monotonic() + 3600)
    return Refusals()


def test_a_refusal_is_repeated_for_all_but_the_teams_own_orders(cached: Refusals) -> None:
    now = time.monotonic()
    cached.note("team", ["t-a", "t-b"], asked_at=now, good_for=60)

    assert cached.refusal("team", "t-c", now) is FULL
    assert cached.refusal("team", "t-b", now) is None
    assert cached.refusal("another team", "t-c", now) is None


def test_a_refusal_lasts_as_long_as_redis_keeps_it_and_no_longer_than_longest(
    cached: Refusals,
) -> None:
    now = time.monotonic()
    cached.note("short", [], asked_at=now, good_for=LONGEST / 4)
    cached.note("long", [], asked_at=now, good_for=60)

    for team, life in (("short", LONGEST / 4), ("long", LONGEST)):
        assert cached.refusal(team, "t-c", now + life - 0.001) is FULL
        assert cached.refusal(team, "t-c", now + life) is None


def test_one_request_asks_redis_again_and_the_others_get_the_old_refusal(cached: Refusals) -> None:
    now = time.monotonic()
    cached.note("team", [], asked_at=now, good_for=60)
    expired = now + LONGEST + 0.5

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _n: cached.refusal("team", "t-c", expired), range(50)))

    assert sorted(map(str, answers)) == sorted(map(str, [None, *[FULL] * 49]))
    assert cached.refusal("team", "t-c", expired + REFRESH) is None  # the first has not come back
    assert cached.refusal("team", "t-c", expired + REFRESH) is FULL


def test_an_expired_refusal_is_not_used(cached: Refusals) -> None:
    now = time.monotonic()
    cached.note("team", [], asked_at=now, good_for=60)

    assert [cached.refusal("team", "t-c", now + 2 * LONGEST) for _ in range(3)] == [None] * 3


def test_a_release_ends_the_refusal_of_its_team(cached: Refusals) -> None:
    now = time.monotonic()
    for team in "abc":
        cached.note(team, [], asked_at=now, good_for=60)

    cached.release("a")
    assert [cached.refusal(team, "t-c", now) for team in "abc"] == [None, FULL, FULL]

    cached.release("")  # subscribed again: messages may have been missed
    assert [cached.refusal(team, "t-c", now) for team in "abc"] == [None, None, None]


def test_an_answer_of_redis_from_before_a_release_is_not_cached(cached: Refusals) -> None:
    asked_at = time.monotonic()
    cached.release("team")

    cached.note("team", [], asked_at=asked_at, good_for=60)
    assert cached.refusal("team", "t-c", asked_at) is None

    asked_again_at = time.monotonic()
    cached.note("team", [], asked_at=asked_again_at, good_for=60)
    assert cached.refusal("team", "t-c", asked_again_at) is FULL


def test_no_cached_refusal_while_unsubscribed(cached: Refusals) -> None:
    now = time.monotonic()
    cached.note("team", [], asked_at=now, good_for=60)
    snapshots.confirm_subscription(0)

    assert cached.refusal("team", "t-c", now) is None


def test_the_number_of_cached_refusals_is_bounded(
    cached: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST_TEAMS", 3)
    now = time.monotonic()

    for team in "abcd":
        cached.note(team, [], asked_at=now, good_for=60)

    assert [cached.refusal(team, "t-c", now) for team in "abcd"] == [None, None, None, FULL]


def test_clear_forgets_everything(cached: Refusals) -> None:
    asked_at = time.monotonic()
    cached.release("team")
    cached.clear()

    cached.note("team", [], asked_at=asked_at, good_for=60)
    assert cached.refusal("team", "t-c", asked_at) is FULL
    cached.clear()
    assert cached.refusal("team", "t-c", asked_at) is None
