"""How many sends go to one endpoint at once, so that a dead one cannot take every thread."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 4  # sends to one endpoint from one process; 1 while its last send failed

_lock = threading.Lock()
_in_flight: Counter[str] = Counter()
_failing: set[str] = set()


def busy() -> set[str]:
    """Endpoints that should get no further send just now."""
    with _lock:
        return {
            endpoint
            for endpoint, sends in _in_flight.items()
            if sends >= (1 if endpoint in _failing else AT_ONCE)
        }


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
