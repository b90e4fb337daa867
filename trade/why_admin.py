"""The reason (修改原因) that a form demands for a change of price or people per team.

It is demanded once shoppers can see the activity. Where SECOND_PERSON says so, the change then
waits until somebody else confirms it.
"""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from activity.models import PUBLISHED, Activity, Discount, Offer, Sku
from groupbuy.proposal_admin import ALONE, Proposes

ASKED = {  # field -> its word in SECOND_PERSON
    "discount": "price",
    "plan": "price",
    "expression": "price",
    "original_price": "price",
    "target_count": "target",
}


class AsksWhy(Proposes):
    """For the pages of activities, discounts and goods."""

    def proposed(self, form: Any) -> set[str]:
        return form.proposed() if hasattr(form, "proposed") else set()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not self.propose(request, form):
            super().save_model(request, obj, form, change)  # type: ignore[misc]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if self._asks(request, obj):
            kwargs["form"] = _asking(self.form)  # type: ignore[attr-defined]
        return super().get_form(request, obj, change, **kwargs)  # type: ignore[misc]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = list(super().get_fieldsets(request, obj))  # type: ignore[misc]
        return [*found, (None, {"fields": ["reason"]})] if self._asks(request, obj) else found

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """The changes, and the reason as an act of its own."""
        reason = form.cleaned_data.get("reason")
        form.changed_data = [name for name in form.changed_data if name != "reason"]
        said = super().construct_change_message(request, form, formsets, add)  # type: ignore[misc]
        because = {"model": form.instance._meta.label, "act": "because", "reason": reason}
        return [*said, {"acted": because}] if reason else said

    def _asks(self, request: HttpRequest, row: Model | None) -> bool:
        may = self.has_change_permission(request, row)  # type: ignore[attr-defined]
        return row is not None and may and _is_shown(row)


def _is_shown(row: Model) -> bool:
    """Whether the row is part of a published activity."""
    match row:
        case Activity():
            return row.status in PUBLISHED
        case Discount():
            return row.activity_set.filter(status__in=PUBLISHED).exists()
        case Sku():
            return Offer.objects.filter(sku=row, activity__status__in=PUBLISHED).exists()
    raise TypeError(row)


def _waiting(names: Iterable[str]) -> list[str]:
    """The fields among these whose change waits for a second person."""
    return [name for name in names if ASKED.get(name) in settings.SECOND_PERSON]


def _asking(form: type[forms.ModelForm]) -> type[forms.ModelForm]:
    class Asking(form):  # type: ignore[misc, valid-type]
        reason = forms.CharField(
            label=_("Reason of a change of price or people per team"),
            max_length=200,
            required=False,
            widget=UnfoldAdminTextInputWidget,
        )

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if labels := [str(self.fields[name].label) for name in _waiting(self.fields)]:
                text = _("A second person confirms a change of: %(fields)s.")
                self.fields["reason"].help_text = text % {"fields": gettext(", ").join(labels)}

        def proposed(self) -> set[str]:
            """Fields whose change waits for a second person."""
            return set(_waiting(self.changed_data))

        def clean(self) -> Any:
            cleaned = super().clean()
            if ASKED.keys() & set(self.changed_data) and not self.cleaned_data.get("reason"):
                text = _("Say why the price or the number of people per team changes.")
                self.add_error("reason", text)
            self.instance.is_proposed = bool(self.proposed())
            if self.instance.is_proposed and set(self.changed_data) - self.proposed() - {"reason"}:
                self.add_error(None, ALONE)
            return cleaned

    return Asking
