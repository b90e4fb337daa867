"""Live switches (动态配置, DCC): settings that operators change while the platform runs.

SWITCHES lists them with their defaults and the form of their values. change() is the only writer,
the functions below it are the only readers.
"""

import logging
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from prometheus_client.core import GaugeMetricFamily, Metric

from groupbuy import metrics
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import Switch, SwitchChange
from groupbuy.snapshots import Snapshot

logger = logging.getLogger(__name__)

Key = Switch.Key
MOST_HOLDS = 30_000  # the limit while holdLimit is off; Order.hold_no has room for it
EVENTS_KEPT = timedelta(days=90)  # the lower bound that the integration guide promises
NEEDS_SECOND = _("two people decide on this switch: propose its change in the console")
OTHER_SPELLINGS = {"scBlackList": Key.BLACKLIST}
SLOWED = _("A shopper above the limit gets 429; further requests block the shopper, ever longer.")
SLOWED_TOGETHER = _(
    "The shoppers of one address share this limit. Above it they get 429; further requests block"
    " the address, ever longer."
)
SLOWED_PAGES = _(
    "The shoppers of one address share this limit. Above it they see a page that asks them to wait;"
    " no address is blocked."
)
UNSEEN = _("Shoppers notice nothing. Older rows are deleted and cannot be restored.")


@dataclass(frozen=True, slots=True)
class Setting:
    default: str
    pattern: str  # of a readable value
    read: Callable[[str], Any]
    expects: Promise
    means: Promise  # to shoppers


class Rate(NamedTuple):
    """A burst of `requests`, refilled evenly over `seconds`."""

    requests: int
    seconds: int

    @property
    def interval(self) -> float:
        """Seconds until one request is refilled."""
        return self.seconds / self.requests


def _rate(default: str, means: Promise) -> Setting:
    return Setting(
        default,
        "off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}",
        lambda text: None if text == "off" else Rate(*map(int, text.split("/"))),
        _("requests/seconds: 30/10 is a burst of 30, refilled over 10 seconds; or off"),
        means,
    )


def _days(
    default: str, means: Promise, pattern: str = "[1-9][0-9]{0,3}", expects: Promise | None = None
) -> Setting:
    return Setting(
        default,
        f"off|{pattern}",
        lambda text: None if text == "off" else int(text),
        expects or _("days, 1 to 9999; or off: kept for ever"),
        means,
    )


SWITCHES: Mapping[Key, Setting] = {
    Key.DOWNGRADE: Setting(
        "0",
        "[01]",
        lambda text: text == "1",
        _("0 (open) or 1 (all trials refused)"),
        _(
            "At 1, shoppers see the normal price and cannot open or join a team. Seats already"
            " held can still be paid or given back."
        ),
    ),
    Key.CUT_RANGE: Setting(
        "100",
        "[0-9]{1,2}|100",
        int,
        _("percentage of users admitted, 0 to 100"),
        _(
            "Shoppers outside the percentage see the normal price and cannot open or join a team."
            " Seats already held can still be paid or given back."
        ),
    ),
    Key.BLACKLIST: Setting(
        "s02c02",
        r"[^,\s]*(,[^,\s]+)*",
        lambda text: frozenset(text.split(",")),
        _("source+channel, comma separated: s02c02,s03c01"),
        _(
            "A shopper of these channels who pays loses the seat and gets the money back. Removing"
            " a channel later does not restore such orders."
        ),
    ),
    Key.CACHE: Setting(
        "0",
        r"\S+",
        lambda text: text != "0",
        _("0: copies in use; anything else: always the database"),
        _("Shoppers see the same. At any value but 0, every answer takes longer."),
    ),
    Key.RATE_LIMITER: Setting(
        "open",
        "open|close",
        lambda text: text == "open",
        _("open (limits apply) or close"),
        _("At close, no request is limited: one client can slow the platform for all shoppers."),
    ),
    Key.INDEX_USER: _rate("30/10", SLOWED),
    Key.INDEX_ADDRESS: _rate("300/10", SLOWED_TOGETHER),
    Key.PAGE_ADDRESS: _rate("3000/10", SLOWED_PAGES),
    Key.TRADE_USER: _rate("60/10", SLOWED),
    Key.TRADE_CHANNEL: _rate(
        "2000/1",
        _("Above it, the mall's calls get 429: its shoppers wait or pay the normal price."),
    ),
    Key.HOLDS: Setting(
        "5",
        "off|[1-9][0-9]{0,3}",
        lambda text: MOST_HOLDS if text == "off" else int(text),
        _("seats of one shopper on one channel, 1 to 9999; or off"),
        _(
            "A shopper with this many unpaid seats has to pay for one or give one back before"
            " taking another. Seats already held stay."
        ),
    ),
    Key.KEEP_SESSIONS: _days("30", UNSEEN),
    Key.KEEP_NOTIFICATIONS: _days(
        "400", UNSEEN, "9[0-9]|[1-9][0-9]{2,3}", _("days, 90 to 9999; or off: kept for ever")
    ),
    Key.KEEP_RUNS: _days("30", UNSEEN),
    Key.KEEP_LOG: _days("400", UNSEEN),
    Key.KEEP_CHANGES: _days("400", UNSEEN),
}


