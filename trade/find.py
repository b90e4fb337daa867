"""The console's search box: orders, teams, shoppers, goods, activities, notifications.

An index serves each look-up in the tables that grow; rows found by their number come first.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from activity.models import Activity, Sku
from groupbuy.fields import read_id
from trade import labels, lists
from trade.models import NotifyTask, Order, Team

MOST = 20  # rows of a kind


class Found(NamedTuple):
    kind: str
    name: str
    about: str
    url: str


def find(term: str, user: Any) -> list[Found]:
    """The rows that the term identifies and that this user may see."""
    term = term.strip()
    if not term:
        return []
    return [row for search in (_by_number, _by_shopper, _by_name) for row in search(term, user)]


def _by_number(term: str, user: Any) -> Iterator[Found]:
    number = read_id(term)
    for each in (lists.of_mall_order(term), Q(pk=number), Q(code=term)):
        for order in _seen(user, Order.objects.filter(each)):
            day = timezone.localdate(order.created_at)
            yield _found(order, f"{labels.of_order(order)[1]} · {order.user_id} · {day}")
    for team in _seen(user, Team.objects.filter(pk=number)):
        yield _found(team, str(team.get_status_display()))
    keys = lists.promise_keys(term)
    for promise in _seen(user, NotifyTask.objects.filter(key__in=keys)):
        yield _found(promise, f"{labels.event_of(promise)} · {labels.of_promise(promise)[1]}")


def _by_shopper(term: str, user: Any) -> Iterator[Found]:
    if _seen(user, Order.objects.filter(user_id=term)):
        url = f"{reverse('admin:trade_order_changelist')}?{urlencode({'q': term})}"
        yield Found(_("shopper"), term, _("all orders of this shopper"), url)


def _by_name(term: str, user: Any) -> Iterator[Found]:
    """Goods and activities are few: a part of the name is enough."""
    for sku in _seen(user, Sku.objects.filter(Q(goods_id=term) | Q(name__icontains=term))):
        yield _found(sku, str(sku.original_price))
    named = Q(pk=read_id(term)) | Q(name__icontains=term)
    for activity in _seen(user, Activity.objects.filter(named).order_by("-pk")):
        yield _found(activity, str(activity.get_status_display()))


def _seen(user: Any, rows: QuerySet) -> list[Any]:
    model = rows.model._meta
    may = user.has_perm(f"{model.app_label}.view_{model.model_name}")
    return list(rows[:MOST]) if may else []


def _found(row: Model, about: str) -> Found:
    model = row._meta
    url = reverse(f"admin:{model.app_label}_{model.model_name}_change", args=[row.pk])
    return Found(str(model.verbose_name), str(row), about, url)
