"""Send slots: how many batches go to an endpoint at once, and how large they are.

One thread serves a fast endpoint with large batches, several serve a slow one with small batches.
A failing endpoint gets one promise at a time, and all failing ones together at most half of the
slots. SPARE threads of a worker never send: they are left to the sweeps that close holds and teams.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection

AT_ONCE = 4  # batches on their way to one slow endpoint from one process
SPARE = 2  # threads of a worker that are not for sending
BATCH = 250  # promises in one batch at most
SLICE = 0.2  # seconds that a batch should take: its last promise waits that long

_lock = threading.Lock()
_slots = 6  # batches on their way from this process, see leave_spare()
_in_flight: Counter[str] = Counter()
_sizes = defaultdict[str, int](lambda: 1)  # promises for one SLICE; 0: the last send failed
_passed_over = threading.Event()  # a query may have left out promises since the last passed_over()


def leave_spare(threads: int) -> int:
    """Size the send limit for a worker with this many threads, and return it."""
    global _slots
    _slots = max(1, threads - SPARE)
    return _slots


def closed(*, passing_over: bool = False) -> set[str]:
    """The endpoints without a free slot. `passing_over` leaves their promises to who frees one."""
    with _lock:
        found = {name for name in list(_sizes) if not _has_slot(name)}
        if found and passing_over:
            _passed_over.set()
        return found


def passed_over() -> bool:
    """May a query have left out promises since the last call? Call after release()."""
    with _lock:
        was_set = _passed_over.is_set()
        _passed_over.clear()
        return was_set


def acquire(names: Collection[str]) -> tuple[str, int]:
    """Take a slot of the first of these endpoints that has one; healthy ones come first.

    Returns the endpoint and how many promises its batch may hold: 0 if there is no slot.
    """
    with _lock:
        free = [name for name in names if _has_slot(name)]
        if not free or _in_flight.total() >= _slots:
            if names:
                _passed_over.set()
            return "", 0
        endpoint = next((name for name in free if _sizes[name]), free[0])
        _in_flight[endpoint] += 1
        return endpoint, max(1, _sizes[endpoint])


def release(endpoint: str, *, sent: int = 0, seconds: float = 0, failed: bool = False) -> None:
    """Free a slot. The number of promises sent, and their time, set the size of the next batch.

    The endpoint counts as failing until a send succeeds.
    """
    with _lock:
        _in_flight[endpoint] -= 1
        if sent:
            fit = int(sent * SLICE / max(seconds, 0.001))
            _sizes[endpoint] = 0 if failed else max(1, min(fit, BATCH))


def _has_slot(endpoint: str) -> bool:
    if size := _sizes[endpoint]:
        return _in_flight[endpoint] < (1 if size >= BATCH // 2 else AT_ONCE)
    failing = sum(count for name, count in _in_flight.items() if not _sizes[name])
    return not _in_flight[endpoint] and failing < max(1, _slots // 2)
