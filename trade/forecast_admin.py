"""Console pages of forecasts (拼团测算)."""

from decimal import Decimal
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from activity.models import Activity, Offer
from groupbuy.durations import duration
from trade.figures.drawing import number
from trade.forecast import report
from trade.models import Forecast

LABELS = {
    "opened": _("teams opened"),
    "full": _("teams that became full"),
    "completion": _("of the ended teams became full, %"),
    "by_shop": _("teams completed at their end"),
    "failed": _("teams that failed"),
    "peak": _("most seats taken in forming teams at once"),
    "paid": _("seats paid"),
    "kept": _("seats kept"),
    "gmv": _("GMV settled"),
    "refunds": _("money given back"),
    "discount": _("discounts on kept seats"),
    "margin": _("margin"),
}
GUESSES = [
    (None, {"fields": ["offer", "days"]}),
    (_("Who comes"), {"fields": ["visitors", "conversion", "joins", "spread", "friend_minutes"]}),
    (_("Who stays"), {"fields": ["pays", "returns"]}),
    (_("Costs"), {"fields": ["unit_cost", "fixed_cost"]}),
    (_("Simulation"), {"fields": ["seed"]}),
]


class OfferForm(forms.Form):
    offer = forms.ModelChoiceField(
        Offer.objects.select_related("sku", "channel", "activity")
        .filter(activity__status__in=(Activity.Status.CREATED, Activity.Status.IN_EFFECT))
        .order_by("-activity", "pk"),
        label=_("offer"),
        widget=UnfoldAdminSelectWidget,
    )


class ForecastForm(forms.ModelForm):
    def _post_clean(self) -> None:
        """Simulate once the guesses are in order."""
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        self.instance.created_at = timezone.now()
        try:
            report.fill(self.instance)
        except forms.ValidationError as exc:
            self.add_error(None, exc)


@admin.register(Forecast)
class ForecastAdmin(ModelAdmin):
    verbs = ("view", "add", "delete")
    form = ForecastForm
    about = _("A forecast simulates a campaign before its launch: teams, money and margin.")
    list_display = ["offer", "days", "created_at", "shown_margin", "completion"]
    list_select_related = ["offer__sku", "offer__channel", "offer__activity"]
    ordering = ["-pk"]
    fieldsets = GUESSES
    change_form_before_template = "admin/forecast.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """First the offer, whose history gives the initial guesses."""
        chosen = OfferForm(request.GET if "offer" in request.GET else None)
        if request.method == "POST" or chosen.is_valid() or not self.has_add_permission(request):
            return cast("HttpResponse", super().add_view(request, form_url, extra_context))
        context = self.admin_site.each_context(request) | {
            "title": gettext("Forecast a campaign"),
            "form": chosen,
        }
        return render(request, "admin/choose_offer.html", context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        offer = Offer.objects.select_related("sku").get(pk=initial["offer"])
        if offer.sku.cost_price is not None:
            initial["unit_cost"] = offer.sku.cost_price
        return initial | report.guesses(offer, timezone.now())

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if obj:
            fact = report.fact(obj, timezone.now())
            context |= {
                "forecast": obj,
                "rows": [_row(obj, name, fact) for name in report.FIGURES],
                "rules": _rules(obj),
                "loses": _loses(obj),
                "has_fact": fact is not None,
                "has_ended": obj.ends_at <= timezone.now(),
            }
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        page = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        return cast("HttpResponse", page)

    def response_add(
        self, request: HttpRequest, obj: Forecast, post_url_continue: Any = None
    ) -> HttpResponse:
        return redirect("admin:trade_forecast_change", obj.pk)

    @display(description=_("margin"), label={"loss": "danger", "": "success"})
    def shown_margin(self, forecast: Forecast) -> tuple[str, str]:
        return ("loss" if _loses(forecast) else "", forecast.figures["margin"][1])

    @admin.display(description=LABELS["completion"], empty_value="–")
    def completion(self, forecast: Forecast) -> str | None:
        return next(iter(forecast.figures["completion"][1:2]), None)


def _loses(forecast: Forecast) -> bool:
    return Decimal(forecast.figures["margin"][1]) < 0


def _row(forecast: Forecast, name: str, fact: report.Campaign | None) -> dict[str, Any]:
    """One figure: the simulated range, what has happened, and how they compare."""
    simulated = [Decimal(value) for value in forecast.figures[name]]
    happened = getattr(fact, name, None)
    row = {
        "label": LABELS[name],
        "simulated": [_shown(name, value) for value in simulated],
        "loss": name == "margin" and _loses(forecast),
        "fact": "" if happened is None else _shown(name, happened),
        "compared": "",
    }
    if simulated and happened is not None:
        low, _median, high = simulated
        row["compared"] = _compared(happened, low, high)
    return row


def _compared(happened: int | Decimal, low: Decimal, high: Decimal) -> str:
    if happened < low:
        return gettext("below")
    return gettext("above") if happened > high else gettext("within")


def _shown(name: str, value: int | Decimal) -> str:
    return f"{value:.1f}" if name == "completion" else number(round(value))


def _rules(forecast: Forecast) -> str:
    return gettext(
        "%(team)s instead of %(alone)s, %(people)d people within %(time)s,"
        " %(hold)s to pay; %(type)s."
    ) % {
        "team": forecast.pay_price,
        "alone": forecast.original_price,
        "people": forecast.target_count,
        "time": duration(forecast.valid_minutes),
        "hold": duration(forecast.hold_minutes),
        "type": forecast.get_group_type_display(),
    }
