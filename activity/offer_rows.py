"""The rows of offers in the form of an activity, without queries for each row."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from activity.models import Offer, Sku
from activity.warnings import price_of
from groupbuy.proposal_admin import ALONE


class SkuSelect(AutocompleteSelect):
    """Gets the goods of its row from the form; Django's widget would query them for each row."""

    known: Sku | None = None

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        if self.known is None or value != [str(self.known.pk)]:
            return super().optgroups(name, value, attrs)
        option = self.create_option(
            name, self.known.pk, str(self.known), selected=True, index=0, attrs=attrs
        )
        return [(None, [option], 0)]


class OfferForm(forms.ModelForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "sku" in self.fields:
            widget: Any = self.fields["sku"].widget
            getattr(widget, "widget", widget).known = self.instance.sku

    def _post_clean(self) -> None:
        """Check the row, unless it is stored as it is: Activity.clean() checks all those."""
        if self.has_changed():
            super()._post_clean()  # type: ignore[misc]


class OfferFormSet(forms.BaseInlineFormSet):
    def clean(self) -> None:
        """Refuse changes while the activity's new rules, which they must fit, are only proposed."""
        super().clean()
        if getattr(self.instance, "is_proposed", False) and self.has_changed():
            raise forms.ValidationError(ALONE)


class OfferInline(TabularInline):
    model = Offer
    form = OfferForm
    formset = OfferFormSet
    extra = 1
    autocomplete_fields = ["sku"]
    readonly_fields = ["prices"]

    @admin.display(description=_("team price"))
    def prices(self, offer: Offer) -> str:
        return prices(offer)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Offer]:
        offers: QuerySet[Offer] = super().get_queryset(request)
        return offers.select_related("channel", "sku", "activity__discount")

    def formfield_for_foreignkey(
        self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "sku":
            kwargs["widget"] = SkuSelect(db_field, self.admin_site, attrs={"class": "w-full"})
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "channel":
            field.choices = list(field.choices)  # read once for all rows
        return field


def prices(offer: Offer) -> str:
    """The original price and the team price, for the list and the form."""
    if not offer.pk:
        return "–"
    price = price_of(offer.activity.discount, offer.sku)
    return f"{offer.sku.original_price} → {'?' if price is None else price}"
