"""Lengths of time (时长) in whole minutes: in words, and as operators enter them."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

DAY, HOUR = 24 * 60, 60  # minutes
FORM = re.compile(
    r"(?:(\d{1,9})(?:d|days?|天|日))?"
    r"(?:(\d{1,9})(?:h|hours?|小时|时))?"
    r"(?:(\d{1,9})(?:m|min|minutes?|分钟|分)?)?"
)


def duration(minutes: int) -> str:
    """15 minutes, 24 hours, 25 hours 30 minutes, 3 days 2 hours; days from two on."""
    days, hours, rest = _parts(minutes)
    parts = [
        days and ngettext("%(n)d day", "%(n)d days", days) % {"n": days},
        hours and ngettext("%(n)d hour", "%(n)d hours", hours) % {"n": hours},
        rest and ngettext("%(n)d minute", "%(n)d minutes", rest) % {"n": rest},
    ]
    return " ".join(str(part) for part in parts if part)


def short(minutes: int) -> str:
    """15 min, 24 h, 25 h 30 min, 3 d 2 h."""
    days, hours, rest = _parts(minutes)
    parts = [
        days and _("%(n)s d") % {"n": days},
        hours and _("%(n)s h") % {"n": hours},
        rest and _("%(n)d min") % {"n": rest},
    ]
    return " ".join(str(part) for part in parts if part)


def _parts(minutes: int) -> tuple[int, int, int]:
    """Days, if there are two at least, hours and minutes."""
    days = minutes // DAY if minutes >= 2 * DAY else 0
    return days, *divmod(minutes - days * DAY, HOUR)


class MinutesField(forms.IntegerField):
    """Whole minutes, shown and entered as 24 h or 2 d 12 h; a plain number counts minutes."""

    def __init__(self, *, longest: int = 90 * DAY, **kwargs: Any) -> None:
        self.longest = longest
        kwargs["help_text"] = kwargs.get("help_text") or gettext_lazy(
            "For example 30 min, 24 h or 2 d 12 h."
        )
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return short(value) if isinstance(value, int) and value > 0 else value

    def to_python(self, value: Any) -> int | None:
        text = re.sub(r"\s", "", str(value or "")).lower()
        found = FORM.fullmatch(text)
        if not text:
            return None
        if found is None:
            raise ValidationError(_("Enter a time such as 30 min, 24 h or 2 d 12 h."))
        days, hours, minutes = (int(part or 0) for part in found.groups())
        length = days * DAY + hours * HOUR + minutes
        if not 1 <= length <= self.longest:
            text = _("Enter a time from 1 minute to %(longest)s.")
            raise ValidationError(text % {"longest": duration(self.longest)})
        return length
