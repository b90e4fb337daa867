"""Console pages of teams and orders, the inbox, the checks of the data.

All rows are read-only: only use cases and acts change them.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display

from groupbuy.biglists import BigListAdmin, ReadOnly, StateFilter
from groupbuy.durations import duration
from groupbuy.fields import read_id
from trade import (
    activity_admin,  # noqa: F401  registers itself
    crowd_admin,  # noqa: F401  registers itself
    forecast_admin,  # noqa: F401  registers itself
    labels,
    lists,
    notify_admin,  # noqa: F401  registers itself
    timeline,
)
from trade.act_admin import OrderActs, TeamActs
from trade.figures import home
from trade.find import find
from trade.inbox import problems
from trade.invariants import check_alone
from trade.joining_admin import question
from trade.models import Order, Team


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of the console's first page: the inbox, then the business."""
    now = timezone.now()
    if request.user.has_perm("trade.view_notifytask"):
        context["problems"] = [
            (problem.text, problem.link_for(request.user)) for problem in problems(now)
        ]
    return context | home.context(request, now)


class OrderInline(ReadOnly, TabularInline):
    model = Order
    extra = 0
    per_page = 100
    ordering = ["pk"]
    hide_title = True
    fields = [
        "out_trade_no",
        "user_id",
        "shown_status",
        "close_reason",
        "pay_price",
        "created_at",
        "paid_at",
        "closed_at",
    ]
    readonly_fields = ["shown_status"]
    show_change_link = True

    @display(description=_("status"), label=labels.TONES)
    def shown_status(self, order: Order) -> labels.Labelled:
        return labels.of_order(order)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # on a page that one may view


@admin.register(Team)
class TeamAdmin(TeamActs, ReadOnly, BigListAdmin):
    list_display = [
        "id",
        "activity",
        "goods_id",
        "shown_status",
        "seats",
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
    change_form_before_template = "admin/timeline.html"
    fieldsets = [
        (None, {"fields": ["id", "shown_status", "seats", "activity", "goods_id", "channel"]}),
        (
            _("Rules"),
            {"fields": ["group_type", "original_price", "pay_price", "time_to_pay"]},
        ),
        (_("Times"), {"fields": ["created_at", "expires_at", "completed_at"]}),
        (_("Callbacks"), {"fields": ["notify_transport", "notify_url"]}),
    ]

    def exactly(self, term: str) -> Sequence[Q]:
        by = (Q(user_id=term), lists.of_mall_order(term))
        orders = (Order.objects.filter(each) for each in by)
        return [Q(pk=read_id(term)), *(Q(pk__in=found.values("team")) for found in orders)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return labels.with_payers(super().get_queryset(request))

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        team, now = context["original"], timezone.now()
        context |= {"timeline": timeline.of_team(team), "next": timeline.next_of_team(team, now)}
        context["why_not"] = question(team, None, now)
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    @display(description=_("status"), label=labels.TONES)
    def shown_status(self, team: Team) -> labels.Labelled:
        return labels.of_team(team, timezone.now())

    @admin.display(description=_("time to pay"))
    def time_to_pay(self, team: Team) -> str:
        return duration(team.hold_minutes)

    @admin.display(description=_("seats"))
    def seats(self, team: Team) -> str:
        return labels.seats(team)

    def has_check_permission(self, request: HttpRequest) -> bool:
        """A permission of its own, because the checks read whole tables."""
        return request.user.has_perm("trade.check_team")

    @action(description=_("Check the data"), url_path="invariants", permissions=["check"])
    def invariants(self, request: HttpRequest) -> HttpResponse:
        """Run the checks, on POST only, because they read whole tables."""
        asked = request.method == "POST"
        checked = check_alone(timezone.now()) if asked else None
        context = self.admin_site.each_context(request) | {
            "title": _("Data checks"),
            "checked": checked,
            "is_busy": asked and checked is None,
            "broken": sum(bool(rows) for _sentence, rows in checked or ()),
        }
        return render(request, "admin/invariants.html", context)


@admin.register(Order)
class OrderAdmin(OrderActs, ReadOnly, BigListAdmin):
    list_display = [
        "out_trade_no",
        "user_id",
        "goods_id",
        "shown_status",
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
    change_form_before_template = "admin/timeline.html"
    fieldsets = [
        (
            None,
            {
                "fields": [
                    *("out_trade_no", "id", "shown_status", "close_reason", "user_id", "team"),
                    *("activity", "goods_id", "channel", "original_price", "pay_price", "code"),
                ]
            },
        ),
        (
            _("Times"),
            {"fields": ["created_at", "pay_deadline", "paid_at", "settled_at", "closed_at"]},
        ),
        (_("Refund, as the mall has confirmed it"), {"fields": ["refund_amount", "refund_at"]}),
    ]

    @display(description=_("status"), label=labels.TONES)
    def shown_status(self, order: Order) -> labels.Labelled:
        return labels.of_order(order)

    def exactly(self, term: str) -> Sequence[Q]:
        return [
            Q(pk=read_id(term)),
            Q(team=read_id(term)),
            Q(user_id=term),
            Q(code=term),
            lists.of_mall_order(term),
        ]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.find)
        return [path("find/", view, name="trade_order_find"), *super().get_urls()]

    def find(self, request: HttpRequest) -> HttpResponse:
        """The results of the search box; a single result is opened at once."""
        term = request.GET.get("q", "").strip()
        found = find(term, request.user)
        if len(found) == 1:
            return HttpResponseRedirect(found[0].url)
        context = self.admin_site.each_context(request) | {
            "title": _("Search"),
            "term": term,
            "found": found,
        }
        return render(request, "admin/find.html", context)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        order, now = context["original"], timezone.now()
        orders = reverse("admin:trade_order_changelist")
        context |= {
            "timeline": timeline.of_order(order),
            "next": timeline.next_of_order(order, now),
            "others": f"{orders}?{urlencode({'q': order.user_id})}",
            "why_not": question(order.team, order, now),
        }
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page
