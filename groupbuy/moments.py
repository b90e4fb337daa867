"""Moments (时刻) that operators enter into the console, and read there."""

import re
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from unfold.widgets import UnfoldAdminTextInputWidget

YEARS = range(2000, 2100)  # in which a moment may lie


def to_minute(moment: datetime) -> str:
    """2026-01-31 16:15, in the console's time zone."""
    return date_format(localtime(moment), "Y-m-d H:i")


def to_second(moment: datetime) -> str:
    """2026-01-31 16:15:30, in the console's time zone."""
    return date_format(localtime(moment), "Y-m-d H:i:s")


class MomentInput(UnfoldAdminTextInputWidget):
    """The browser's picker; a plain field for a text that the picker would drop."""

    input_type = "datetime-local"

    def format_value(self, value: Any) -> str | None:
        if isinstance(value, datetime):
            return f"{value:%Y-%m-%dT%H:%M}"  # the only form that the picker reads
        text: str | None = super().format_value(value)
        return text

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        text = context["widget"]["value"]
        if text and not _is_pickable(text):
            context["widget"]["type"] = "text"
        return context


class MomentField(forms.DateTimeField):
    """A moment in YEARS, by the browser's own picker. Its errors name the field and quote the text.

    For the console's tools.
    """

    widget = MomentInput

    def to_python(self, value: Any) -> datetime | None:
        text = str(value or "").strip()
        said: dict[str, Any] = {"field": capfirst(str(self.label)), "text": text}
        said |= {"first": YEARS[0], "last": YEARS[-1]}
        outside = _("%(field)s: “%(text)s” is not in the years %(first)d to %(last)d.")
        year = re.match(r"(\d{4})-", text)
        if year and int(year[1]) not in YEARS:
            raise ValidationError(outside % said)
        try:
            moment: datetime | None = super().to_python(value)
        except ValidationError as exc:
            message = _("%(field)s: “%(text)s” is not a date and time such as 2026-05-01 12:30.")
            raise ValidationError(message % said) from exc
        if moment and moment.year not in YEARS:  # ISO 8601 has other forms, such as 00010101T0000
            raise ValidationError(outside % said)
        return moment


class SplitMomentField(forms.SplitDateTimeField):
    """A moment in YEARS, as date and time. For the forms of rows, see IN_YEARS."""

    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        if moment and moment.year not in YEARS:
            message = _("Enter a year from %(first)d to %(last)d.")
            raise ValidationError(message % {"first": YEARS[0], "last": YEARS[-1]})
        return moment


IN_YEARS: Any = {models.DateTimeField: {"form_class": SplitMomentField}}  # formfield_overrides


def _is_pickable(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", text):
        return False
    try:
        return parse_datetime(text) is not None
    except ValueError:  # such as a 31st of February
        return False
