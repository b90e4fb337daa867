"""Console lists of tables that grow with every order: every page of them is served by an index.

Such a list counts at most MOST rows, searches for exact values only, has one sort order, and offers
only combinations of filters that one index serves. benchmarks/console.py measures each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, NamedTuple, cast

from django.contrib.admin import ShowFacets, SimpleListFilter
from django.core.paginator import Paginator
from django.db.models import Case, Model, Q, QuerySet, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import Promise, cached_property
from django.utils.translation import gettext_lazy as _
from unfold.views import ChangeList

from groupbuy.history import KeepsValues

MOST = 1_000  # rows of a list that can be paged through


class State(NamedTuple):
    """A choice of the filter by state: its rows, and the order in which an index has them."""

    label: Promise | str
    rows: Callable[[datetime], Q]
    order: Sequence[str]


class BoundedPaginator(Paginator):
    """Counts up to MOST rows and has no pages beyond them."""

    template_name = "admin/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet", self.object_list)
        counted = rows.order_by()[: MOST + 1].count()
        self.has_more = counted > MOST
        return min(counted, MOST)


class BigChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        """Without a count of all rows, unfold's header offers to show them all in every list."""
        super().get_results(request)
        if self.paginator.has_more or not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count

    def apply_select_related(self, queryset: QuerySet) -> QuerySet:
        """Prefetch: for a join MariaDB may start at the small table and sort the large one."""
        return queryset.prefetch_related(*self.list_select_related)

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """A link to a filter of one group removes the filters of the other groups."""
        chosen = {name.partition("__")[0] for name in new_params or ()}
        groups = self.model_admin.filter_groups
        others = [group for group in groups if chosen.isdisjoint(group)]
        if len(others) == len(groups):  # no filter that is in a group
            others = []
        removed = [*(remove or ()), *(name for group in others for name in group)]
        query: str = super().get_query_string(new_params, removed)
        return query


class ReadOnly:
    """For pages of rows that nobody adds, changes or deletes in the console."""

    verbs = ("view",)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class BigListAdmin(KeepsValues):
    filter_groups: Sequence[Sequence[str]] = ()  # no index serves filters of two groups together
    states: Mapping[str, State] = {}
    paginator = BoundedPaginator
    show_facets = ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True

    def exactly(self, term: str) -> Sequence[Q]:
        """The conditions that a search for the term tries, each served by an index."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """Find the keys first, so that no other index is taken for a filter beside the search."""
        if not (term := search_term.strip()):
            return queryset, False
        rows, conditions = self.model._default_manager, self.exactly(term)
        found = (rows.filter(each).values_list("pk", flat=True)[:MOST] for each in conditions)
        few = len(keys := set(chain.from_iterable(found))) < MOST
        return queryset.filter(Q(pk__in=keys) if few else reduce(or_, conditions)), False

    def get_ordering(self, request: HttpRequest) -> Sequence[str]:
        state = self.states.get(request.GET.get("state", ""))
        return state.order if state else super().get_ordering(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BigChangeList


class StateFilter(SimpleListFilter):
    title = _("status")
    parameter_name = "state"

    def __init__(self, request: HttpRequest, params: Any, model: Any, admin: BigListAdmin) -> None:
        self.states = admin.states
        super().__init__(request, params, model, admin)

    def lookups(self, request: HttpRequest, admin: Any) -> list[tuple[str, Any]]:
        return [(name, state.label) for name, state in self.states.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        state = self.states.get(self.value() or "")
        if state is None:
            return queryset
        rows = state.rows(timezone.now())
        if request.GET.get("q", "").strip():  # SQLite must not prefer the state's index to the keys
            rows = Q(Case(When(rows, then=True), default=False))
        return queryset.filter(rows)
