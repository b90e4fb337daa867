"""The console refuses to delete rows that other rows refer to.

Django's own page first collects every referring row, which takes a minute for a busy channel, and
then reports missing permissions. Here each relation costs one query that reads one row.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin import actions
from django.contrib.admin.utils import unquote
from django.db import IntegrityError
from django.db.models import PROTECT, ForeignObjectRel, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from groupbuy.history import KeepsValues
from groupbuy.stale_forms import RefusesStaleForms


class UsedRowsStay(RefusesStaleForms, KeepsValues):
    """Refuses to delete rows that others refer to, and says what to do instead."""

    instead: Promise
    also_kept_by: Sequence[str] = ()  # names of relations, besides those with PROTECT
    actions: Any = ["delete_selected"]

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        may = row is not None and self.has_delete_permission(request, row)
        if not may or not self._refuse(request, [row]):
            try:
                return cast("HttpResponse", super().delete_view(request, object_id, extra_context))
            except IntegrityError:  # a row has referred to it since the check
                self._refuse(request, [row])
        url = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(url, args=[object_id]))

    @admin.action(
        permissions=["delete"],
        description=gettext_lazy("Delete selected %(verbose_name_plural)s"),
    )
    def delete_selected(self, request: HttpRequest, rows: QuerySet) -> HttpResponse | None:
        if self._refuse(request, rows):
            return None
        try:
            return actions.delete_selected(self, request, rows)
        except IntegrityError:
            self._refuse(request, rows)
            return None

    def _refuse(self, request: HttpRequest, rows: Sequence[Model] | QuerySet) -> bool:
        """Show the operator what refers to these rows; False if nothing does."""
        by_key = {row.pk: row for row in rows}
        used = dict(self._used(list(by_key)))
        if used:
            message = _("“%(row)s” cannot be deleted, it is in use: %(users)s. %(instead)s") % {
                "row": by_key[next(iter(used.values()))],
                "users": _(", ").join(str(users) for users in used),
                "instead": self.instead,
            }
            self.message_user(request, message, messages.ERROR)
        return bool(used)

    def _used(self, keys: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """Each kind of rows that refers to one of these keys, with the first such key."""
        for relation in self._keeping():
            model, name = relation.related_model, relation.field.name
            referring = model._default_manager.order_by().filter(**{f"{name}__in": keys})
            for key in referring.values_list(name, flat=True)[:1]:
                yield str(model._meta.verbose_name_plural), key

    def _keeping(self) -> Iterator[ForeignObjectRel]:
        for relation in self.model._meta.related_objects:
            if relation.on_delete is PROTECT or relation.name in self.also_kept_by:
                yield relation