def validate(key: str, value: str) -> None:
    """Raise ValidationError naming the field when the value cannot be read."""
    if key not in Key.values:
        raise ValidationError({"key": _("There is no such switch.")})
    setting = SWITCHES[Key(key)]
    if len(value) > 1000 or not re.fullmatch(setting.pattern, value):
        raise ValidationError({"value": _("Expected: %(form)s.") % {"form": setting.expects}})


def tidy(value: str) -> str:
    """Remove spaces and replace Chinese commas."""
    return value.replace(" ", "").replace("，", ",")


def needs_second(key: str) -> bool:
    """Does a change of this switch wait for a second person?"""
    return ("blacklist" if key == Key.BLACKLIST else "switches") in settings.SECOND_PERSON


def change(key: str, value: str, *, by: str, reason: str, confirmed_by: str = "") -> None:
    """Change a switch and log who changed it and why.

    Raises ValidationError, and GroupBuyError if a second person is needed and missing; then nothing
    has changed.
    """
    key = OTHER_SPELLINGS.get(key, key)
    value = tidy(value)
    validate(key, value)
    if needs_second(key) and not confirmed_by:
        raise GroupBuyError(ErrorCode.FORBIDDEN, NEEDS_SECOND)
    with transaction.atomic():
        switch, _created = Switch.objects.select_for_update().get_or_create(
            key=key, defaults={"value": SWITCHES[Key(key)].default}
        )
        SwitchChange.objects.create(
            switch=switch,
            before=switch.value,
            after=value,
            by=by,
            reason=reason,
            confirmed_by=confirmed_by,
        )
        switch.value, switch.changed_by = value, by
        switch.save()


def figures() -> Iterator[Metric]:
    """Metrics of the switches: a rate in requests a second, a list by its length, off as +Inf."""
    found = GaugeMetricFamily("gbm_switch", "Value of a switch.", labels=["key"])
    for key, value in _values.get().items():
        found.add_metric([str(key)], _number(value))
    yield found


def is_downgraded() -> bool:
    return bool(_value(Key.DOWNGRADE))


def in_cut_range(user_id: str) -> bool:
    return in_first(_value(Key.CUT_RANGE), user_id)


def in_first(per_cent: int, name: str) -> bool:
    """Whether this percentage admits the name. A name admitted at 30 is also admitted at 40."""
    return bucket(name) <= per_cent


def bucket(name: str) -> int:
    """The name's bucket, 1 to 100: admitted once the percentage reaches it."""
    return zlib.crc32(name.encode()) % 100 + 1


def text(key: Key) -> str:
    """The value of a switch as the operator entered it."""
    found = Switch.objects.filter(key=key).values_list("value", flat=True).first()
    return SWITCHES[key].default if found is None else found


def is_blacklisted(source: str, channel: str) -> bool:
    return f"{source}{channel}" in _value(Key.BLACKLIST)


def caches_off() -> bool:
    return bool(_value(Key.CACHE))


def rate(key: Key) -> Rate | None:
    """The rate limit under this key; None: unlimited."""
    values = _values.get()
    limit: Rate | None = values[key] if values[Key.RATE_LIMITER] else None
    return limit


def hold_limit() -> int:
    """How many unpaid seats a shopper may hold on a channel."""
    return int(_value(Key.HOLDS))


def days_kept(key: Key) -> int | None:
    """How many days this kind of rows is kept; None: for ever."""
    days: int | None = _value(key)
    return days


def _number(value: Any) -> float:
    match value:
        case None:
            return inf
        case Rate():
            return 1 / value.interval
        case frozenset():
            return len(value - {""})
        case _:
            return float(value)


def _value(key: Key) -> Any:
    return _values.get()[key]


def _load() -> dict[str, Any]:
    """Every switch, parsed; an unreadable value counts as the default."""
    texts = {key: setting.default for key, setting in SWITCHES.items()}
    for key, text in Switch.objects.values_list("key", "value"):
        try:
            validate(key, text)
        except ValidationError as exc:
            logger.error("switch %s=%r is ignored: %s", key, text, exc.messages)  # noqa: TRY400
        else:
            texts[Key(key)] = text
    return {key: SWITCHES[key].read(text) for key, text in texts.items()}


_values = Snapshot(_load, announced=True)
metrics.FIGURES.append(figures)
