"""Send slots: one slow or failing mall leaves room for the others."""

import itertools
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from trade import tasks
from trade.notify import endpoints, nudges

NONE = ("", 0)  # no slot
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _six_slots() -> Iterator[None]:
    endpoints.leave_spare(8)
    yield
    endpoints.leave_spare(8)


def fresh(count: int = 1) -> list[str]:
    """Endpoints to which nothing was sent yet."""
    return [f"slots-{next(_numbers)}" for _ in range(count)]


def take(*names: str) -> tuple[str, int]:
    slot = endpoints.acquire(names)
    assert slot[1]
    return slot


def fail(*names: str) -> None:
    for name in names:
        take(name)
        endpoints.release(name, sent=1, failed=True)


def slots_of(name: str) -> int:
    """How many slots the endpoint can have at once."""
    count = 0
    while endpoints.acquire([name])[1]:
        count += 1
    for _slot in range(count):
        endpoints.release(name)
    return count


@pytest.mark.parametrize(
    ("sent", "seconds", "size"),
    [
        (1, 0.004, 50),
        (10, 0.2, 10),
        (100, 2.0, 10),
        (100, 0.05, endpoints.BATCH),
        (1, 4.9, 1),
    ],
)
def test_a_batch_is_what_the_endpoint_took_in_a_slice(sent: int, seconds: float, size: int) -> None:
    [mall] = fresh()
    assert take(mall) == (mall, 1)
    endpoints.release(mall, sent=sent, seconds=seconds)

    assert take(mall) == (mall, size)
    endpoints.release(mall)
    assert take(mall) == (mall, size)  # nothing was sent
    endpoints.release(mall)


def test_a_slow_endpoint_has_several_slots_and_a_fast_one_has_one() -> None:
    slow, fast = fresh(2)
    take(fast)
    endpoints.release(fast, sent=50, seconds=0.01)

    assert (slots_of(slow), slots_of(fast)) == (endpoints.AT_ONCE, 1)


def test_a_failing_endpoint_has_one_slot_for_one_promise_until_it_succeeds() -> None:
    [mall] = fresh()
    fail(mall)
    assert slots_of(mall) == 1
    assert take(mall) == (mall, 1)
    assert mall in endpoints.closed()
    endpoints.release(mall, sent=1, seconds=0.02)

    assert slots_of(mall) == endpoints.AT_ONCE


def test_a_failing_endpoint_comes_after_the_others() -> None:
    dead, *healthy = fresh(3)
    fail(dead)

    assert take(dead, *healthy)[0] == healthy[0]
    assert take(dead)[0] == dead
    for name in (dead, healthy[0]):
        endpoints.release(name)


def test_all_failing_endpoints_together_have_half_of_the_slots() -> None:
    *dead, healthy = fresh(5)
    fail(*dead)

    assert [endpoints.acquire([name]) for name in dead] == [(name, 1) for name in dead[:3]] + [NONE]
    assert set(dead) <= endpoints.closed()
    assert take(*dead, healthy)[0] == healthy
    for name in (*dead[:3], healthy):
        endpoints.release(name)


def test_a_worker_keeps_threads_free_for_the_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Mock()
    monkeypatch.setattr(nudges, "start", start)
    tasks.start_sending(sender=Mock(concurrency=5))
    assert start.call_args.kwargs == {"threads": 3}
    malls = fresh(4)

    assert [take(name)[0] for name in malls[:3]] == malls[:3]
    assert endpoints.acquire(malls) == NONE
    endpoints.release(malls[0])
    assert take(*malls)[0] == malls[0]
    for name in malls[:3]:
        endpoints.release(name)


def test_a_worker_with_one_thread_sends_with_it() -> None:
    endpoints.leave_spare(1)
    dead, other = fresh(2)
    fail(dead)

    assert take(dead) == (dead, 1)
    assert endpoints.acquire([other]) == NONE
    endpoints.release(dead)
