"""How many sends go to one endpoint at once, so that a dead one cannot take every thread."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 4  # sends to one endpoint from one process; 1 while its last send failed

_lock = threading.Lock()
_in_flight: Counter[str] = Counter()
_failing: set[str] = set()
_waiting: set[str] = set()


def busy() -> set[str]:
    """Endpoints that should get no further send just now."""
    with _lock:
        return {endpoint for endpoint in _in_flight if _is_busy(endpoint)}


def wait(endpoint: str) -> None:
    """Whoever is done with the busy endpoint first is to look for more to send there.

    A failing one is left to the sweeps.
    """
    with _lock:
        if _is_busy(endpoint) and endpoint not in _failing:
            _waiting.add(endpoint)


def take_waiting(endpoint: str) -> bool:
    """Whether something waits for the endpoint. Who is told so has to see to it."""
    with _lock:
        is_waiting = endpoint in _waiting
        _waiting.discard(endpoint)
        return is_waiting and endpoint not in _failing


@contextmanager
def sending(endpoint: str) -> Iterator[None]:
    """Around one send; an exception marks the endpoint as failing until a send succeeds."""
    with _lock:
        _in_flight[endpoint] += 1
    try:
        yield
    except BaseException:
        _failing.add(endpoint)
        raise
    else:
        _failing.discard(endpoint)
    finally:
        with _lock:
            _in_flight[endpoint] -= 1
            if not _in_flight[endpoint]:
                del _in_flight[endpoint]


def _is_busy(endpoint: str) -> bool:
    return _in_flight[endpoint] >= (1 if endpoint in _failing else AT_ONCE)
