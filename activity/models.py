"""Goods, discounts (折扣), activities (拼团活动), and which channel offers what."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from activity import discounts
from groupbuy.models import Channel
from groupbuy.money import FEN
from tag.models import CrowdTag

LONGEST_TEAM = timedelta(days=90)  # upper bound of valid_minutes: a team may outlive its activity


class Sku(models.Model):
    """Goods that a mall sells, at their price when bought alone."""

    goods_id = models.CharField(
        _("goods id"), max_length=32, unique=True, validators=[RegexValidator(r"^\S+$")]
    )
    name = models.CharField(_("name"), max_length=128)
    original_price = models.DecimalField(
        _("original price"), max_digits=12, decimal_places=2, validators=[MinValueValidator(FEN)]
    )
    cost_price = models.DecimalField(
        _("cost of one piece"),
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text=_("What you pay for it; shoppers never see it. For warnings and forecasts."),
    )
    picture = models.CharField(
        _("picture"),
        max_length=512,
        blank=True,
        help_text=_("A URL, or a path below static/: goods/9890001.svg"),
    )
    description = models.TextField(_("description"), max_length=2000, blank=True)
    sold_out = models.BooleanField(
        _("sold out"),
        default=False,
        help_text=_("Shown on the pages; the mall is what refuses orders."),
    )

    class Meta:
        verbose_name = _("goods")
        verbose_name_plural = _("goods")
        constraints = [
            models.CheckConstraint(condition=Q(original_price__gte=FEN), name="sku_has_a_price")
        ]

    def __str__(self) -> str:
        return f"{self.goods_id} {self.name}"

    def clean(self) -> None:
        live = Offer.objects.filter(sku=self.pk, activity__status__in=LIVE)
        for offer in live.select_related("activity__discount") if self.pk else ():
            if self.original_price is not None:
                refuse_giving_away(offer.activity.discount, self, field="original_price")


class Discount(models.Model):
    """A rule that calculates the team price from the original price."""

    name = models.CharField(_("name"), max_length=64)
    plan = models.CharField(_("plan"), max_length=4, choices=discounts.Plan.choices)
    expression = models.CharField(
        _("expression"), max_length=64, help_text=_("In the form that the plan shows in brackets.")
    )
    crowd = models.ForeignKey(
        CrowdTag,
        verbose_name=_("crowd"),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        help_text=_("Users outside it pay the original price."),
    )

    class Meta:
        verbose_name = _("discount")
        verbose_name_plural = _("discounts")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.expression = self.expression.replace("，", ",").strip()
        if self.plan not in discounts.Plan.values:
            return  # the field itself is refused
        try:
            discounts.pay_price(self.plan, self.expression, Decimal(100))
        except ValueError as exc:
            raise ValidationError({"expression": str(exc)}) from exc
        live = Offer.objects.filter(activity__discount=self.pk, activity__status__in=LIVE)
        for offer in live.select_related("sku") if self.pk else ():
            refuse_giving_away(self, offer.sku, field="expression")


class Activity(models.Model):
    """The rules of one group-buying campaign. Its pk is the wire's activityId."""

    class GroupType(models.IntegerChoices):
        SHOP_COMPLETES = 0, _("when its time is up, the platform completes the team")
        MUST_FILL = 1, _("the target must be reached")

    class Status(models.IntegerChoices):
        CREATED = 0, _("draft")
        IN_EFFECT = 1, _("in effect")
        EXPIRED = 2, _("expired")
        ABANDONED = 3, _("closed")
        PAUSED = 4, _("paused")

    name = models.CharField(_("name"), max_length=128)
    discount = models.ForeignKey(Discount, verbose_name=_("discount"), on_delete=models.PROTECT)
    group_type = models.PositiveSmallIntegerField(
        _("group type"), choices=GroupType.choices, default=GroupType.MUST_FILL
    )
    target_count = models.PositiveSmallIntegerField(
        _("people per team"), validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    take_limit = models.PositiveSmallIntegerField(
        _("limit per person"), default=1, validators=[MinValueValidator(1)]
    )
    valid_minutes = models.PositiveIntegerField(
        _("minutes a team has"),
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TEAM // timedelta(minutes=1))],
    )
    hold_minutes = models.PositiveIntegerField(
        _("minutes to pay"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(60 * 24 * 7)],
    )
    status = models.PositiveSmallIntegerField(
        _("status"), choices=Status.choices, default=Status.CREATED
    )
    gives_back = models.BooleanField(
        _("its forming teams get their money back"), default=False, db_default=False, editable=False
    )
    start_at = models.DateTimeField(_("start"))
    end_at = models.DateTimeField(_("end"))
    crowd = models.ForeignKey(
        CrowdTag, verbose_name=_("crowd"), null=True, blank=True, on_delete=models.PROTECT
    )
    restrict_visible = models.BooleanField(_("only the crowd may see it"), default=False)
    restrict_join = models.BooleanField(_("only the crowd may join"), default=False)
    cut_range = models.PositiveSmallIntegerField(
        _("percentage of users admitted"),
        default=100,
        validators=[MaxValueValidator(100)],
        help_text=_(
            "Percentage of the users admitted by the switch cutRange. Raising it drops no user."
        ),
    )

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        constraints = [
            models.CheckConstraint(
                condition=Q(start_at__lt=F("end_at")), name="activity_starts_before_it_ends"
            ),
            models.CheckConstraint(
                condition=Q(
                    target_count__gte=1,
                    take_limit__gte=1,
                    valid_minutes__gte=1,
                    hold_minutes__gte=1,
                ),
                name="activity_has_room",
            ),
            models.CheckConstraint(
                condition=Q(cut_range__lte=100), name="activity_cut_range_is_per_cent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.name}"

    def clean(self) -> None:
        if self.start_at and self.end_at and self.start_at >= self.end_at:
            raise ValidationError({"end_at": _("The end must be after the start.")})
        if (self.restrict_visible or self.restrict_join) and self.crowd is None:
            raise ValidationError({"crowd": _("Choose the crowd this activity is limited to.")})
        if self.pk:
            self.refuse_overlap(self.same_goods())
        for offer in self.offers.select_related("sku") if self.pk and self.discount_id else ():
            refuse_giving_away(self.discount, offer.sku)

    def same_goods(self) -> Q:
        """The offers, of any activity, of the goods that this one offers on the same channel."""
        same = {"channel": OuterRef("channel"), "sku": OuterRef("sku")}
        return Q(Exists(self.offers.filter(**same)))

    def refuse_overlap(self, same_goods: Q) -> None:
        """Refuse two live activities that sell the same goods on the same channel at the same time.

        This check gives the message. If two operators save at the same moment and both pass it,
        the trial takes the newer activity in every process.
        """
        if self.status not in LIVE:
            return
        live = Offer.objects.filter(same_goods, activity__status__in=LIVE)
        meet = live.filter(activity__start_at__lt=self.end_at, activity__end_at__gt=self.start_at)
        others = meet.exclude(activity=self.pk).select_related("activity", "sku")
        clash = others.order_by("pk").first()
        if clash:
            raise ValidationError(
                _("%(sku)s is already offered on this channel by %(activity)s at that time."),
                params={"sku": clash.sku, "activity": clash.activity},
            )

    def is_open(self, now: datetime) -> bool:
        """Whether teams may be opened at this moment."""
        return self.status == self.Status.IN_EFFECT and self.start_at <= now < self.end_at


class Offer(models.Model):
    """Goods that a channel sells under an activity."""

    channel = models.ForeignKey(Channel, verbose_name=_("channel"), on_delete=models.PROTECT)
    sku = models.ForeignKey(Sku, verbose_name=_("goods"), on_delete=models.PROTECT)
    activity = models.ForeignKey(
        Activity, verbose_name=_("activity"), on_delete=models.CASCADE, related_name="offers"
    )

    class Meta:
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        constraints = [
            models.UniqueConstraint(fields=["channel", "sku", "activity"], name="offer_once")
        ]

    def __str__(self) -> str:
        return f"{self.channel} · {self.sku} · {self.activity}"

    def clean(self) -> None:
        activity = getattr(self, "activity", None)  # not saved yet when it is added with its offers
        if activity and activity.start_at and activity.end_at and self.channel_id and self.sku_id:
            activity.refuse_overlap(Q(channel=self.channel_id, sku=self.sku_id))
        discount = getattr(activity, "discount", None)
        if discount and self.sku_id:
            refuse_giving_away(discount, self.sku)


LIVE = (Activity.Status.CREATED, Activity.Status.IN_EFFECT, Activity.Status.PAUSED)
PUBLISHED = (Activity.Status.IN_EFFECT, Activity.Status.PAUSED)


def refuse_giving_away(discount: Discount, sku: Sku, *, field: str = NON_FIELD_ERRORS) -> None:
    """Refuse a discount that leaves nothing to pay. Called when any row involved is saved."""
    if discounts.uses_up(discount.plan, discount.expression, sku.original_price):
        message = _("The discount “%(discount)s” leaves nothing of the price %(price)s.")
        values = {"discount": discount, "price": sku.original_price}
        raise ValidationError({field: ValidationError(message, params=values)})


class GoodsFile(models.Model):
    """A file of goods and offers that an operator has uploaded and not confirmed yet."""

    by = models.CharField(max_length=150)
    name = models.CharField(max_length=255)
    content = models.BinaryField()
    uploaded_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
