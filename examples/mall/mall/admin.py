"""The mall's own console: it shows everything, and changes goods only."""

from datetime import timedelta

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mall.models import RETURNS_WITHIN, Goods, Notice, Order, Refund, Shopper


class ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class Overdue(admin.SimpleListFilter):
    """Filters refunds that should be confirmed by now."""

    title = _("overdue")
    parameter_name = "overdue"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("yes", gettext("older than a day"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() != "yes":
            return queryset
        late = timezone.now() - RETURNS_WITHIN
        return queryset.exclude(state=Refund.State.CONFIRMED).filter(requested_at__lt=late)


@admin.register(Goods)
class GoodsAdmin(admin.ModelAdmin):
    list_display = ["goods_id", "name", "price", "on_sale"]

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> list[str]:
        """The primary key of existing goods: saving another one would add a copy."""
        return ["goods_id"] if obj else []


@admin.register(Shopper)
class ShopperAdmin(ReadOnly):
    list_display = ["user_id", "created_at"]
    search_fields = ["user_id"]


@admin.register(Order)
class OrderAdmin(ReadOnly):
    list_display = ["number", "shopper", "goods_name", "kind", "status", "amount", "tries"]
    list_filter = ["status", "kind", "settle_code"]  # settle_code: the platform refused the payment
    search_fields = ["number", "shopper__user_id", "trade_no", "team_id"]


@admin.register(Refund)
class RefundAdmin(ReadOnly):
    list_display = ["out_request_no", "amount", "state", "cause", "age", "tries", "problem"]
    list_filter = ["state", "cause", Overdue]
    search_fields = ["order__number", "trade_no"]

    @admin.display(description=_("age"))
    def age(self, refund: Refund) -> timedelta:
        """How long the shopper waited, or has been waiting so far."""
        waited = (refund.confirmed_at or timezone.now()) - refund.requested_at
        return waited - timedelta(microseconds=waited.microseconds)


@admin.register(Notice)
class NoticeAdmin(ReadOnly):
    """Verdicts other than paid, repeated and nothing need an operator's attention."""

    list_display = ["received_at", "out_trade_no", "total_amount", "trade_status", "verdict"]
    list_filter = ["verdict"]
    search_fields = ["out_trade_no", "trade_no"]
