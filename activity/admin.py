"""Console pages of goods, discounts, activities and offers.

trade/activity_admin.py adds to the first three what they show of trade, and registers them.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import MaxValueValidator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from activity import calendar, helps, pictures
from activity.explain import explain
from activity.import_admin import ImportsGoods
from activity.models import Activity, Offer, Sku
from activity.offer_rows import OfferInline, prices
from activity.trial import Trial, TrialQuery
from groupbuy.deletion import UsedRowsStay
from groupbuy.durations import MinutesField, duration
from groupbuy.history import KeepsValues
from groupbuy.models import Channel
from groupbuy.moments import IN_YEARS, YEARS, MomentField
from groupbuy.stale_forms import RefusesStaleForms
from tag.admin import save_changed

Status = Activity.Status
TONES = {
    Status.CREATED: "info",
    Status.IN_EFFECT: "success",
    Status.EXPIRED: "",
    Status.ABANDONED: "danger",
    Status.PAUSED: "warning",
}
TIMES = {"valid_minutes": _("time a team has"), "hold_minutes": _("time to pay")}


class SkuForm(forms.ModelForm):
    upload = forms.FileField(
        label=_("Upload a picture"),
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": "image/jpeg,image/png,image/webp"}),
        help_text=_(
            "JPEG, PNG or WebP, at least 300 × 300 pixels, at most 10 MB. Replaces the picture"
            " when you save."
        ),
    )

    def clean_upload(self) -> bytes | None:
        upload: UploadedFile | None = self.cleaned_data["upload"]
        return pictures.encode(upload) if upload else None

    def _post_clean(self) -> None:
        """Store the upload once the rest of the row is in order, and before it is saved."""
        super()._post_clean()  # type: ignore[misc]
        content = self.cleaned_data.get("upload")
        if content and not self.errors:
            try:
                self.instance.picture = pictures.store(content)
            except OSError as exc:
                message = _("The picture cannot be stored in VAR_DIR/media: %(reason)s.")
                self.add_error("upload", message % {"reason": exc.strerror})


class SkuAdmin(ImportsGoods, UsedRowsStay):
    instead = _("Remove its offers first.")
    form = SkuForm
    fields = [
        "goods_id",
        "name",
        "original_price",
        "cost_price",
        "preview",
        "upload",
        "picture",
        "description",
        "sold_out",
    ]
    readonly_fields = ["preview"]
    list_display = ["image", "goods_id", "name", "original_price"]
    list_display_links = ["goods_id", "name"]
    search_fields = ["goods_id", "name"]

    @admin.display(description=_("picture"))
    def image(self, sku: Sku) -> SafeString | str:
        return _shown(sku, 40)

    @admin.display(description=_("picture now"))
    def preview(self, sku: Sku) -> SafeString | str:
        return _shown(sku, 160)


def _shown(sku: Sku, side: int) -> SafeString | str:
    if not sku.picture:
        return "–"
    image = '<img src="{}" alt="" width="{}" height="{}" style="object-fit: contain">'
    return format_html(image, pictures.address(sku.picture), side, side)


class DiscountAdmin(UsedRowsStay):
    instead = _("Give its activities another discount first.")
    fields = ["name", "plan", "expression", "crowd"]
    list_display = ["name", "plan", "expression", "crowd"]
    list_filter = ["plan"]
    list_select_related = ["crowd"]
    search_fields = ["name"]


class TrialForm(forms.Form):
    """The user, the goods and the moment of a trial."""

    channel = forms.ModelChoiceField(
        Channel.objects.all(), label=_("channel"), widget=UnfoldAdminSelectWidget()
    )
    sku = forms.ModelChoiceField(
        Sku.objects.all(), label=_("goods"), widget=UnfoldAdminSelectWidget()
    )
    activity = forms.ModelChoiceField(
        Activity.objects.order_by("-pk"),
        label=_("activity; empty: the one that is open"),
        required=False,
        widget=UnfoldAdminSelectWidget(),
    )
    user_id = forms.CharField(
        label=_("user id"), max_length=64, widget=UnfoldAdminTextInputWidget()
    )
    at = MomentField(label=_("at that time"), required=False, help_text=_("Empty: now."))

    def to_query(self) -> TrialQuery:
        channel, sku = self.cleaned_data["channel"], self.cleaned_data["sku"]
        activity = self.cleaned_data["activity"]
        return TrialQuery(
            user_id=self.cleaned_data["user_id"],
            source=channel.source,
            channel=channel.channel,
            goods_id=sku.goods_id,
            activity_id=activity.pk if activity else None,
        )


class ActivityAdmin(UsedRowsStay):
    instead = _("To end it, close it.")
    helps = helps.ACTIVITY
    formfield_overrides = IN_YEARS
    list_display = [
        "id",
        "name",
        "shown_status",
        "discount",
        "target_count",
        "team_time",
        "start_at",
        "end_at",
        "crowd",
    ]
    list_display_links = ["id", "name"]
    list_filter = ["status", "group_type", "start_at", "crowd"]
    list_per_page = 50
    list_select_related = ["discount", "crowd"]
    search_fields = ["=id", "name"]
    inlines = [OfferInline]
    readonly_fields = ["status", "team_time", "pay_time"]  # buttons change the status
    trial_form: type[TrialForm] = TrialForm
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
    actions_list = ["calendar", "explain"]

    def get_fieldsets(self, request: HttpRequest, obj: Activity | None = None) -> Any:
        """Accounts that may only view see the times in words."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        first, team, *others = self.fieldsets
        fields = [("group_type", "target_count"), ("team_time", "pay_time"), "take_limit"]
        return [first, (team[0], {"fields": fields}), *others]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if label := TIMES.get(db_field.name):
            limits = [each for each in db_field.validators if isinstance(each, MaxValueValidator)]
            kwargs |= {"form_class": MinutesField, "widget": UnfoldAdminTextInputWidget}
            kwargs |= {"label": capfirst(label), "longest": limits[0].limit_value}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @display(description=_("status"), ordering="status", label=TONES)
    def shown_status(self, activity: Activity) -> tuple[int, str]:
        return activity.status, activity.get_status_display()

    @admin.display(description=TIMES["valid_minutes"], ordering="valid_minutes")
    def team_time(self, activity: Activity) -> str:
        return duration(activity.valid_minutes)

    @admin.display(description=TIMES["hold_minutes"])
    def pay_time(self, activity: Activity) -> str:
        return duration(activity.hold_minutes)

    def also_seen(self, row: Activity) -> Any:
        """Its offers, which have a page of their own; locked while the form is saved."""
        is_saved = transaction.get_connection().in_atomic_block
        offers = row.offers.select_for_update() if is_saved else row.offers.all()
        return list(offers.order_by("pk").values_list("pk", "channel", "sku"))

    def save_model(self, request: HttpRequest, obj: Activity, form: Any, change: bool) -> None:
        save_changed(obj, form, change)

    @action(description=_("Calendar"), url_path="calendar", permissions=["view"])
    def calendar(self, request: HttpRequest) -> HttpResponse:
        """The calendar page. Without a date of YEARS in the query it starts a week ago."""
        days = next((each for each in calendar.DAYS if str(each) == request.GET.get("days")), None)
        try:
            first = parse_date(request.GET.get("first", ""))
        except ValueError:
            first = None
        if first and first.year not in YEARS:
            first = None
        shown = calendar.read(first=first, days=days or calendar.DAYS[0], now=timezone.now())
        names = (_("6 weeks"), _("half a year"))
        context = self.admin_site.each_context(request) | {
            "title": _("Calendar of activities"),
            "calendar": shown,
            "unreadable": "" if first else request.GET.get("first", "")[:50],
            "years": (YEARS[0], YEARS[-1]),
            "choices": list(zip(calendar.DAYS, names, strict=True)),
            "legend": [
                ("team", Status.IN_EFFECT.label),
                (
                    "waiting",
                    gettext(", ").join([str(Status.CREATED.label), str(Status.PAUSED.label)]),
                ),
                ("failed", _("over")),
                ("back", _("conflicts with another")),
            ],
        }
        return render(request, "admin/calendar.html", context)

    def explain_more(self, form: Any, trial: Trial, at: datetime) -> dict[str, Any]:
        """Further context of the page; trade/joining_admin.py adds the checks of a lock."""
        return {}

    def explain_back(self, request: HttpRequest) -> list[tuple[str, str]]:
        return []

    @action(description=_("Why could somebody not join?"), url_path="explain", permissions=["view"])
    def explain(self, request: HttpRequest) -> HttpResponse:
        """The page that explains a trial. The form uses GET, because it changes nothing."""
        entered = request.GET if "user_id" in request.GET else None
        form = self.trial_form(entered, initial=request.GET.dict())
        context = self.admin_site.each_context(request) | {
            "title": _("Why could somebody not join?"),
            "form": form,
            "back": self.explain_back(request),
        }
        if form.is_valid():
            now = form.cleaned_data["at"] or timezone.now()
            trial, steps = explain(form.to_query(), now=now)
            context |= {"price": trial.price and trial.price.pay, "steps": steps}
            context["refused"] = trial.refusals
            context |= self.explain_more(form, trial, now)
        return render(request, "admin/explain.html", context)


@admin.register(Offer)
class OfferAdmin(RefusesStaleForms, KeepsValues):
    list_display = ["sku", "channel", "activity", "prices"]
    list_filter = ["channel"]
    list_select_related = ["sku", "channel", "activity__discount"]
    search_fields = ["sku__goods_id", "sku__name", "activity__name"]
    autocomplete_fields = ["sku", "activity"]

    @admin.display(description=_("team price"))
    def prices(self, offer: Offer) -> str:
        return prices(offer)
