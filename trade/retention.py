"""Retention (数据保留): delete old rows that nothing needs any more.

A switch for each kind says how many days its rows are kept. Teams and orders are never deleted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F, Model, QuerySet

from groupbuy import switches
from groupbuy.models import Switch, SwitchChange
from tag import jobs
from trade.models import NotifyTask

SECONDS = 5  # a kind in one run; the next run continues
BATCH = 500  # rows


def delete_old_rows(*, now: datetime) -> int:
    """Delete rows of each kind; return how many, without rows that were deleted by cascade."""
    deleted = 0
    for key, delete in KINDS.items():
        days = switches.days_kept(key)
        if days is None:
            continue
        stop = time.monotonic() + SECONDS
        for count in delete(now - timedelta(days=days)):
            deleted += count
            if time.monotonic() > stop:
                break
    return deleted


def _ended_sessions(before: datetime) -> Iterator[int]:
    ended = Session.objects.filter(expire_date__lt=before).order_by("expire_date")
    while keys := list(ended.values_list("pk", flat=True)[:BATCH]):
        yield Session.objects.filter(pk__in=keys).delete()[0]


def _delivered_notifications(before: datetime) -> Iterator[int]:
    """Delete delivered notifications and their attempts. Given-up ones can be sent again."""
    # By an expression, so that the database walks the primary key and not the index on the state.
    delivered = NotifyTask.objects.alias(in_state=F("state") + 0)
    delivered = delivered.filter(in_state=NotifyTask.State.DELIVERED)
    for keys in _old_keys(delivered, "created_at", before):
        old = delivered.filter(pk__in=keys, delivered_at__lt=before)
        with transaction.atomic(durable=True):
            # Locked against an operator who sends one of them again.
            locked = list(old.select_for_update().values_list("pk", flat=True))
            NotifyTask.objects.filter(pk__in=locked).delete()
        yield len(locked)


def _stopped_runs(before: datetime) -> Iterator[int]:
    yield jobs.drop_stopped_runs(before)


def _oldest(model: type[Model], moment: str, before: datetime) -> Iterator[int]:
    for keys in _old_keys(model._default_manager.all(), moment, before):
        yield model._default_manager.filter(pk__in=keys).delete()[0]


def _old_keys(rows: QuerySet[Any], moment: str, before: datetime) -> Iterator[list[Any]]:
    """Keys of rows from before this moment, in batches by primary key.

    Keys grow with time, so it ends at the first batch without old rows and needs no index on the
    moment.
    """
    keys, last = rows.order_by("pk").values_list("pk", moment), 0
    while page := list(keys.filter(pk__gt=last)[:BATCH]):
        if not (old := [key for key, at in page if at < before]):
            return
        yield old
        last = page[-1][0]


KINDS: Mapping[Switch.Key, Callable[[datetime], Iterator[int]]] = {
    Switch.Key.KEEP_SESSIONS: _ended_sessions,
    Switch.Key.KEEP_NOTIFICATIONS: _delivered_notifications,
    Switch.Key.KEEP_RUNS: _stopped_runs,
    Switch.Key.KEEP_LOG: partial(_oldest, LogEntry, "action_time"),
    Switch.Key.KEEP_CHANGES: partial(_oldest, SwitchChange, "at"),
}
