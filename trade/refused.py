"""Refused locks (锁单被拒), counted by day, channel and code: why shoppers could not join.

A process counts in memory, and writes its counts with the first lock after GAP seconds, so that a
rush of refusals costs the database a few statements. Only the console reads them. A process that
is killed loses the counts of its last seconds.
"""

import logging
import time
from collections import Counter
from datetime import date, datetime
from threading import Lock

from django.db import Error, transaction
from django.db.models import F
from django.utils import timezone

from groupbuy import channels
from groupbuy.errors import ErrorCode
from trade.models import RefusedLock

logger = logging.getLogger(__name__)

GAP = 5.0  # seconds between two writes of a process

Key = tuple[date, int, str]  # day, channel, code


class Refused:
    """The counts of this process that are not written yet. Threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[Key] = Counter()
        self._written_at = 0.0

    def count(self, error: ErrorCode, *, channel_id: int, now: datetime) -> None:
        with self._lock:
            self._counts[timezone.localtime(now).date(), channel_id, error.code] += 1

    def write_if_due(self) -> None:
        """Never raises: unwritten counts are written later. Must not run in a transaction."""
        if self._counts and time.monotonic() > self._written_at + GAP:
            self.write()

    def write(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._written_at = time.monotonic()
        try:
            with transaction.atomic(durable=True):
                for key in sorted(counts):  # in one order, so that no two processes deadlock
                    if channels.get(key[1]):  # a deleted channel would fail the whole write
                        _add(*key, counts[key])
        except Error as exc:
            logger.warning("Counts of refused locks are written later: %s", exc)
            with self._lock:
                self._counts.update(counts)

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()
            self._written_at = 0.0


def _add(day: date, channel_id: int, code: str, count: int) -> None:
    kept = RefusedLock.objects.filter(day=day, channel_id=channel_id, code=code)
    if not kept.update(count=F("count") + count):
        RefusedLock.objects.create(day=day, channel_id=channel_id, code=code, count=count)


refused = Refused()
