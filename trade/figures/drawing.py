"""Drawings: marks with coordinates, which templates/admin/figures/drawing.svg renders as SVG.

Units are those of a view box of WIDTH × height, about a pixel each. Colours are classes, see
static/figures.css.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, SupportsFloat

from django.utils.translation import get_language
from django.utils.translation import gettext as _

WIDTH = 420
LEFT, RIGHT = 40, 8  # of the plot

Value = float | Decimal


class Mark(NamedTuple):
    """A shape of the drawing. text is its text, or its tooltip."""

    shape: str  # bar, line, text
    colour: str
    x: str
    y: str
    width: str = ""
    height: str = ""
    text: str = ""
    path: str = ""
    anchor: str = ""


class Key(NamedTuple):
    """An entry of the legend."""

    colour: str
    text: str


@dataclass
class Drawing:
    summary: str  # for screen readers
    height: int = 200
    marks: list[Mark] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    width: int = WIDTH

    def bar(
        self, colour: str, x: float, y: float, width: float, height: float, text: str = ""
    ) -> None:
        if width > 0 and height > 0:
            self.marks.append(Mark("bar", colour, _n(x), _n(y), _n(width), _n(height), text))

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", colour: str = ""
    ) -> None:
        self.marks.append(Mark("text", colour, _n(x), _n(y), text=text, anchor=anchor))

    def line(self, colour: str, points: Sequence[tuple[float, float]], text: str = "") -> None:
        if points:
            path = "M" + " L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.marks.append(Mark("line", colour, "", "", path=path, text=text))


class Picture(NamedTuple):
    """A drawing with its definition, and a table of the same numbers."""

    name: str  # of the CSV file
    title: str
    definition: str
    drawing: Drawing
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    fact: str = ""  # the one number to remember


@dataclass(frozen=True)
class Axis:
    """Maps values from low to high to a range of pixels."""

    low: float
    high: float
    start: float
    end: float
    map: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high = self.map(self.low), self.map(self.high)
        share = (self.map(value) - low) / ((high - low) or 1)
        return self.start + share * (self.end - self.start)


def ticks(high: SupportsFloat, *, low: SupportsFloat = 0, most: int = 5) -> list[float]:
    """Round numbers that cover low to high, which is at least 1."""
    high, low = max(float(high), 1), float(low)
    span = high - low
    size = 10 ** math.floor(math.log10(span / most))
    step = next(size * n for n in (1, 2, 5, 10) if span / (size * n) <= most)
    step = max(step, 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [n * step for n in range(first, last + 1)]


def scale(
    drawing: Drawing,
    values: Sequence[float],
    *,
    top: float,
    bottom: float,
    write: Callable[[float], str] | None = None,
) -> Axis:
    """Draw a value axis on the left, with a grid line and a label at each value."""
    axis = Axis(values[0], values[-1], bottom, top)
    for value in values:
        drawing.line(
            "axis" if value == 0 else "grid", [(LEFT, axis(value)), (WIDTH - RIGHT, axis(value))]
        )
        drawing.text(LEFT - 6, axis(value) + 4, (write or short)(value), anchor="end")
    return axis


def day_axis(drawing: Drawing, days: Sequence[date], y: float) -> Axis:
    """Draw an axis of days from left to right, about five of them labelled."""
    axis = Axis(0, len(days), LEFT, WIDTH - RIGHT)
    step = max(1, math.ceil(len(days) / 6))
    for n, day in enumerate(days):
        if (len(days) - 1 - n) % step == 0:
            drawing.text(axis(n + 0.5), y, f"{day:%m-%d}", anchor="middle")
    return axis


def stack(
    drawing: Drawing,
    days: Sequence[date],
    series: Sequence[tuple[Key, Mapping[date, Value]]],
    *,
    axis: Axis,
    down: bool = False,
) -> None:
    """Draw a stack of bars for each day, with down=True from zero downwards."""
    across = Axis(0, len(days), LEFT, WIDTH - RIGHT)
    room = (WIDTH - LEFT - RIGHT) / len(days)
    gap = min(2.0, room / 4)
    for n, day in enumerate(days):
        base = 0.0
        for key, values in series:
            value = float(values.get(day, 0))
            edges = sorted(
                (axis(-base if down else base), axis(-(base + value) if down else base + value))
            )
            title = said(f"{day:%m-%d} {key.text}", number(value))
            drawing.bar(
                key.colour, across(n) + gap / 2, edges[0], room - gap, edges[1] - edges[0], title
            )
            base += value
    drawing.keys += [key for key, _values in series]


def said(name: object, value: object) -> str:
    """Both with the colon of the language."""
    return _("%(name)s: %(value)s") % {"name": name, "value": value}


def heat(value: Value, most: Value) -> str:
    """The colour class of a cell: one of five shades, heat-0 for a value of 0."""
    shade = min(5, math.ceil(5 * float(value) / float(most))) if value and most else 0
    return f"heat-{shade}"


def short(value: Value) -> str:
    """1,200 as 1.2k, 12,000 as 12k or 1.2万."""
    value = float(value)
    chinese = (get_language() or "").startswith("zh")
    units = [(1e8, "亿"), (1e4, "万")] if chinese else [(1e6, "M"), (1e3, "k")]
    for unit, name in units:
        if abs(value) >= unit:
            return f"{value / unit:.1f}".removesuffix(".0") + name
    return f"{value:.0f}"


def number(value: Value) -> str:
    """Format a number with separators; money and averages keep two decimals."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def money(value: Value) -> str:
    """Rounded to whole yuan."""
    return f"¥{value:,.0f}"


def percent(part: Value, whole: Value) -> str:
    return f"{100 * float(part) / float(whole):.0f} %" if whole else "–"


def shortened(name: str, room: int = 20) -> str:
    """Cut to this many letters; Chinese characters are twice as wide."""
    width = 0
    for n, letter in enumerate(name):
        width += 2 if ord(letter) > 0x2E80 else 1
        if width > room:
            return f"{name[:n]}…"
    return name


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
