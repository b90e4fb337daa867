"""Console pages of teams, orders and notifications, the inbox, the invariants, the replay.

All rows are read-only: rules change them.
"""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from groupbuy.admin import MomentInput
from groupbuy.biglists import BigListAdmin, StateFilter
from groupbuy.fields import read_id
from trade import (
    crowd_admin,  # noqa: F401  registers itself
    lists,
)
from trade.inbox import problems
from trade.invariants import check_all
from trade.models import NotifyAttempt, NotifyTask, Order, Team
from trade.notify import outbox
from trade.notify.replay import chosen_by_range

MANY = 500  # notifications that may be chosen one by one


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of the console's first page: the inbox."""
    if request.user.has_perm("trade.view_notifytask"):
        context["problems"] = problems(timezone.now())
    return context


class ReadOnly:
    """Read-only."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OrderInline(ReadOnly, TabularInline):
    model = Order
    extra = 0
    per_page = 100
    ordering = ["pk"]
    fields = [
        "out_trade_no",
        "user_id",
        "status",
        "pay_price",
        "created_at",
        "paid_at",
        "closed_at",
    ]
    show_change_link = True


@admin.register(Team)
class TeamAdmin(ReadOnly, BigListAdmin):
    list_display = [
        "id",
        "activity",
        "goods_id",
        "status",
        "seats",
        "completed_by_shop",
        "created_at",
        "expires_at",
    ]
    states = lists.TEAMS
    list_filter = [StateFilter, lists.TeamCreated, "channel", "activity"]
    filter_groups = [["state", "activity"], ["channel"]]
    list_select_related = ["activity"]
    search_fields = ["id", "orders__user_id", "orders__out_trade_no"]
    search_help_text = _("A team id, a user id or a mall's order number, complete")
    ordering = ["-id"]
    inlines = [OrderInline]
    actions_list = ["invariants"]

    def exactly(self, term: str) -> Sequence[Q]:
        by = (Q(user_id=term), lists.of_mall_order(term))
        orders = (Order.objects.filter(each) for each in by)
        return [Q(pk=read_id(term)), *(Q(pk__in=found.values("team")) for found in orders)]

    @admin.display(description=_("paid / taken / of"))
    def seats(self, team: Team) -> str:
        return f"{team.paid_count} / {team.locked_count} / {team.target_count}"

    def has_check_permission(self, request: HttpRequest) -> bool:
        """A permission of its own, because the checks read whole tables."""
        return request.user.has_perm("trade.change_team")

    @action(description=_("Check invariants"), url_path="invariants", permissions=["check"])
    def invariants(self, request: HttpRequest) -> HttpResponse:
        """Runs the checks on POST only, because they read whole tables."""
        checked = list(check_all(timezone.now())) if request.method == "POST" else None
        context = self.admin_site.each_context(request) | {
            "title": _("Invariants"),
            "checked": checked,
            "broken": sum(bool(rows) for _sentence, rows in checked or ()),
        }
        return render(request, "admin/invariants.html", context)


@admin.register(Order)
class OrderAdmin(ReadOnly, BigListAdmin):
    list_display = [
        "out_trade_no",
        "user_id",
        "goods_id",
        "status",
        "close_reason",
        "pay_price",
        "channel",
        "team",
        "created_at",
    ]
    states = lists.ORDERS
    list_filter = [StateFilter, lists.OrderCreated, "channel", "activity"]
    filter_groups = [["state"], ["channel"], ["activity"]]
    list_select_related = ["channel", "team"]
    search_fields = ["out_trade_no", "user_id", "id", "team__id", "code"]
    search_help_text = _(
        "A mall's order number, a user id, an order id, a team id or an invitation code, complete"
    )
    ordering = ["-id"]

    def exactly(self, term: str) -> Sequence[Q]:
        return [
            Q(pk=read_id(term)),
            Q(team=read_id(term)),
            Q(user_id=term),
            Q(code=term),
            lists.of_mall_order(term),
        ]


class AttemptInline(ReadOnly, TabularInline):
    model = NotifyAttempt
    extra = 0
    per_page = 25
    fields = ["number", "started_at", "duration_ms", "status_code", "error"]
    ordering = ["-id"]


class ReplayForm(forms.Form):
    """A range of notifications, by endpoint or time."""

    endpoint = forms.CharField(
        label=_("endpoint"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "mall.example.com:https"}),
    )
    since = forms.DateTimeField(
        label=_("promised at or after"), required=False, widget=MomentInput()
    )
    until = forms.DateTimeField(label=_("promised before"), required=False, widget=MomentInput())
    delivered = forms.BooleanField(
        label=_("also delivered ones"), required=False, widget=UnfoldBooleanWidget()
    )

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if not any(chosen.get(name) for name in ("endpoint", "since", "until")):
            raise forms.ValidationError(_("Name an endpoint or a time."))
        return chosen


@admin.register(NotifyTask)
class NotifyTaskAdmin(ReadOnly, BigListAdmin):
    list_display = [
        "key",
        "event",
        "channel",
        "target",
        "state",
        "attempts",
        "next_attempt_at",
        "last_error",
    ]
    states = lists.PROMISES
    list_filter = [StateFilter]
    list_select_related = ["channel"]
    search_fields = ["key"]
    search_help_text = _("A team id, an order id or a key, complete")
    ordering = ["-id"]
    inlines = [AttemptInline]
    actions = ["send_again"]
    actions_list = ["replay"]

    def exactly(self, term: str) -> Sequence[Q]:
        return [Q(key__in=lists.promise_keys(term))]

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("trade.change_notifytask")

    @admin.action(description=_("Send again"), permissions=["send"])
    def send_again(self, request: HttpRequest, tasks: QuerySet[NotifyTask]) -> None:
        if tasks.count() > MANY:
            message = _("These are too many to choose one by one: send a range again.")
            self.message_user(request, message, messages.ERROR)
            return
        chosen = list(tasks)  # before requeue() takes them out of a list filtered by state
        count = outbox.requeue(tasks, now=timezone.now())
        for task in chosen:
            self.log_change(request, task, "send again")
        self._say_sent_again(request, count)

    @action(description=_("Send a range again"), url_path="replay", permissions=["send"])
    def replay(self, request: HttpRequest) -> HttpResponse:
        """Count the range first; a second POST sends the counted notifications again."""
        form = ReplayForm(request.POST or None, initial=request.GET.dict())
        counted: dict[str, Any] | None = None
        count = 0
        if request.method == "POST" and form.is_valid():
            counted = form.cleaned_data | {"until": form.cleaned_data["until"] or timezone.now()}
            chosen = chosen_by_range(**counted)
            if "send" in request.POST:
                self._log_replay(request, counted)
                self._say_sent_again(request, outbox.requeue(chosen, now=timezone.now()))
                return HttpResponseRedirect(reverse("admin:trade_notifytask_changelist"))
            count = chosen.count()
        context = self.admin_site.each_context(request) | {
            "title": _("Send a range again"),
            "form": form,
            "counted": counted,
            "count": count,
        }
        return render(request, "admin/replay.html", context)

    def _log_replay(self, request: HttpRequest, chosen: dict[str, Any]) -> None:
        """Log who sent which range again."""
        user: Any = request.user
        named = ", ".join(f"{name}: {value}" for name, value in chosen.items() if value)
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(NotifyTask),
            object_repr=named[:200],
            action_flag=CHANGE,
            change_message="send a range again",
        )

    def _say_sent_again(self, request: HttpRequest, count: int) -> None:
        self.message_user(
            request,
            ngettext(
                "%(count)d notification will be sent again.",
                "%(count)d notifications will be sent again.",
                count,
            )
            % {"count": count},
        )
