"""Console pages of teams, orders and notifications. All read-only: rules change rows here.

Dates are filters and not date_hierarchy, which asks MySQL for time zone tables that many
servers do not have.
"""

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin, TabularInline

from trade import outbox
from trade.models import NotifyAttempt, NotifyTask, Order, Team


class ReadOnly:
    """May be looked at and nothing else."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OrderInline(ReadOnly, TabularInline):
    model = Order
    extra = 0
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
class TeamAdmin(ReadOnly, ModelAdmin):
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
    list_filter = ["status", "completed_by_shop", "created_at", "channel", "activity"]
    list_select_related = ["activity"]
    search_fields = ["=id", "=goods_id"]
    ordering = ["-id"]
    inlines = [OrderInline]

    @admin.display(description=_("paid / taken / of"))
    def seats(self, team: Team) -> str:
        return f"{team.paid_count} / {team.locked_count} / {team.target_count}"


@admin.register(Order)
class OrderAdmin(ReadOnly, ModelAdmin):
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
    list_filter = ["status", "close_reason", "created_at", "channel", "activity"]
    list_select_related = ["channel", "team"]
    search_fields = ["=id", "=out_trade_no", "=user_id", "=team__id"]
    ordering = ["-id"]


class AttemptInline(ReadOnly, TabularInline):
    model = NotifyAttempt
    extra = 0
    fields = ["number", "started_at", "duration_ms", "status_code", "error"]
    ordering = ["-id"]


@admin.register(NotifyTask)
class NotifyTaskAdmin(ReadOnly, ModelAdmin):
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
    list_filter = ["state", "event", "created_at", "channel", "endpoint"]
    list_select_related = ["channel"]
    search_fields = ["=key", "target", "payload"]
    ordering = ["-id"]
    inlines = [AttemptInline]
    actions = ["send_again"]

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("trade.change_notifytask")

    @admin.action(description=_("Send again"), permissions=["send"])
    def send_again(self, request: HttpRequest, tasks: QuerySet[NotifyTask]) -> None:
        chosen = list(tasks)  # before requeue() takes them out of a list filtered by state
        count = outbox.requeue(tasks, now=timezone.now())
        for task in chosen:
            self.log_change(request, task, "send again")
        self.message_user(
            request,
            ngettext(
                "%(count)d notification will be sent again.",
                "%(count)d notifications will be sent again.",
                count,
            )
            % {"count": count},
        )
