"""The page of an activity: teams, orders and figures, and warnings about open teams.

It adds to the pages of activity/, which cannot import trade/, and registers them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import ngettext

from activity import admin as pages
from activity.models import Activity, Discount, Offer, Sku
from activity.standing import standing
from activity.warnings import price_of, warnings
from groupbuy.history import text_of
from groupbuy.models import Channel
from trade import labels
from trade.activity_act_admin import ActivityActs
from trade.figures import activities
from trade.joining_admin import ExplainsJoins
from trade.models import Team
from trade.plan_admin import CopiesAndExtends
from trade.why_admin import AsksWhy

SHOWN = 5  # of an activity's teams and of its history
RULES = {  # fields that a team keeps from the moment at which it was opened
    "discount", "group_type", "target_count", "valid_minutes", "hold_minutes",
    "plan", "expression", "original_price",
}  # fmt: skip


class WarnsOfOpenTeams:
    """Warns how many open teams keep the rules that a form has just replaced."""

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)  # type: ignore[misc]
        if change and RULES & set(form.changed_data):
            self._warn(request, open_teams(obj, timezone.now()).count())

    def _warn(self, request: HttpRequest, count: int) -> None:
        if count:
            text = ngettext(
                "%(count)d open team keeps the old rules; teams opened from now on have the new"
                " ones.",
                "%(count)d open teams keep the old rules; teams opened from now on have the new"
                " ones.",
                count,
            )
            messages.warning(request, text % {"count": count})


def open_teams(row: Model, now: datetime) -> QuerySet[Team]:
    """Teams that shoppers may still join under this activity or discount, or for these goods."""
    joinable = Team.objects.filter(status=Team.Status.FORMING, expires_at__gt=now)
    match row:
        case Activity():
            return joinable.filter(activity=row.pk)
        case Discount():
            return joinable.filter(activity__in=_keys(row.activity_set))
        case Sku():
            return joinable.filter(goods_id=row.goods_id)
    raise TypeError(row)


def _keys(rows: Any) -> list[int]:
    return list(rows.values_list("pk", flat=True))


@admin.register(Discount)
class DiscountAdmin(AsksWhy, WarnsOfOpenTeams, pages.DiscountAdmin):
    pass


@admin.register(Sku)
class SkuAdmin(AsksWhy, WarnsOfOpenTeams, pages.SkuAdmin):
    pass


@admin.register(Activity)
class ActivityAdmin(
    ExplainsJoins, ActivityActs, CopiesAndExtends, AsksWhy, WarnsOfOpenTeams, pages.ActivityAdmin
):
    actions_detail = [*ActivityActs.actions_detail, *CopiesAndExtends.actions_detail]
    change_form_outer_before_template = "admin/activity.html"

    def response_post_save_add(self, request: HttpRequest, obj: Activity) -> HttpResponse:
        """The draft's own page, which says what to do next."""
        if self.has_view_permission(request, obj):
            return redirect("admin:activity_activity_change", obj.pk)
        answer: HttpResponse = super().response_post_save_add(request, obj)
        return answer

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if obj and not context["errors"]:  # then the row has values that were not saved
            context |= panels(request, obj, timezone.now())
        page: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        return page


def panels(request: HttpRequest, activity: Activity, now: datetime) -> dict[str, Any]:
    """Context of templates/admin/activity.html."""
    key = str(activity.pk)
    kind = ContentType.objects.get_for_model(Activity)
    log = LogEntry.objects.filter(content_type=kind, object_id=key).select_related("user")
    now_open = open_teams(activity, now)
    may_see_trade = request.user.has_perm("trade.view_order")
    has_teams = may_see_trade and activity.status != Activity.Status.CREATED
    return {
        "activity": activity,
        "standing": standing(activity, now),
        "warnings": warnings(activity, now),
        "prices": (prices := _prices(activity)),
        "campaign": activities.of_activity(activity.pk, now) if has_teams else None,
        "open_teams": now_open.count() if may_see_trade else 0,
        "old_rules": list(_old_rules(activity, now_open, prices)) if may_see_trade else [],
        "teams": _teams(activity, now) if has_teams else [],
        "all_teams": f"{reverse('admin:trade_team_changelist')}?activity__id__exact={key}",
        "all_orders": f"{reverse('admin:trade_order_changelist')}?activity__id__exact={key}",
        "log": [(entry, text_of(entry)) for entry in log.order_by("-pk")[:SHOWN]],
    }


def _prices(activity: Activity) -> list[dict[str, Any]]:
    """Each offer with its team price and a link to the explanation of its trial."""
    offers = activity.offers.select_related("channel", "sku").order_by("pk")
    return [
        {
            "offer": offer,
            "price": price_of(activity.discount, offer.sku),
            "explain": f"{reverse('admin:activity_activity_explain')}?{_trial(offer)}",
        }
        for offer in offers
    ]


def _old_rules(
    activity: Activity, teams: QuerySet[Team], prices: Sequence[dict[str, Any]]
) -> Iterator[Any]:
    """Groups of open teams whose size or price differs from that of a team opened now."""
    now = {row["offer"].sku.goods_id: row["price"] for row in prices}
    groups = teams.order_by().values("goods_id", "target_count", "pay_price")
    for row in groups.annotate(count=Count("pk")).order_by("goods_id", "target_count"):
        is_new = row["target_count"] == activity.target_count
        if not (is_new and row["pay_price"] == now.get(row["goods_id"])):
            yield row


def _trial(offer: Offer) -> str:
    channel: Channel = offer.channel
    values = {"channel": channel.pk, "sku": offer.sku_id, "activity": offer.activity_id}
    return urlencode(values)


def _teams(activity: Activity, now: datetime) -> list[tuple[Team, labels.Labelled, str]]:
    """The newest teams."""
    teams = labels.with_payers(Team.objects.filter(activity=activity)).order_by("-pk")[:SHOWN]
    return [(team, labels.of_team(team, now), labels.seats(team)) for team in teams]
