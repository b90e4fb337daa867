"""Keep the daily sums (日汇总): sum the days whose rows have changed.

A day's rows change while one of its teams is forming, and when an order of a complete team is
given back. The latter writes a notification, by which this module finds the day, so that no request
has to update a sum.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Max

from groupbuy.ids import first_id
from trade.figures.rows import day_of, start_of, sum_day
from trade.models import DailySum, NotifyTask, Order, SummedDay

SECONDS = 20  # until a run stops; the next one continues
LATE = timedelta(minutes=10)  # a row may be committed this long after the moment that it names
PIECE = 500  # rows
DAY = timedelta(days=1)
OWN_IDS = first_id(datetime(2025, 1, 1, tzinfo=UTC))  # imported orders keep their smaller ids


def keep(*, clock: Callable[[], datetime]) -> int:
    """Sum the days whose rows may have changed; return how many."""
    summed = 0
    stop = time.monotonic() + SECONDS
    now = clock()
    seen = _newest_notification()
    changed = _closed_since(_seen(), now)
    SummedDay.objects.filter(day__in=changed).update(is_open=True)
    for day in unsettled_days(now):
        summed += _replace(day, seen=seen, now=now)
        if time.monotonic() > stop:
            break
    return summed


def unsettled_days(now: datetime) -> list[date]:
    """The days to sum: new ones, newest first, then open ones and those that had not ended."""
    ours = Order.objects.filter(pk__gte=OWN_IDS).order_by("pk")
    first = ours.values_list("created_at", flat=True).first()
    if first is None:
        return []
    kept = {row.day: row for row in SummedDay.objects.all()}
    days = [day_of(now) - n * DAY for n in range((day_of(now) - day_of(first)).days + 1)]
    new = [day for day in days if day not in kept]
    old = sorted(kept.values(), key=lambda row: row.summed_at)
    return new + [row.day for row in old if _may_change(row)]


def mismatches(now: datetime) -> Iterator[str]:
    """A sentence for each stored sum that differs from its rows, on days that no longer change."""
    seen = _seen()
    moving = {*unsettled_days(now), *_closed_since(seen, now)}
    for summed in SummedDay.objects.exclude(day__in=moving).order_by("day"):
        found = list(_differences(summed.day))
        if found and not _has_changed(summed, seen, now):
            yield from found


def _differences(day: date) -> Iterator[str]:
    rows = DailySum.objects.filter(day_id=day)
    kept = {(row.figure, row.bucket): (row.count, row.amount) for row in rows}
    found = {key: (value.count, value.amount) for key, value in sum_day(day).items()}
    for figure, bucket in sorted(kept.keys() | found.keys()):
        pair = kept.get((figure, bucket)), found.get((figure, bucket))
        if pair[0] != pair[1]:
            yield f"{day} {figure} {bucket}: kept {pair[0]}, the rows have {pair[1]}"


def _has_changed(summed: SummedDay, seen: int, now: datetime) -> bool:
    """Has a row of the day changed, or was the day summed again, since `seen` and `now`?"""
    same = SummedDay.objects.filter(day=summed.day, summed_at=summed.summed_at, is_open=False)
    return summed.day in _closed_since(seen, now) or not same.exists()


def _may_change(summed: SummedDay) -> bool:
    return summed.is_open or summed.summed_at < start_of(summed.day + DAY) + LATE


def _seen() -> int:
    return int(SummedDay.objects.aggregate(seen=Max("seen"))["seen"] or 0)


def _newest_notification() -> int:
    return int(NotifyTask.objects.aggregate(newest=Max("pk"))["newest"] or 0)


def _closed_since(seen: int, now: datetime) -> set[date]:
    """The days of the orders that were closed after the notification `seen`, and of their teams.

    A notification may be committed after one with a larger key, so those of the last minutes are
    read again.
    """
    orders = list(_closings(seen, now - LATE)) if SummedDay.objects.exists() else []
    days = set()
    for start in range(0, len(orders), PIECE):
        made = Order.objects.filter(pk__in=orders[start : start + PIECE])
        days |= {day_of(at) for pair in made.values_list("created_at", "team__created_at")
                 for at in pair}  # fmt: skip
    return days


def _closings(seen: int, since: datetime) -> Iterator[int]:
    """Ids of the orders that were closed after `seen` or since this moment, newest first."""
    closings = NotifyTask.objects.filter(event=NotifyTask.Event.TEAM_REFUND).order_by("-pk")
    page = closings.values_list("pk", "payload", "created_at")
    last = None
    while rows := list((page.filter(pk__lt=last) if last else page)[:PIECE]):
        for pk, payload, at in rows:
            if pk <= seen and at < since:
                return
            yield int(json.loads(payload)["orderId"])
        last = rows[-1][0]


def _replace(day: date, *, seen: int, now: datetime) -> bool:
    """Sum the day and store its sums, unless another run has stored some in the meantime."""
    was = SummedDay.objects.filter(day=day).first()
    sums = sum_day(day)
    facts = {"is_open": sums.is_open, "seen": seen, "summed_at": now}
    rows = [
        DailySum(day_id=day, figure=figure, bucket=bucket, count=value.count, amount=value.amount)
        for (figure, bucket), value in sums.items()
    ]
    try:
        with transaction.atomic(durable=True):
            if was is None:
                SummedDay.objects.create(day=day, **facts)
            elif not SummedDay.objects.filter(day=day, summed_at=was.summed_at).update(**facts):
                return False
            DailySum.objects.filter(day=day).delete()
            DailySum.objects.bulk_create(rows, batch_size=PIECE)
    except IntegrityError:
        return False  # another run has made the day
    return True
