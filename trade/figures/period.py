"""Read the sums of a period: those kept for past days, and today's from its rows."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.utils import timezone

from groupbuy.snapshots import Snapshot
from trade.figures.rows import DaySums, Sum, day_of, sum_day
from trade.models import DailySum

DATED = ("settled", "returned", "completed")  # their buckets begin with the day that they count on
DAY = timedelta(days=1)


class Period:
    """The sums of the days from first to last, both included."""

    def __init__(self, first: date, last: date, sums: Mapping[tuple[date, str, str], Sum]) -> None:
        self.first, self.last = first, last
        self._sums = sums

    @property
    def days(self) -> Sequence[date]:
        return [self.first + n * DAY for n in range((self.last - self.first).days + 1)]

    def counts(self, figure: str) -> Counter[str]:
        """Bucket -> count, of all days."""
        totals: Counter[str] = Counter()
        for (_day, _name, bucket), value in self._of(figure):
            totals[bucket] += value.count
        return totals

    def by_day(self, figure: str) -> dict[date, Counter[str]]:
        """Day -> bucket -> count."""
        counts: dict[date, Counter[str]] = {day: Counter() for day in self.days}
        for (day, _name, bucket), value in self._of(figure):
            counts[day][bucket] += value.count
        return counts

    def amounts(self, figure: str) -> dict[date, defaultdict[str, Decimal]]:
        """Day -> bucket -> money."""
        found: dict[date, defaultdict[str, Decimal]]
        found = {day: defaultdict(Decimal) for day in self.days}
        for (day, _name, bucket), value in self._of(figure):
            found[day][bucket] += value.amount
        return found

    def sums(self, figure: str) -> list[tuple[str, Sum]]:
        """Each bucket of each day."""
        return [(bucket, value) for (_day, _name, bucket), value in self._of(figure)]

    def part(self, first: date, last: date) -> "Period":
        return Period(first, last, self._sums)

    def _of(self, figure: str) -> list[tuple[tuple[date, str, str], Sum]]:
        return [
            (key, value)
            for key, value in self._sums.items()
            if key[1] == figure and self.first <= key[0] <= self.last
        ]


class Business(NamedTuple):
    """The data from which the pictures are drawn."""

    now: datetime
    period: Period
    channels: Mapping[str, str]  # id -> name
    activities: Mapping[str, str]
    crowds: Mapping[str, str]  # id of an activity -> name of the crowd that it is for


def read(first: date, last: date, *, today: tuple[date, DaySums]) -> Period:
    """The stored sums of these days; for today the sums of its rows instead."""
    sums: defaultdict[tuple[date, str, str], Sum] = defaultdict(Sum)
    day, rows = today
    kept = DailySum.objects.exclude(day=day)
    plain = kept.filter(day__gte=first, day__lte=last).exclude(figure__in=DATED)
    dated = kept.filter(figure__in=DATED, bucket__gte=str(first), bucket__lt=str(last + DAY))
    for found in (plain, dated):
        for made, figure, bucket, *value in found.values_list(*FIELDS):
            _add(sums, made, figure, bucket, Sum(*value))
    for (figure, bucket), value in rows.items():
        _add(sums, day, figure, bucket, value)
    return Period(first, last, sums)


FIELDS = ("day_id", "figure", "bucket", "count", "amount")


def _add(
    sums: defaultdict[tuple[date, str, str], Sum], made: date, figure: str, bucket: str, value: Sum
) -> None:
    if figure in DATED:
        day, _space, bucket = bucket.partition(" ")
        made = date.fromisoformat(day)
    was = sums[made, figure, bucket]
    sums[made, figure, bucket] = Sum(was.count + value.count, was.amount + value.amount)


def _sum_today() -> tuple[date, DaySums]:
    day = day_of(timezone.now())
    return day, sum_day(day)


_today = Snapshot(_sum_today, share=0.1)


def today(now: datetime) -> tuple[date, DaySums]:
    """Today's sums, from a copy; loading copies takes at most a tenth of the time."""
    day, sums = _today.get()
    return (day, sums) if day == day_of(now) else (day_of(now), sum_day(day_of(now)))
