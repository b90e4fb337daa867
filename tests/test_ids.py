"""Ids seen outside."""

import itertools
import time

import pytest

from groupbuy import ids
from groupbuy.ids import new_code, new_id


def test_ids_are_decimal_and_at_most_19_digits_until_2093() -> None:
    assert len(str(new_id())) in (18, 19)
    last_moment_ms = ids.EPOCH_MS + 2**41 - 1
    assert len(str((last_moment_ms - ids.EPOCH_MS) << ids.RANDOM_BITS)) == 19
    assert time.gmtime(last_moment_ms / 1000).tm_year == 2093


def test_each_id_is_larger_than_the_one_before_even_if_the_clock_steps_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([5, 5, 5, 4, 6])
    day_ns = 24 * 3600 * 10**9
    now_ns = time.time_ns()
    monkeypatch.setattr(ids, "_latest", 0)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + next(clock) * day_ns)

    made = [new_id() for _ in range(5)]

    assert made == sorted(set(made))


def test_neighbouring_ids_are_not_neighbours() -> None:
    made = [new_id() for _ in range(1000)]

    assert sum(later - earlier == 1 for earlier, later in itertools.pairwise(made)) < 20


def test_codes_are_ten_letters_that_cannot_be_mistaken_for_one_another() -> None:
    codes = {new_code() for _ in range(1000)}

    assert len(codes) == 1000
    assert {len(code) for code in codes} == {10}
    assert set("".join(codes)) == set(ids.CODE_LETTERS)
    assert not set("01lo") & set(ids.CODE_LETTERS)
