"""Pictures of shoppers: stages they reach, hours at which they lock, outcomes of their seats."""

from collections import Counter
from collections.abc import Mapping

from django.db.models import Sum
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.translation import gettext as _

from groupbuy.errors import ErrorCode
from trade.figures import drawing as draw
from trade.figures.drawing import Drawing, Key, Picture
from trade.figures.period import Business
from trade.figures.rows import STAGES
from trade.models import RefusedLock

MOST_ACTIVITIES = MOST_REASONS = 8
REASONS = {error.code: error.message for error in ErrorCode}


def stages(business: Business) -> Picture:
    """How many shoppers locked, paid, saw their team complete, and kept their order."""
    counts = business.period.counts("stages")
    keys = [
        Key("stage-1", _("locked")),
        Key("stage-2", _("paid")),
        Key("stage-3", _("team complete")),
        Key("stage-4", _("kept")),
    ]
    scopes = [(_("all"), "all"), *_scopes("channel", business.channels, counts)]
    scopes += _scopes("activity", business.activities, counts)[:MOST_ACTIVITIES]
    scopes += _add_crowds(business.crowds, counts)
    table = [(name, [counts[f"{scope}:{stage}"] for stage in STAGES]) for name, scope in scopes]
    row, left, right = 17, 150, draw.WIDTH - 46
    whole = table[0][1]
    picture = Drawing(
        _("Of %(locked)d shoppers %(paid)d paid and %(kept)d kept their order.")
        % {"locked": whole[0], "paid": whole[1], "kept": whole[3]},
        height=16 + row * len(table),
        keys=keys,
    )
    for n, (name, reached) in enumerate(table):
        y = 6 + n * row
        picture.text(left - 8, y + 10, draw.shortened(name), anchor="end")
        for key, count in zip(keys, reached, strict=True):
            width = (right - left) * count / (reached[0] or 1)
            said = draw.said(f"{name} · {key.text}", count)
            picture.bar(key.colour, left, y, width, row - 5, said)
        picture.text(right + 6, y + 10, draw.percent(reached[3], reached[0]))
    return Picture(
        "stages",
        _("From lock to kept order"),
        _(
            "Shoppers by the day of their lock, each once a day in a stage: locked a seat, paid for"
            " it, was in a team when it completed, still has the order. The percentage is kept of"
            " locked. A crowd is the sum of the activities that are for it now."
        ),
        picture,
        [_("scope"), *(key.text for key in keys)],
        [[name, *reached] for name, reached in table],
        _("%(share)s kept") % {"share": draw.percent(whole[3], whole[0])},
    )


