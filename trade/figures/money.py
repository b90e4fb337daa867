"""Pictures of money: settled and returned by day, and refunds whose callback is undelivered."""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.utils.translation import gettext as _

from trade.figures import drawing as draw
from trade.figures.drawing import LEFT, RIGHT, WIDTH, Axis, Drawing, Key, Picture
from trade.figures.period import Business
from trade.models import NotifyTask, Order, RefundType

Reason = Order.CloseReason
GIVEN_BACK = (Reason.REFUNDED.value, Reason.TEAM_ENDED.value)  # of paid seats


def settled(business: Business) -> Picture:
    """GMV by day, and what went back below the line."""
    days = business.period.days
    paid, returned = (business.period.amounts(name) for name in ("settled", "returned"))
    parts = [
        (Key("team", _("team full")), ("team",)),
        (Key("shop", _("completed at its end")), ("shop",)),
        (Key("waiting", _("still forming")), ("waiting",)),
        (Key("failed", _("team failed")), ("failed",)),
    ]
    series = [(key, _per_day(paid, kinds)) for key, kinds in parts]
    back = _per_day(returned, GIVEN_BACK)
    total = {day: sum(values[day] for _key, values in series) for day in days}
    gmv, gone = sum(total.values()), sum(back.values())
    picture = Drawing(
        _("GMV settled %(gmv)s, given back %(gone)s.")
        % {"gmv": draw.number(gmv), "gone": draw.number(gone)},
        height=220,
    )
    values = draw.ticks(max(total.values()), low=-max(back.values()))
    axis = draw.scale(picture, values, top=10, bottom=190)
    draw.stack(picture, days, series, axis=axis)
    below = [(Key("back", _("given back")), back)]
    draw.stack(picture, days, below, axis=axis, down=True)
    draw.day_axis(picture, days, 208)
    return Picture(
        "gmv",
        _("GMV settled by day"),
        _(
            "Money paid for seats, by the day of its settlement; the colour is what has become of"
            " the team by now. Below the line: money of paid seats given back, by the day of its"
            " return. Payments that found no seat are in neither."
        ),
        picture,
        [_("day"), *(key.text for key, _values in series), _("GMV settled"), _("given back")],
        [[day, *(values[day] for _key, values in series), total[day], back[day]] for day in days],
        draw.money(gmv),
    )


def _per_day(
    amounts: Mapping[date, Mapping[str, Decimal]], kinds: tuple[str, ...]
) -> dict[date, Decimal]:
    return {
        day: sum((found.get(kind, Decimal(0)) for kind in kinds), Decimal(0))
        for day, found in amounts.items()
    }


AGES = (1, 6, 24, 72)  # hours; the last column is older
PIECE = 500  # orders read at once
OLDEST = 5000  # notifications looked at
State = NotifyTask.State
UNDELIVERED = (State.NEW, State.RETRYING, State.GIVEN_UP)


def refund_ages(business: Business) -> Picture:
    """Money whose refund notification is not delivered, by the age of the notification."""
    amounts: defaultdict[tuple[int, int], Decimal] = defaultdict(Decimal)
    counts: Counter[tuple[int, int]] = Counter()
    for state, age, price in _undelivered(business.now):
        column = bisect_right(AGES, age / timedelta(hours=1))
        amounts[column, state] += price
        counts[column, state] += 1
    names = [_("< 1 h"), _("1–6 h"), _("6–24 h"), _("1–3 d"), _("> 3 d")]
    keys = {
        State.NEW: Key("team", _("not tried yet")),
        State.RETRYING: Key("shop", _("tried again")),
        State.GIVEN_UP: Key("back", _("given up")),
    }
    whole = sum(amounts.values(), Decimal(0))
    picture = Drawing(
        _("The notifications of %(count)d refunds, %(money)s in all, are not delivered.")
        % {"money": draw.money(whole), "count": counts.total()},
        height=196,
        keys=list(keys.values()),
    )
    columns = [[amounts[column, state] for state in keys] for column in range(len(names))]
    _draw_ages(picture, names, list(keys.values()), columns)
    return Picture(
        "refund-ages",
        _("Refunds whose notification is not delivered"),
        _(
            "Money of closed orders that were paid and whose refund notification is not delivered,"
            " by the age of the notification, right now (the oldest %(most)d are looked at)."
        )
        % {"most": OLDEST},
        picture,
        [_("age"), *(text for key in keys.values() for text in (key.text, _("refunds")))],
        [
            [name, *(f for state in keys for f in (amounts[column, state], counts[column, state]))]
            for column, name in enumerate(names)
        ],
        draw.money(whole) if whole else "",
    )


def _draw_ages(
    picture: Drawing, names: list[str], keys: list[Key], columns: list[list[Decimal]]
) -> None:
    """A column of stacked bars for each name, one bar for each key."""
    totals = [sum(column, Decimal(0)) for column in columns]
    axis = draw.scale(picture, draw.ticks(max(totals)), top=16, bottom=166)
    across = Axis(0, len(names), LEFT, WIDTH - RIGHT)
    width = across(1) - across(0) - 24
    for number, (name, column, total) in enumerate(zip(names, columns, totals, strict=True)):
        base = Decimal(0)
        for key, amount in zip(keys, column, strict=True):
            top = axis(float(base + amount))
            title = draw.said(f"{name} {key.text}", draw.number(amount))
            height = axis(float(base)) - top
            picture.bar(key.colour, across(number) + 12, top, width, height, title)
            base += amount
        middle = across(number + 0.5)
        if total:
            above = axis(float(total)) - 5
            picture.text(middle, above, draw.money(total), anchor="middle", colour="value")
        picture.text(middle, 184, name, anchor="middle")
    if not any(totals):
        picture.text(across(len(names) / 2), 92, _("none right now"), anchor="middle")


def _undelivered(now: datetime) -> Iterator[tuple[State, timedelta, Decimal]]:
    """State, age and money of each undelivered refund notification, the oldest first."""
    tasks = NotifyTask.objects.filter(
        state__in=UNDELIVERED, event=NotifyTask.Event.TEAM_REFUND
    ).exclude(key__endswith=RefundType.UNPAID_UNLOCK)
    rows = list(tasks.order_by("pk").values_list("payload", "state", "created_at")[:OLDEST])
    orders = [int(json.loads(payload)["orderId"]) for payload, _state, _at in rows]
    prices: dict[int, Decimal] = {}
    for start in range(0, len(orders), PIECE):
        found = Order.objects.filter(pk__in=orders[start : start + PIECE])
        prices |= dict(found.values_list("pk", "pay_price"))
    for order, (_payload, state, at) in zip(orders, rows, strict=True):
        yield State(state), max(now - at, timedelta(0)), prices.get(order, Decimal(0))
