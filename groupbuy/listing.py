"""The rows of a console list with its filters and its search, read in pieces by primary key.

Each piece is one short statement on a range of the primary key and locks nothing, so that reading
a million rows holds up no trade. A row is as it was when its piece was read.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.messages.storage.base import BaseStorage
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.text import capfirst

from groupbuy.tables import Row, plain

PIECE = 1000  # keys


class Listing:
    """The list of a model as this user sees it; query is the query string of the list's URL."""

    def __init__(self, model: type[Model], query: str, user: AbstractBaseUser) -> None:
        """Raises PermissionDenied, and IncorrectLookupParameters for an unknown filter."""
        request = HttpRequest()
        request.method, request.GET = "GET", QueryDict(query)
        request.user = user  # type: ignore[assignment]
        # The list reports a search that it ignores; nobody reads that here.
        request._messages = BaseStorage(request)  # type: ignore[attr-defined]
        self.model, self.page = model, admin.site._registry.get(model)
        if self.page is None or not self.page.has_view_permission(request):
            raise PermissionDenied
        self._list = self.page.get_changelist_instance(request)

    @property
    def rows(self) -> QuerySet[Any]:
        found: QuerySet[Any] = self._list.queryset
        return found.order_by("pk")

    @cached_property
    def columns(self) -> list[str]:
        return [str(name) for name in self._list.list_display if name != "action_checkbox"]

    @property
    def header(self) -> Row:
        return [
            capfirst(str(label_for_field(name, self.model, self.page))) for name in self.columns
        ]

    def has_more_than(self, most: int) -> bool:
        return len(self.rows.order_by().values_list("pk")[: most + 1]) > most

    def cells(self, rows: QuerySet[Any]) -> Iterator[Row]:
        for row in rows:
            yield [self._cell(row, name) for name in self.columns]

    def last_key(self) -> str:
        """The largest key now; "" for an empty table."""
        keys = self.model._default_manager.order_by("-pk").values_list("pk", flat=True)
        return str(next(iter(keys[:1]), ""))

    def piece(self, after: str, last: str) -> tuple[list[Row], str]:
        """The rows of the next PIECE keys, and the last of these keys; "" after the last piece."""
        keys = self.model._default_manager.order_by("pk").values_list("pk", flat=True)
        keys = keys.filter(pk__lte=last)
        rows = self.rows
        if after:
            keys, rows = keys.filter(pk__gt=after), rows.filter(pk__gt=after)
        upto = next(iter(keys[PIECE - 1 : PIECE]), None)
        rows = rows.filter(pk__lte=last if upto is None else upto)
        return list(self.cells(rows)), "" if upto is None else str(upto)

    def _cell(self, row: Any, name: str) -> Any:
        try:
            field, _attribute, value = lookup_field(name, row, self.page)
        except ObjectDoesNotExist:
            return ""
        if field is not None and field.flatchoices:
            return plain(dict(field.flatchoices).get(value, value))
        if isinstance(value, tuple):  # a label: its tone or value, and its words
            value = value[-1]
        return plain(value)