def _scopes(
    kind: str, names: Mapping[str, str], counts: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Names and scopes of the channels or activities, the one with the most shoppers first."""
    ids = {bucket.split(":")[1] for bucket in counts if bucket.startswith(f"{kind}:")}
    most = sorted(ids, key=lambda each: (-counts[f"{kind}:{each}:locked"], each))
    return [(names.get(each, each), f"{kind}:{each}") for each in most]


def _add_crowds(crowds: Mapping[str, str], counts: Counter[str]) -> list[tuple[str, str]]:
    """Add to counts the sum of the activities for each crowd; return the crowds' scopes."""
    names = set[str]()
    for bucket, count in list(counts.items()):
        kind, _colon, rest = bucket.partition(":")
        activity, _colon, stage = rest.partition(":")
        if kind == "activity" and activity in crowds:
            names.add(crowds[activity])
            counts[f"crowd:{crowds[activity]}:{stage}"] += count
    return [(_("crowd: %(name)s") % {"name": name}, f"crowd:{name}") for name in sorted(names)]


def seats(business: Business) -> Picture:
    """Outcomes of the seats that were locked on each day."""
    days, by_day = business.period.days, business.period.by_day("seats")
    held, paid, released = (
        {day: by_day[day][name] for day in days} for name in ("held", "paid", "released")
    )
    waiting = {day: held[day] - paid[day] - released[day] for day in days}
    series = [
        (Key("team", _("paid")), paid),
        (Key("waiting", _("still held")), waiting),
        (Key("failed", _("released unpaid")), released),
    ]
    total = sum(held.values())
    picture = Drawing(
        _("%(held)d seats were locked, %(paid)d were paid, %(released)d were released.")
        % {"held": total, "paid": sum(paid.values()), "released": sum(released.values())},
        height=206,
    )
    axis = draw.scale(picture, draw.ticks(max(held.values())), top=10, bottom=176)
    draw.stack(picture, days, series, axis=axis)
    draw.day_axis(picture, days, 194)
    return Picture(
        "seats",
        _("Seats held, paid and released"),
        _(
            "Seats by the day of their lock, and what has become of them by now: paid for, still"
            " held, or released without a payment that found a seat."
        ),
        picture,
        [_("day"), _("locked"), *(key.text for key, _values in series)],
        [[day, held[day], *(values[day] for _key, values in series)] for day in days],
    )


def refused(business: Business) -> Picture:
    """Refused locks by the reason that the mall received."""
    period, rows = business.period, list[list[object]]()
    found = RefusedLock.objects.filter(day__gte=period.first, day__lte=period.last)
    sums = found.values_list("code", "channel_id").annotate(n=Sum("count")).order_by("-n", "code")
    totals: Counter[str] = Counter()
    for code, channel_id, count in sums:
        totals[code] += count
        channel = business.channels.get(str(channel_id), str(channel_id))
        rows.append([code, _reason(code), channel, count])
    row, most = 36, max(totals.values(), default=1)
    picture = Drawing(
        _("; ").join(draw.said(_reason(code), n) for code, n in totals.most_common(MOST_REASONS))
        or _("No lock was refused."),
        height=10 + row * max(len(totals.most_common(MOST_REASONS)), 1),
    )
    if not totals:
        picture.text(draw.WIDTH / 2, 24, picture.summary, anchor="middle")
    for n, (code, count) in enumerate(totals.most_common(MOST_REASONS)):
        y = 4 + n * row
        picture.text(0, y + 11, f"{_reason(code)} · {code}")
        picture.bar("failed", 0, y + 17, (draw.WIDTH - 60) * count / most, 10, f"{count}")
        picture.text(draw.WIDTH, y + 26, draw.short(count), anchor="end", colour="value")
    return Picture(
        "refused",
        _("Why shoppers could not join"),
        _(
            "Locks that were refused, by the code and the reason that the mall was given. A mall"
            " that sends a refused lock again is counted again."
        ),
        picture,
        [_("code"), _("reason"), _("channel"), _("refused")],
        rows,
        draw.short(sum(totals.values())),
    )


def _reason(code: str) -> str:
    return str(REASONS.get(code, code))


LONG_WAIT = 30  # minutes; longer ones are one column


def wait(business: Business) -> Picture:
    """Minutes from lock to settlement."""
    counts: Counter[int] = Counter()
    for minutes, count in business.period.counts("wait").items():
        counts[int(minutes)] += count
    columns = {n: counts[n] for n in range(LONG_WAIT)}
    columns[LONG_WAIT] = sum(count for n, count in counts.items() if n >= LONG_WAIT)
    half = percentile(counts, 0.5)
    picture = Drawing(
        _("Half of the paid seats were paid within %(time)s.") % {"time": _minutes(half)},
        height=196,
    )
    axis = draw.scale(picture, draw.ticks(max(columns.values())), top=10, bottom=166)
    across = draw.Axis(0, LONG_WAIT + 1, draw.LEFT, draw.WIDTH - draw.RIGHT)
    for n, count in columns.items():
        width = across(1) - across(0) - 2
        picture.bar(
            "team", across(n) + 1, axis(count), width, axis(0) - axis(count), draw.said(n, count)
        )
        if n % 5 == 0:
            name = f"{n}+" if n == LONG_WAIT else str(n)
            picture.text(across(n + 0.5), 184, name, anchor="middle")
    return Picture(
        "wait",
        _("Minutes from lock to payment"),
        _(
            "Paid seats locked in these days, by the whole minutes between the lock and the"
            " settlement of the payment. The median is the first minute by which half were paid."
        ),
        picture,
        [_("minutes"), _("paid seats")],
        sorted(counts.items()),
        _("median %(time)s") % {"time": _minutes(half)},
    )


def _minutes(minutes: int | None) -> str:
    return "–" if minutes is None else _("%(n)d min") % {"n": minutes + 1}


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The smallest value that this share of all values do not exceed; None without values."""
    rank, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    return None


def hours(business: Business) -> Picture:
    """Locks by hour and weekday, on average."""
    days = Counter(day.weekday() for day in business.period.days)
    locks: Counter[tuple[int, int]] = Counter()
    for day, found in business.period.by_day("hours").items():
        for bucket, count in found.items():
            locks[day.weekday(), int(bucket)] += count
    average = {
        (weekday, hour): locks[weekday, hour] / (days[weekday] or 1)
        for weekday in range(7)
        for hour in range(24)
    }
    most = max(average.values())
    busiest = max(average, key=lambda each: average[each])
    names = [str(WEEKDAYS_ABBR[weekday]) for weekday in range(7)]
    picture = Drawing(
        _("Busiest: %(day)s at %(hour)d:00.") % {"day": names[busiest[0]], "hour": busiest[1]}
        if most
        else _("No seat was locked."),
        height=180,
    )
    width, row = (draw.WIDTH - draw.LEFT - draw.RIGHT) / 24, 22
    for weekday, name in enumerate(names):
        picture.text(draw.LEFT - 6, 20 + weekday * row, name, anchor="end")
        for hour in range(24):
            value = average[weekday, hour]
            x, y = draw.LEFT + hour * width, 4 + weekday * row
            said = f"{name} {hour}:00 · {value:.1f}"
            picture.bar(draw.heat(value, most), x + 0.5, y, width - 1, row - 1, said)
    for hour in range(0, 24, 3):
        x = draw.LEFT + (hour + 0.5) * width
        picture.text(x, 4 + 7 * row + 14, str(hour), anchor="middle")
    return Picture(
        "hours",
        _("Locks by hour and weekday"),
        _("Seats locked in an hour of the day, on average of these days; darker is more."),
        picture,
        [_("weekday"), *(str(hour) for hour in range(24))],
        [
            [name, *(f"{average[n, hour]:.1f}" for hour in range(24))]
            for n, name in enumerate(names)
        ],
    )
