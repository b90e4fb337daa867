"""How many sends go on at once: few to one endpoint, and never as many as there are threads.

So one dead endpoint takes one thread, and all together leave some to the sweeps that watch time.
"""

import threading
from collections import Counter

AT_ONCE = 4  # sends to one endpoint from one process; 1 while its last send failed
SPARE = 2  # threads of a worker that are not for sending

_lock = threading.Lock()
_at_all = 6  # sends from this process, see leave_spare()
_in_flight: Counter[str] = Counter()
_failing: set[str] = set()
_waiting: dict[str, None] = {}  # in the order of asking


def leave_spare(threads: int) -> None:
    """This worker has so many threads."""
    global _at_all
    _at_all = max(1, threads - SPARE)


def full() -> bool:
    """Whether nothing at all should be sent just now."""
    return _in_flight.total() >= _at_all


def busy() -> set[str]:
    """Endpoints that should get no further send just now."""
    with _lock:
        return {endpoint for endpoint in _in_flight if not _has_place(endpoint)}


def take(endpoint: str) -> bool:
    """Take one of its places, to be given back. False: they are all taken."""
    with _lock:
        if full() or not _has_place(endpoint):
            return False
        _in_flight[endpoint] += 1
        return True


def give_back(endpoint: str) -> None:
    with _lock:
        _in_flight[endpoint] -= 1
        if not _in_flight[endpoint]:
            del _in_flight[endpoint]


def remember(endpoint: str, *, failed: bool) -> None:
    """The endpoint counts as failing until a send succeeds."""
    with _lock:
        (_failing.add if failed else _failing.discard)(endpoint)


def wait(endpoint: str) -> bool:
    """Leave word that more is to be sent there. False: there is a free place by now."""
    with _lock:
        if not full() and _has_place(endpoint):
            return False
        _waiting[endpoint] = None
        return True


def wait_again(endpoint: str) -> None:
    """Leave word behind all others: there may be more."""
    with _lock:
        _waiting.pop(endpoint, None)
        _waiting[endpoint] = None


def next_waiting() -> str | None:
    """The endpoint that has waited longest and has a free place; failing ones are the sweeps'."""
    with _lock:
        for endpoint in [endpoint for endpoint in _waiting if endpoint in _failing]:
            del _waiting[endpoint]
        for endpoint in () if full() else _waiting:
            if _has_place(endpoint):
                del _waiting[endpoint]
                return endpoint
        return None


def _has_place(endpoint: str) -> bool:
    return _in_flight[endpoint] < (1 if endpoint in _failing else AT_ONCE)
