"""A form of the console is refused, and shown again, if its row has changed since it was opened.

Saving it would take that change back. A form carries a digest of what its row held. The row is
share-locked (rows.share()) before the digests are compared, so that nobody changes it until the
form is saved, while trade can still insert rows that refer to it. If two such forms are saved at
once, one collides, runs again and is refused.
"""

from collections.abc import Collection
from hashlib import sha256
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

from groupbuy import rows
from groupbuy.errors import GroupBuyError
from groupbuy.history import stored


class RefusesStaleForms(ModelAdmin):
    """For pages whose forms change rows."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save the form again from the start if its transaction has collided with another."""
        view = super().changeform_view
        said: Any = messages.get_messages(request)
        before = len(said._queued_messages)
        files: Any = request.FILES

        def run() -> HttpResponse:
            for file in files.values():
                file.seek(0)  # an earlier run may have read it
            del said._queued_messages[before:]  # of a run that was rolled back
            return cast("HttpResponse", view(request, *args, **kwargs))

        if request.method != "POST":
            return run()
        try:
            return rows.retry(run)
        except GroupBuyError as exc:  # after too many collisions
            del said._queued_messages[before:]
            messages.error(request, str(exc.error.message))
            return redirect(request.get_full_path())

    def also_seen(self, row: Any) -> Any:
        """What the page of this row can change besides it; its repr() tells every change."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The row; shared while a form of it is saved."""
        row = super().get_object(request, object_id, from_field)
        if row and "seen" in request.POST and transaction.get_connection().in_atomic_block:
            return rows.share(self.model, pk=row.pk)
        return row

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if obj and "seen" in request.POST:
            now = self._digest(obj, form.base_fields)
            return form if request.POST["seen"] == now else _refusing(form, now)
        return form

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row, form = kwargs.get("obj"), context["adminform"].form
        if request.method == "POST":  # with errors: the row has values that were not saved
            context["seen"] = getattr(form, "now", request.POST.get("seen", ""))
        elif row and self.has_change_permission(request, row):
            context["seen"] = self._digest(row, form.base_fields)
        page = super().render_change_form(request, context, *args, **kwargs)
        return cast("HttpResponse", page)

    def _digest(self, row: Model, names: Collection[str]) -> str:
        """A digest of the values that a form with these fields can change."""
        values = [
            (name, [each.pk for each in value] if isinstance(value, list) else value)
            for name, value in sorted(forms.model_to_dict(row, list(names)).items())
        ]
        return sha256(repr((values, self.also_seen(row))).encode()).hexdigest()[:16]


def _refusing(form: type[forms.ModelForm], digest: str) -> type[forms.ModelForm]:
    """The form; it names each field that differs from the row, and what is stored there by now."""

    class Refusing(form):  # type: ignore[misc, valid-type]
        now = digest  # with it the form is accepted when it is sent again

        def clean(self) -> Any:
            cleaned = super().clean()
            meta = self._meta.model._meta
            kept = {field.name for field in (*meta.concrete_fields, *meta.many_to_many)}
            for name in kept.intersection(self.changed_data):
                self.add_error(name, _("Stored by now: %(value)s") % {"value": stored(self, name)})
            text = _("It has changed in the meantime, so nothing was saved. Compare, save again.")
            self.add_error(None, text)
            return cleaned

    return Refusing
