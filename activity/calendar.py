"""The calendar of activities (活动日历): when each sells, and which of them conflict.

Two live activities conflict where they offer the same goods on the same channel at the same time:
the trial then takes the newer one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import combinations

from django.db.models import Prefetch
from django.utils import timezone

from activity.models import LIVE, Activity, Offer

WIDTH = 100  # of the whole calendar: bars are placed in per cent
MOST = 200  # activities shown, the earliest ones
DAYS = (42, 182)  # choices of the length
BEFORE = timedelta(days=7)  # how far before today the calendar starts by default
STEP = {42: 7, 182: 26}  # days between two marks: equal parts
DAY = timedelta(days=1)


@dataclass
class Row:
    activity: Activity
    x: float
    width: float
    conflicts: list[Activity] = field(default_factory=list)

    @property
    def tone(self) -> str:
        """The colour of its bar, a class of static/figures.css."""
        if self.conflicts:
            return "back"
        match Activity.Status(self.activity.status):
            case Activity.Status.CREATED | Activity.Status.PAUSED:
                return "waiting"
            case Activity.Status.IN_EFFECT:
                return "team"
            case Activity.Status.EXPIRED | Activity.Status.ABANDONED:
                return "failed"


@dataclass(frozen=True)
class Calendar:
    first: date
    days: int
    rows: Sequence[Row]
    marks: Sequence[tuple[float, date]]
    now: float | None  # x of the present moment; None outside these days
    more: bool  # there are more than MOST

    @property
    def last(self) -> date:
        return self.first + (self.days - 1) * DAY

    @property
    def before(self) -> date:
        return self.first - self.days * DAY

    @property
    def after(self) -> date:
        return self.first + self.days * DAY


def read(*, first: date | None, days: int, now: datetime) -> Calendar:
    """The activities whose windows overlap these days, in two queries."""
    first = first or timezone.localdate(now) - BEFORE
    start, end = _midnight(first), _midnight(first + days * DAY)
    offers = Prefetch("offers", Offer.objects.select_related("channel", "sku"))
    found = Activity.objects.filter(start_at__lt=end, end_at__gt=start)
    activities = list(found.order_by("start_at", "pk").prefetch_related(offers)[: MOST + 1])

    def at(moment: datetime) -> float:
        share = (min(max(moment, start), end) - start) / (end - start)
        return round(share * WIDTH, 2)

    rows = [
        Row(each, at(each.start_at), max(at(each.end_at) - at(each.start_at), 0.2))
        for each in activities[:MOST]
    ]
    _mark_conflicts(rows)
    marks = [(at(_midnight(day)), day) for day in (
        first + n * DAY for n in range(0, days, STEP[days]))]  # fmt: skip
    x_of_now = at(now) if start <= now < end else None
    return Calendar(first, days, rows, marks, x_of_now, len(activities) > MOST)


def _mark_conflicts(rows: Sequence[Row]) -> None:
    selling: defaultdict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.activity.status in LIVE:
            for offer in row.activity.offers.all():
                selling[offer.channel_id, offer.sku_id].append(row)
    for group in selling.values():
        for one, other in combinations(group, 2):
            if _overlap(one.activity, other.activity) and other.activity not in one.conflicts:
                one.conflicts.append(other.activity)
                other.conflicts.append(one.activity)


def _overlap(one: Activity, other: Activity) -> bool:
    return one.start_at < other.end_at and other.start_at < one.end_at


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))
