"""Orders (订单): one shopper's seat in a team."""

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from activity.models import Activity
from groupbuy.ids import new_code, new_id
from groupbuy.models import Channel
from groupbuy.money import FEN
from trade.models.team import Team


class RefundType(models.TextChoices):
    """The `type` of a team_refund notification on the wire."""

    UNPAID_UNLOCK = "unpaid_unlock", _("was not paid")
    PAID_UNFORMED = "paid_unformed", _("paid, the team had not completed")
    PAID_FORMED = "paid_formed", _("paid, the team had completed")


class Order(models.Model):
    """One shopper's seat in a team.

    take_no numbers a shopper's live orders in an activity, up to take_limit, the activity's limit
    when the seat was taken (NULL in rows of older releases); seat_of is the shopper while the order
    has a seat in the team. Both are NULL once the order is closed, which releases them. hold_no
    numbers the unpaid seats of a shopper on the channel; NULL once paid or closed. code is the end
    of the shopper's invitation link. refund_amount and refund_at are NULL until the mall has
    confirmed the refund (trade/confirm.py).
    """

    class Status(models.IntegerChoices):
        LOCKED = 0, _("locked")
        PAID = 1, pgettext_lazy("order", "paid")
        CLOSED = 2, _("closed")

    class CloseReason(models.TextChoices):
        HOLD_TIMEOUT = "hold_timeout", _("not paid in time")
        LATE_PAYMENT = "late_payment", _("paid too late")
        BLACKLISTED = "blacklisted", _("paid on a blacklisted channel")
        REFUNDED = "refunded", _("given back")
        TEAM_ENDED = "team_ended", _("the team's time was up")

    WITHOUT_A_SEAT = (CloseReason.LATE_PAYMENT, CloseReason.BLACKLISTED)  # of refused payments

    id = models.BigIntegerField(_("order id"), primary_key=True, default=new_id)
    team = models.ForeignKey(
        Team,
        verbose_name=_("team"),
        on_delete=models.PROTECT,
        related_name="orders",
        db_index=False,
    )
    activity = models.ForeignKey(
        Activity, verbose_name=_("activity"), on_delete=models.PROTECT, db_index=False
    )
    channel = models.ForeignKey(
        Channel, verbose_name=_("channel"), on_delete=models.PROTECT, db_index=False
    )
    user_id = models.CharField(_("user id"), max_length=64)
    goods_id = models.CharField(_("goods id"), max_length=32)
    out_trade_no = models.CharField(_("mall's order number"), max_length=64)
    code = models.CharField(_("invitation code"), max_length=10, unique=True, default=new_code)
    original_price = models.DecimalField(_("original price"), max_digits=12, decimal_places=2)
    pay_price = models.DecimalField(_("to pay"), max_digits=12, decimal_places=2)
    status = models.PositiveSmallIntegerField(
        _("status"), choices=Status.choices, default=Status.LOCKED
    )
    take_no = models.PositiveSmallIntegerField(_("turn"), null=True)
    take_limit = models.PositiveSmallIntegerField(_("limit per person at that time"), null=True)
    seat_of = models.CharField(_("seat of"), max_length=64, null=True)  # noqa: DJ001  NULL is free
    hold_no = models.PositiveSmallIntegerField(_("unpaid seat"), null=True)
    created_at = models.DateTimeField(_("locked at"))
    pay_deadline = models.DateTimeField(_("to be paid until"))
    paid_at = models.DateTimeField(_("paid at"), null=True)
    settled_at = models.DateTimeField(_("settled at"), null=True)
    closed_at = models.DateTimeField(_("closed at"), null=True)
    close_reason = models.CharField(
        _("close reason"), max_length=16, choices=CloseReason.choices, blank=True
    )
    refund_amount = models.DecimalField(
        _("refunded amount"), max_digits=12, decimal_places=2, null=True
    )
    refund_at = models.DateTimeField(_("refunded at"), null=True)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        permissions = [("refund_order", "Can give orders back")]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "out_trade_no"], name="order_once_per_out_trade_no"
            ),
            models.UniqueConstraint(
                fields=["activity", "user_id", "take_no"], name="order_within_take_limit"
            ),
            models.UniqueConstraint(fields=["team", "seat_of"], name="order_one_seat_per_team"),
            models.UniqueConstraint(
                fields=["user_id", "channel", "hold_no"], name="order_within_hold_limit"
            ),
            models.CheckConstraint(
                condition=Q(pay_price__gte=FEN, pay_price__lte=F("original_price")),
                name="order_has_a_fair_price",
            ),
            models.CheckConstraint(
                condition=Q(status=2, take_no=None, seat_of=None)
                | Q(status__lt=2, take_no__isnull=False, seat_of=F("user_id")),
                name="order_holds_turn_and_seat_while_live",
            ),
            models.CheckConstraint(
                condition=Q(status=0, hold_no__isnull=False) | Q(status__gt=0, hold_no=None),
                name="order_is_a_hold_while_unpaid",
            ),
            models.CheckConstraint(
                condition=Q(status__lt=2, close_reason="") | Q(status=2, close_reason__gt=""),
                name="order_has_a_reason_once_closed",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "close_reason", "pay_deadline"], name="order_by_state"),
            models.Index(fields=["channel", "id"], name="order_list_of_channel"),
            models.Index(fields=["activity", "id"], name="order_list_of_activity"),
        ]

    def __str__(self) -> str:
        return self.out_trade_no

    @property
    def state(self) -> dict[str, Any]:
        """The fields that change with the order's state; no order returns to an earlier state."""
        return {"status": self.status, "close_reason": self.close_reason}

    @property
    def deduction_price(self) -> Decimal:
        return self.original_price - self.pay_price
