"""Adds a lock's checks to “Why could somebody not join?”, and links to it from orders and teams."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from activity.admin import TrialForm
from activity.models import Sku
from activity.trial import Trial, TrialQuery
from groupbuy.errors import ErrorCode
from groupbuy.fields import read_id
from trade.joining import checks, price_of_member
from trade.models import Order, Team


class JoinForm(TrialForm):
    team = forms.CharField(
        label=_("team to join; empty: open a new one"),
        max_length=20,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
    )
    order = forms.IntegerField(required=False, widget=forms.HiddenInput())

    def to_query(self) -> TrialQuery:
        """The team names its activity, as a lock does."""
        query = super().to_query()
        team = Team.objects.filter(pk=read_id(self.cleaned_data["team"].strip())).first()
        return replace(query, activity_id=query.activity_id or (team.activity_id if team else None))


class ExplainsJoins:
    """For the page of activities."""

    trial_form: type[TrialForm] = JoinForm

    def explain_more(self, form: Any, trial: Trial, at: datetime) -> dict[str, Any]:
        """The checks that only a lock makes. For a join, the activity's window does not matter."""
        team = form.cleaned_data["team"].strip()
        found = checks(form.to_query(), team, trial.offer, at=at)
        outlives = {ErrorCode.OUTSIDE_WINDOW} if team else set()
        trial_refuses = [each for each in trial.refusals if each not in outlives]
        more = {
            "more": [check.step for check in found],
            "refused": trial_refuses + [each.error for each in found if each.step.refused],
        }
        return more | ({"price": price_of_member(team, trial)} if team else {})

    def explain_back(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Links back to the order and the team whose pages led here, for those who may see them."""
        rows = [
            model.objects.filter(pk=read_id(request.GET.get(name, "")))
            for name, model in (("order", Order), ("team", Team))
            if request.user.has_perm(f"trade.view_{name}")
        ]
        found = [each.first() for each in rows]
        return [(f"{row._meta.verbose_name} {row}", _page(row)) for row in found if row]


def question(team: Team, order: Order | None, now: datetime) -> str:
    """The URL of that page, filled in for the team and, with an order, for its shopper."""
    sku = Sku.objects.filter(goods_id=team.goods_id).values_list("pk", flat=True).first()
    at = f"{timezone.localtime(now):%Y-%m-%dT%H:%M:%S}"
    values: dict[str, Any] = {"channel": team.channel_id, "sku": sku, "activity": team.activity_id}
    values |= {"team": team.pk, "at": at}
    if order:
        values |= {"user_id": order.user_id, "order": order.pk}
    return f"{reverse('admin:activity_activity_explain')}?{urlencode(values)}"


def _page(row: Order | Team) -> str:
    return reverse(f"admin:trade_{row._meta.model_name}_change", args=[row.pk])
