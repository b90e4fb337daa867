"""Pictures of teams: how many complete, how fast, and how full the other ones end."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from django.db.models import F
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from trade.figures import drawing as draw
from trade.figures.drawing import LEFT, RIGHT, WIDTH, Axis, Drawing, Key, Picture
from trade.figures.period import Business
from trade.figures.rows import lived, start_of
from trade.models import Team

SIZES = ((1, 2), (3, 3), (4, 5), (6, 1000))  # people per team that are drawn as one curve


def completion(business: Business) -> Picture:
    """Teams by the day of their opening, and which share of the ended ones became full."""
    days, opened = business.period.days, business.period.by_day("teams")
    keys = [
        Key("team", _("full")),
        Key("shop", _("completed at its end")),
        Key("failed", _("failed")),
        Key("running", _("still forming")),
    ]
    names = ("team", "shop", "failed", "running")
    series = [
        (key, {day: opened[day][name] for day in days})
        for key, name in zip(keys, names, strict=True)
    ]
    totals = sum(opened.values(), Counter[str]())
    rate = draw.percent(totals["team"], ended(totals))
    picture = Drawing(
        _("%(full)d of %(ended)d ended teams became full, %(rate)s.")
        % {"full": totals["team"], "ended": ended(totals), "rate": rate},
        height=260,
    )
    _draw_rate(picture, opened, days)
    most = max(sum(counts.values()) for counts in opened.values())
    axis = draw.scale(picture, draw.ticks(most, most=4), top=104, bottom=230)
    draw.stack(picture, days, series, axis=axis)
    draw.day_axis(picture, days, 248)
    return Picture(
        "completion",
        _("Completion rate by day of opening"),
        _(
            "Line: teams that became full, as a share of the teams opened on that day that have"
            " ended. Running teams (hatched) are in neither number. Teams completed at their end"
            " have ended and are not full."
        ),
        picture,
        [_("day"), *(key.text for key in keys), _("completion rate")],
        [
            [day, *(values[day] for _key, values in series),
             draw.percent(opened[day]["team"], ended(opened[day]))]
            for day in days
        ],
        rate,
    )  # fmt: skip


def _draw_rate(picture: Drawing, opened: Mapping[date, Counter[str]], days: Sequence[date]) -> None:
    """The completion rate as a line; days on which no team has ended are left out."""
    shares = draw.scale(
        picture, [0, 50, 100], top=12, bottom=82, write=lambda value: f"{value:.0f} %"
    )
    across = Axis(0, len(days), LEFT, WIDTH - RIGHT)
    points = [
        (across(n + 0.5), shares(100 * opened[day]["team"] / ended(opened[day])))
        for n, day in enumerate(days)
        if ended(opened[day])
    ]
    picture.line("rate", points)


def ended(counts: Counter[str]) -> int:
    return counts["team"] + counts["shop"] + counts["failed"]


class Life(NamedTuple):
    """A team of this size that was observed for so many minutes, and was full or not by then."""

    size: int
    minutes: int
    is_full: bool


def survival(lives: Iterable[tuple[Life, int]]) -> list[tuple[int, float]]:
    """Kaplan-Meier: from each minute on, the share of teams that is not full."""
    full, left = Counter[int](), Counter[int]()
    for life, count in lives:
        (full if life.is_full else left)[life.minutes] += count
    at_risk, share, curve = full.total() + left.total(), 1.0, [(0, 1.0)]
    for minutes in sorted(full | left):
        if full[minutes]:
            share *= 1 - full[minutes] / at_risk
            curve.append((minutes, share))
        at_risk -= full[minutes] + left[minutes]
    return curve


def median(curve: Sequence[tuple[int, float]]) -> int | None:
    """The first minute by which half of the teams are full; None if fewer are."""
    return next((minutes for minutes, share in curve if share <= 0.5), None)


def lives_of(business: Business) -> list[tuple[Life, int]]:
    """Lives of the teams opened in the period; those still running are censored now."""
    lives: Counter[Life] = Counter()
    for bucket, count in business.period.counts("life").items():
        size, minutes, kind = bucket.split(":")
        lives[Life(int(size), int(minutes), kind == "full")] += count
    running = Team.objects.filter(
        status=Team.Status.FORMING, created_at__gte=start_of(business.period.first)
    )
    for people, opened_at in running.values_list("target_count", "created_at"):
        lives[Life(people, lived(max(business.now - opened_at, timedelta(0))), False)] += 1
    return list(lives.items())


def time_to_complete(business: Business) -> Picture:
    """The share of teams that is not full yet, by their age."""
    lives = lives_of(business)
    longest = max((life.minutes for life, _count in lives), default=60)
    across = Axis(1, max(longest, 60), LEFT, WIDTH - RIGHT, map=math.log)
    whole = median(survival(lives))
    picture = Drawing(
        _("Half of the teams are full after %(time)s.") % {"time": duration(whole)}, height=216
    )
    axis = draw.scale(
        picture, [0, 25, 50, 75, 100], top=12, bottom=180, write=lambda value: f"{value:.0f} %"
    )
    for minutes in (1, 5, 15, 60, 360, 1440, 4320, 14400):
        if minutes <= across.high:
            picture.text(across(minutes), 198, duration(minutes), anchor="middle")
    rows = []
    for n, (least, most) in enumerate(SIZES, 1):
        found = [(life, count) for life, count in lives if least <= life.size <= most]
        if not found:
            continue
        curve = survival(found)
        end = max(life.minutes for life, _count in found)
        picture.line(f"curve curve-{n}", _steps([*curve, (end, curve[-1][1])], across, axis))
        name, half = _size(least, most), median(curve)
        picture.keys.append(Key(f"curve curve-{n}", draw.said(name, duration(half))))
        full = sum(count for life, count in found if life.is_full)
        total = sum(count for _life, count in found)
        rows += [
            [name, total, full, duration(half), m, f"{100 * share:.1f} %"] for m, share in curve
        ]
    return Picture(
        "time-to-complete",
        _("Time until a team is full"),
        _(
            "Share of teams that is not full yet, by the age of the team (Kaplan-Meier). Failed"
            " teams and teams completed at their end are watched until their end, running teams"
            " until now. The time beside each size is the median."
        ),
        picture,
        [_("people per team"), _("teams"), _("full"), _("median"), _("minutes"), _("not full")],
        rows,
        _("median %(time)s") % {"time": duration(whole)},
    )


def _steps(
    curve: Sequence[tuple[int, float]], across: Axis, axis: Axis
) -> list[tuple[float, float]]:
    points, height = [], 100.0
    for minutes, share in curve:
        x = across(max(minutes, 1))
        points += [(x, axis(height)), (x, axis(100 * share))]
        height = 100 * share
    return points


def _size(least: int, most: int) -> str:
    if least == most or least == 1:
        return _("%(most)d people") % {"most": most}
    if most == SIZES[-1][1]:
        return _("%(least)d and more") % {"least": least}
    return _("%(least)d to %(most)d") % {"least": least, "most": most}


def duration(minutes: int | None) -> str:
    """5 min, 2 h, 3 d."""
    if minutes is None:
        return "–"
    if minutes < 60:
        return _("%(n)d min") % {"n": minutes}
    if minutes < 48 * 60:
        return _("%(n)s h") % {"n": f"{minutes / 60:.1f}".removesuffix(".0")}
    return _("%(n)s d") % {"n": f"{minutes / 1440:.1f}".removesuffix(".0")}


MISSING = 8  # this many and more are one column


def stalled(business: Business) -> Picture:
    """How many seats were missing when the time of a team was up."""
    counts: Counter[tuple[int, int]] = Counter()
    for bucket, count in business.period.counts("stalled").items():
        size, paid = map(int, bucket.split(":"))
        counts[size, min(size - paid, MISSING)] += count
    sizes = sorted({size for size, _missing in counts})
    width, row = (WIDTH - 100 - RIGHT) / MISSING, 22
    picture = Drawing(
        _("%(one)d of %(all)d teams that did not become full missed one seat.")
        % {"one": sum(counts[size, 1] for size in sizes), "all": counts.total()},
        height=34 + row * max(len(sizes), 1),
    )
    for missing in range(1, MISSING + 1):
        x = 100 + width * (missing - 0.5)
        picture.text(x, 14, f"{missing}+" if missing == MISSING else str(missing), anchor="middle")
    picture.text(92, 14, _("seats missing"), anchor="end")
    most = max(counts.values(), default=0)
    for n, size in enumerate(sizes):
        y = 24 + n * row
        picture.text(92, y + 14, _("%(most)d people") % {"most": size}, anchor="end")
        for missing in range(1, min(size, MISSING) + 1):
            x, count = 100 + width * (missing - 1), counts[size, missing]
            colour = draw.heat(count, most)
            picture.bar(colour, x + 1, y, width - 2, row - 2)
            inverse = "inverse" if colour in ("heat-4", "heat-5") else "value"
            picture.text(x + width / 2, y + 14, str(count), anchor="middle", colour=inverse)
    rows = [[size, *(counts[size, n] for n in range(1, MISSING + 1))] for size in sizes]
    return Picture(
        "stalled",
        _("How full teams get before they stall"),
        _(
            "Teams opened in these days whose time was up before they were full, those completed"
            " at their end included: paid seats that were missing then, by team size."
        ),
        picture,
        [_("people per team"), *(str(n) for n in range(1, MISSING)), f"{MISSING}+"],
        rows,
    )


HOUR = timedelta(hours=1)
NEAREST = 10  # teams drawn
LISTED = 100  # teams in the table


def nearly_full(business: Business) -> Picture:
    """Teams that end within the hour and have one free seat."""
    forming = Team.objects.filter(
        status=Team.Status.FORMING,
        expires_at__gt=business.now,
        expires_at__lte=business.now + HOUR,
        locked_count=F("target_count") - 1,
    )
    count, soonest = forming.count(), forming.order_by("expires_at", "pk")[:LISTED]
    found = [
        (
            str(team.pk),
            business.activities.get(str(team.activity_id), str(team.activity_id)),
            team.target_count,
            (team.expires_at - business.now) // timedelta(minutes=1),
        )
        for team in soonest
    ]
    row, left = 20, 150
    picture = Drawing(
        ngettext(
            "%(count)d team misses one and ends within the hour.",
            "%(count)d teams miss one and end within the hour.",
            count,
        )
        % {"count": count},
        height=30 + row * max(min(len(found), NEAREST), 1),
    )
    across = Axis(0, 60, left, WIDTH - 60)
    for minutes in (0, 15, 30, 45, 60):
        picture.line("grid", [(across(minutes), 4), (across(minutes), picture.height - 20)])
        picture.text(across(minutes), picture.height - 6, str(minutes), anchor="middle")
    if not found:
        picture.text(across(30), 18, _("none right now"), anchor="middle")
    for n, (_pk, name, _people, minutes) in enumerate(found[:NEAREST]):
        y = 6 + n * row
        picture.text(left - 8, y + 11, draw.shortened(name), anchor="end")
        picture.bar("back" if minutes < 15 else "team", left, y, across(minutes) - left, row - 6)
        picture.text(across(minutes) + 6, y + 11, duration(minutes), colour="value")
    return Picture(
        "nearly-full",
        _("One seat short, ending within the hour"),
        _("Forming teams with exactly one free seat, by the minutes they have left, right now."),
        picture,
        [_("team"), _("activity"), _("people per team"), _("minutes left")],
        found,
    )
