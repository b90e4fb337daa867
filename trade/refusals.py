"""Refusals at full teams, cached in this process (trade/gate.py).

In a rush for a full team a process refuses from this cache, without Redis. After LONGEST one
request asks Redis again; the others are refused meanwhile, for LONGEST more at most. A process uses
its cache only while it is subscribed to seat releases; a released seat drops the refusal.
"""

import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from groupbuy import snapshots
from groupbuy.errors import ErrorCode

LONGEST = 1.0  # seconds until a cached refusal is refreshed
REFRESH = 0.1  # seconds for one request to ask Redis again, while others get the old refusal
MOST_TEAMS = 1000  # cached in a process


class _Full(NamedTuple):
    out_trade_nos: frozenset[str]  # of the team's orders: a repeat, which is not refused here
    until: float  # time.monotonic(); then one request asks Redis again
    dropped_at: float


class Refusals:
    """The cached refusals of a process. Times are time.monotonic()."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full: dict[str, _Full] = {}
        self._released_at = 0.0

    def refusal(self, team: str, out_trade_no: str, now: float) -> ErrorCode | None:
        """The cached refusal, or None if Redis must be asked.

        When it expires, one request gets None and the others keep getting the refusal.
        """
        with self._lock:
            full = self._full.get(team)
            if full is None or out_trade_no in full.out_trade_nos:
                return None
            if now >= full.dropped_at or not snapshots.is_subscribed():
                return None
            if now >= full.until:
                self._full[team] = full._replace(until=now + REFRESH)
                return None
            return ErrorCode.TEAM_FULL

    def note(
        self, team: str, out_trade_nos: Iterable[str], *, asked_at: float, good_for: float
    ) -> None:
        """Cache that the team is full, unless any seat was released since Redis was asked.

        good_for: seconds until it expires in Redis.
        """
        until = asked_at + min(good_for, LONGEST)
        with self._lock:
            if asked_at <= self._released_at:
                return
            if len(self._full) >= MOST_TEAMS:
                self._full.clear()
            self._full[team] = _Full(frozenset(out_trade_nos), until, until + LONGEST)

    def release(self, team: str) -> None:
        """Forget the refusal of this team; of all teams for "": messages may have been missed."""
        with self._lock:
            self._released_at = time.monotonic()
            if team:
                self._full.pop(team, None)
            else:
                self._full.clear()

    def clear(self) -> None:
        with self._lock:
            self._full.clear()
            self._released_at = 0.0
