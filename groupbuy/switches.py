"""Live switches (动态配置, DCC): what operators turn while the platform runs.

SWITCHES says which exist, their defaults and what a readable value is; the functions below
are the only readers.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from groupbuy.models import Switch
from groupbuy.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Setting:
    default: str
    is_valid: Callable[[str], bool]
    expects: Promise


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


SWITCHES = {
    Switch.Key.DOWNGRADE: Setting("0", _matches("[01]"), _("0 (open) or 1 (all trials refused)")),
    Switch.Key.CUT_RANGE: Setting(
        "100", _matches("[0-9]{1,2}|100"), _("per cent of users let in, 0 to 100")
    ),
    Switch.Key.BLACKLIST: Setting(
        "s02c02",
        _matches(r"[^,\s]*(,[^,\s]+)*"),
        _("source+channel, comma separated: s02c02,s03c01"),
    ),
    Switch.Key.CACHE: Setting(
        "0", _matches("[0-9]+"), _("0: copies in use; anything else: always the database")
    ),
}


def validate(key: str, value: str) -> None:
    """Raise ValidationError naming the field when the value cannot be read."""
    setting = SWITCHES.get(Switch.Key(key)) if key in Switch.Key.values else None
    if setting is None:
        raise ValidationError({"key": _("There is no such switch.")})
    if not setting.is_valid(value):
        raise ValidationError({"value": _("Expected: %(form)s.") % {"form": setting.expects}})


def is_downgraded() -> bool:
    return _value(Switch.Key.DOWNGRADE) == "1"


def in_cut_range(user_id: str) -> bool:
    """The same answer in every process, and whoever is in at 30 is in at 40."""
    return zlib.crc32(user_id.encode()) % 100 < int(_value(Switch.Key.CUT_RANGE))


def is_blacklisted(source: str, channel: str) -> bool:
    return f"{source}{channel}" in _value(Switch.Key.BLACKLIST).split(",")


def caches_off() -> bool:
    return _value(Switch.Key.CACHE) != "0"


def _value(key: Switch.Key) -> str:
    return _values.get().get(key, SWITCHES[key].default)


def _load() -> dict[str, str]:
    return dict(Switch.objects.values_list("key", "value"))


_values = Snapshot(_load)
