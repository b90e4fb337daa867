"""Ids seen outside: decimal strings of at most 19 digits, ordered by time, not guessable by +1.

41 bits of milliseconds since 2024 (good until 2093) and 22 random bits. Within a process each
id is larger than the previous one, also when the clock stands still or steps back. A collision
between processes is a primary-key conflict; the insert is retried with a new id.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

EPOCH_MS = 1_704_067_200_000
RANDOM_BITS = 22
GAP_BITS = 10

_lock = threading.Lock()
_latest = 0
_clock: Callable[[], datetime] | None = None  # None: the machine's

CODE_LETTERS = "23456789abcdefghijkmnpqrstuvwxyz"  # 32, no two of which look alike


def new_code() -> str:
    """Ten random characters for a link, 50 bits: neither countable nor guessable."""
    number = secrets.randbits(50)
    return "".join(CODE_LETTERS[number >> shift & 31] for shift in range(0, 50, 5))


def first_id(moment: datetime) -> int:
    """The smallest id that new_id() may give at this moment."""
    return _first_id(int(moment.timestamp() * 1000))


def _first_id(unix_ms: int) -> int:
    return (unix_ms - EPOCH_MS) << RANDOM_BITS


@contextmanager
def made_by(clock: Callable[[], datetime]) -> Iterator[None]:
    """In all threads, take the time of new ids from `clock`, which may be long past."""
    global _clock, _latest
    latest, _clock, _latest = _latest, clock, 0
    try:
        yield
    finally:
        _clock, _latest = None, max(latest, _latest)


def new_id() -> int:
    """A fresh id that fits a signed 64-bit column."""
    global _latest
    start = first_id(_clock()) if _clock else _first_id(time.time_ns() // 1_000_000)
    candidate = start | secrets.randbits(RANDOM_BITS)
    with _lock:
        _latest = max(candidate, _latest + 1 + secrets.randbits(GAP_BITS))
        return _latest
