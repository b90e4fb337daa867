"""Forecasts (拼团测算) of a campaign, kept to be compared with what happened."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from activity.models import Activity, Offer

LONGEST = 92  # days


def percentage(label: Any, default: int, help_text: Any) -> models.DecimalField:
    return models.DecimalField(
        label,
        max_digits=5,
        decimal_places=2,
        default=default,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=help_text,
    )


class Forecast(models.Model):
    """Guesses about one offer, the rules in force when it was made, and the simulated figures."""

    offer = models.ForeignKey(Offer, verbose_name=_("offer"), on_delete=models.CASCADE)
    created_at = models.DateTimeField(_("made at"))
    starts_at = models.DateTimeField(_("start"))
    days = models.PositiveSmallIntegerField(
        _("days"), default=7, validators=[MinValueValidator(1), MaxValueValidator(LONGEST)]
    )
    visitors = models.PositiveIntegerField(
        _("visitors a day"),
        default=1000,
        help_text=_("Shoppers who come by themselves, not through a member's link."),
    )
    conversion = percentage(
        _("of them reserve a seat, %"), 5, _("They open a team or join an open one.")
    )
    joins = percentage(
        _("of these join a team of strangers, %"), 30, _("The others open a team of their own.")
    )
    spread = models.DecimalField(
        _("friends each member brings"),
        max_digits=5,
        decimal_places=2,
        default=Decimal("0.8"),
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Friends who come to the team of a member who has paid, on average."),
    )
    friend_minutes = models.PositiveIntegerField(
        _("minutes until a friend comes"),
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(60 * 24 * 30)],
        help_text=_("After the member has paid, on average."),
    )
    pays = percentage(_("reserved seats that are paid, %"), 85, "")
    returns = percentage(
        _("kept seats given back, %"), 3, _("By their buyers, after the team is complete.")
    )
    unit_cost = models.DecimalField(
        _("cost of one piece"),
        max_digits=12,
        decimal_places=2,
        default=0,
        validators=[MinValueValidator(0)],
        help_text=_("What you pay for the goods and their delivery, in yuan."),
    )
    fixed_cost = models.DecimalField(
        _("cost of the campaign"),
        max_digits=12,
        decimal_places=2,
        default=0,
        validators=[MinValueValidator(0)],
        help_text=_("Advertising and the like, whatever is sold, in yuan."),
    )
    seed = models.PositiveIntegerField(
        _("seed"), default=1, help_text=_("The same seed and guesses give the same forecast.")
    )
    target_count = models.PositiveSmallIntegerField(_("people per team"))
    valid_minutes = models.PositiveIntegerField(_("minutes a team has"))
    hold_minutes = models.PositiveIntegerField(_("minutes to pay"))
    group_type = models.PositiveSmallIntegerField(
        _("group type"), choices=Activity.GroupType.choices
    )
    original_price = models.DecimalField(_("original price"), max_digits=12, decimal_places=2)
    pay_price = models.DecimalField(_("team price"), max_digits=12, decimal_places=2)
    figures = models.JSONField(_("forecast"))  # name -> [5 %, median, 95 % of the runs]
    losing_runs = models.PositiveSmallIntegerField(_("simulations with a loss, %"))

    class Meta:
        verbose_name = _("forecast")
        verbose_name_plural = _("forecasts")

    def __str__(self) -> str:
        return f"{self.offer.sku.name} · {localtime(self.created_at):%Y-%m-%d}"

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + timedelta(days=self.days)
