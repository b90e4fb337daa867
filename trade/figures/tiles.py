"""The numbers above the pictures: today, 7 and 30 days against the days before, and right now."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Count, Sum
from django.utils.translation import gettext as _

from trade.figures import drawing as draw
from trade.figures.period import Business, Period
from trade.figures.rows import day_of
from trade.figures.teams import ended
from trade.models import Order, Team

LONGEST = 30
SPANS = (7, LONGEST)  # full days, until yesterday
DAY = timedelta(days=1)
Value = Decimal | float | None
Measure = Callable[[Period], Value]
Write = Callable[[float], str]
Compare = Callable[[Value, Value], str]


class Cell(NamedTuple):
    value: str
    before: str
    change: str  # "+12 %", of a share "+4 pp"


class Tile(NamedTuple):
    title: str
    cells: Sequence[Cell]  # today, 7 days, 30 days


def tiles(business: Business) -> list[Tile]:
    measures: list[tuple[str, Measure, Write, Compare]] = [
        (_("GMV settled"), _money("settled"), draw.money, _change),
        (_("Teams opened"), _count("teams"), draw.number, _change),
        (_("Teams completed"), _count("completed"), draw.number, _change),
        (_("Completion rate"), _rate, lambda share: f"{100 * share:.0f} %", points),
        (_("Money given back"), _money("returned"), draw.money, _change),
    ]
    return [
        Tile(title, _cells(business, measure, write, compare))
        for title, measure, write, compare in measures
    ]


def waiting() -> tuple[int, Decimal]:
    """Paid seats in forming teams right now, and their money."""
    orders = Order.objects.filter(team__status=Team.Status.FORMING, status=Order.Status.PAID)
    sums = orders.aggregate(seats=Count("pk"), money=Sum("pay_price", default=Decimal(0)))
    return sums["seats"], sums["money"]


def _cells(business: Business, measure: Measure, write: Write, compare: Compare) -> list[Cell]:
    today = day_of(business.now)
    spans = [(today, 1), *((today - DAY, days) for days in SPANS)]
    cells = []
    for last, days in spans:
        first = last - (days - 1) * DAY
        now = measure(business.period.part(first, last))
        before = measure(business.period.part(first - days * DAY, first - DAY))
        value, said = (_written(each, write) for each in (now, before))
        cells.append(Cell(value, said, "" if days == 1 else compare(now, before)))
    return cells


def _written(value: Value, write: Write) -> str:
    """The value, or a dash for nothing. A share may be 0 %; a share of nothing is None."""
    return write(float(value)) if value or isinstance(value, float) else "–"


def _change(now: Value, before: Value) -> str:
    """The change against the period before; "" if that period has no value."""
    if now is None or not before:
        return ""
    return f"{100 * (float(now) / float(before) - 1):+.0f} %"


def points(now: Value, before: Value) -> str:
    """The difference of two shares, as they are shown."""
    if now is None or before is None:
        return ""
    return _("%(points)+d pp") % {"points": round(100 * now) - round(100 * before)}


def _money(figure: str) -> Measure:
    return lambda period: sum(
        (money for found in period.amounts(figure).values() for money in found.values()), Decimal(0)
    )


def _count(figure: str) -> Measure:
    return lambda period: period.counts(figure).total()


def _rate(period: Period) -> float | None:
    counts = period.counts("teams")
    return counts["team"] / ended(counts) if ended(counts) else None
