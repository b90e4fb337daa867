"""Console pages of goods, discounts, activities and offers."""

from django.contrib import admin
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline

from activity.models import Activity, Discount, Offer, Sku


@admin.register(Sku)
class SkuAdmin(ModelAdmin):
    list_display = ["image", "goods_id", "name", "original_price"]
    list_display_links = ["goods_id", "name"]
    search_fields = ["goods_id", "name"]

    @admin.display(description=_("picture"))
    def image(self, sku: Sku) -> SafeString | str:
        if not sku.picture:
            return "–"
        url = sku.picture if "//" in sku.picture else static(sku.picture)
        return format_html('<img src="{}" alt="" width="40" height="40">', url)


@admin.register(Discount)
class DiscountAdmin(ModelAdmin):
    list_display = ["name", "plan", "expression", "crowd"]
    list_filter = ["plan"]
    list_select_related = ["crowd"]
    search_fields = ["name"]


class OfferInline(TabularInline):
    model = Offer
    extra = 1
    autocomplete_fields = ["sku"]


@admin.register(Activity)
class ActivityAdmin(ModelAdmin):
    list_display = [
        "id",
        "name",
        "status",
        "discount",
        "group_type",
        "target_count",
        "start_at",
        "end_at",
        "crowd",
    ]
    list_display_links = ["id", "name"]
    list_filter = ["status", "group_type", "start_at", "crowd"]
    list_select_related = ["discount", "crowd"]
    search_fields = ["=id", "name"]
    inlines = [OfferInline]
    fieldsets = [
        (None, {"fields": ["name", "status", "discount", "start_at", "end_at"]}),
        (
            _("Team"),
            {
                "fields": [
                    ("group_type", "target_count"),
                    ("valid_minutes", "hold_minutes"),
                    "take_limit",
                ]
            },
        ),
        (_("Crowd"), {"fields": ["crowd", ("restrict_visible", "restrict_join"), "cut_range"]}),
    ]


@admin.register(Offer)
class OfferAdmin(ModelAdmin):
    list_display = ["sku", "channel", "activity"]
    list_filter = ["channel"]
    list_select_related = ["sku", "channel", "activity"]
    search_fields = ["sku__goods_id", "sku__name", "activity__name"]
    autocomplete_fields = ["sku", "activity"]
