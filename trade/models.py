"""Teams (拼团队伍), orders (订单), and promised notifications (本地消息表)."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from activity.models import Activity
from groupbuy.ids import new_code, new_id
from groupbuy.models import Channel
from groupbuy.money import FEN


class Transport(models.TextChoices):
    HTTP = "HTTP", "HTTP"
    MQ = "MQ", "MQ"


class RefundType(models.TextChoices):
    """The `type` of a team_refund notification on the wire."""

    UNPAID_UNLOCK = "unpaid_unlock", _("was not paid")
    PAID_UNFORMED = "paid_unformed", _("paid, the team had not completed")
    PAID_FORMED = "paid_formed", _("paid, the team had completed")


class Team(models.Model):
    """Shoppers who buy together. It keeps the rules that were in force when it was opened."""

    class Status(models.IntegerChoices):
        FORMING = 0, _("forming")
        COMPLETE = 1, _("complete")
        FAILED = 2, _("failed")
        COMPLETE_WITH_REFUNDS = 3, _("complete with refunds")

    class Listing(models.IntegerChoices):
        """May strangers be shown this team? Only while it forms, has a member and a free seat."""

        HIDDEN = 0
        UNPAID = 1  # nobody has paid yet
        PAID = 2

    id = models.BigIntegerField(_("team id"), primary_key=True, default=new_id)
    activity = models.ForeignKey(
        Activity, verbose_name=_("activity"), on_delete=models.PROTECT, db_index=False
    )
    channel = models.ForeignKey(
        Channel, verbose_name=_("channel"), on_delete=models.PROTECT, db_index=False
    )
    goods_id = models.CharField(_("goods id"), max_length=32)
    status = models.PositiveSmallIntegerField(
        _("status"), choices=Status.choices, default=Status.FORMING
    )
    group_type = models.PositiveSmallIntegerField(
        _("group type"), choices=Activity.GroupType.choices
    )
    target_count = models.PositiveSmallIntegerField(_("people per team"))
    locked_count = models.PositiveSmallIntegerField(_("seats taken"))
    paid_count = models.PositiveSmallIntegerField(_("seats paid"), default=0)
    original_price = models.DecimalField(_("original price"), max_digits=12, decimal_places=2)
    pay_price = models.DecimalField(_("team price"), max_digits=12, decimal_places=2)
    hold_minutes = models.PositiveIntegerField(_("minutes to pay"))
    created_at = models.DateTimeField(_("opened at"))
    expires_at = models.DateTimeField(_("ends at"))
    completed_at = models.DateTimeField(_("completed at"), null=True)
    completed_by_shop = models.BooleanField(_("completed by the shop"), default=False)
    notify_transport = models.CharField(_("callback by"), max_length=4, choices=Transport.choices)
    notify_url = models.CharField(_("callback URL"), max_length=512, blank=True)
    listing = models.GeneratedField(
        expression=Case(
            When(
                Q(status=0, locked_count__gt=0, locked_count__lt=F("target_count"), paid_count=0),
                then=Value(1),
            ),
            When(
                Q(status=0, locked_count__lt=F("target_count"), paid_count__gt=0),
                then=Value(2),
            ),
            default=Value(0),
        ),
        output_field=models.PositiveSmallIntegerField(choices=Listing.choices),
        db_persist=False,
    )

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        permissions = [("check_team", "Can check the data")]
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    paid_count__gte=0,
                    paid_count__lte=F("locked_count"),
                    locked_count__lte=F("target_count"),
                ),
                name="team_never_oversold",
            ),
        ]
        indexes = [
            models.Index(fields=["activity", "status", "expires_at"], name="team_by_activity"),
            models.Index(
                fields=["activity", "channel", "goods_id", "listing", "expires_at"],
                name="team_by_listing",
            ),
            models.Index(fields=["status", "expires_at"], name="team_by_end"),
            models.Index(fields=["channel", "id"], name="team_list_of_channel"),
            models.Index(fields=["activity", "id"], name="team_list_of_activity"),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def is_joinable(self, now: datetime) -> bool:
        return self.status == self.Status.FORMING and now < self.expires_at

    def is_full(self) -> bool:
        return self.locked_count >= self.target_count


class CompletedTeams(models.Model):
    """How many teams of an activity are complete, and their seats; spread over SHARDS rows.

    A completion changes one of the rows, so that few completions wait for each other. The figure
    is the sum of the rows.
    """

    SHARDS = 8

    activity = models.ForeignKey(Activity, on_delete=models.CASCADE, db_index=False)
    shard = models.PositiveSmallIntegerField()
    teams = models.IntegerField(default=0)
    seats = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["activity", "shard"], name="completed_teams_shard"),
        ]

    def __str__(self) -> str:
        return f"{self.activity_id}.{self.shard}: {self.teams} teams, {self.seats} seats"


class Order(models.Model):
    """One shopper's seat in a team.

    take_no numbers a shopper's live orders in an activity; seat_of is the shopper while the order
    has a seat in the team. Both are NULL once the order is closed, which releases them. hold_no
    numbers the unpaid seats of a shopper on the channel; NULL once paid or closed. code is the end
    of the shopper's invitation link.
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

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
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
        """What changes whenever the order does; no order returns to a state that it has left."""
        return {"status": self.status, "close_reason": self.close_reason}

    @property
    def deduction_price(self) -> Decimal:
        return self.original_price - self.pay_price


class NotifyTask(models.Model):
    """A notification promised to a mall, kept until it is delivered or given up.

    next_attempt_at is when it is due; while a worker has claimed it, the end of the lease; NULL
    once no attempt will follow. event_no numbers the channel's events; NULL until the mall has
    asked for them.
    """

    class Event(models.TextChoices):
        TEAM_SUCCESS = "team_success", _("team complete")
        TEAM_REFUND = "team_refund", _("refund due")

    class State(models.IntegerChoices):
        NEW = 0, _("new")
        DELIVERED = 1, _("delivered")
        RETRYING = 2, _("retrying")
        GIVEN_UP = 3, _("given up")

    key = models.CharField(_("key"), max_length=64, unique=True)
    channel = models.ForeignKey(
        Channel, verbose_name=_("channel"), on_delete=models.PROTECT, db_index=False
    )
    event = models.CharField(_("event"), max_length=16, choices=Event.choices)
    transport = models.CharField(_("by"), max_length=4, choices=Transport.choices)
    target = models.CharField(_("target"), max_length=512, blank=True)
    endpoint = models.CharField(_("endpoint"), max_length=255, editable=False)
    payload = models.TextField(_("payload"))
    state = models.PositiveSmallIntegerField(_("state"), choices=State.choices, default=State.NEW)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    last_error = models.CharField(_("last error"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("promised at"))
    delivered_at = models.DateTimeField(_("delivered at"), null=True)
    event_no = models.PositiveBigIntegerField(_("event number"), null=True, editable=False)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        permissions = [("send_notifytask", "Can send notifications again")]
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "event_no"], name="notification_event_numbered_once"
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at", "endpoint"], name="notification_by_time"),
            models.Index(fields=["state", "endpoint"], name="notification_by_endpoint"),
        ]

    def __str__(self) -> str:
        return self.key

    @staticmethod
    def success_key(team_id: int) -> str:
        """The key of the promise that this team is complete."""
        return f"{NotifyTask.Event.TEAM_SUCCESS}-{team_id}"

    @staticmethod
    def refund_key(order_id: int, kind: RefundType) -> str:
        """The key of the promise that this order is closed, or its money due back."""
        return f"{NotifyTask.Event.TEAM_REFUND}-{order_id}-{kind}"


class NotifyAttempt(models.Model):
    """One attempt to deliver a notification, and its outcome."""

    task = models.ForeignKey(
        NotifyTask,
        verbose_name=_("notification"),
        on_delete=models.CASCADE,
        related_name="tries",
    )
    number = models.PositiveIntegerField(_("number"))
    started_at = models.DateTimeField(_("started at"))
    duration_ms = models.PositiveIntegerField(_("milliseconds"))
    status_code = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    error = models.CharField(_("error"), max_length=255, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")

    def __str__(self) -> str:
        return f"{self.task_id} #{self.number}"


class EventCounter(models.Model):
    """The number of a channel's last event. Numbering events locks this row."""

    channel = models.OneToOneField(Channel, on_delete=models.CASCADE, primary_key=True)
    last = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.channel_id}: {self.last}"


class SummedDay(models.Model):
    """A day whose rows are summed (日汇总). It is open while a team of its rows is forming.

    seen is the newest notification at that time: later ones may close orders of this day.
    """

    day = models.DateField(primary_key=True)
    is_open = models.BooleanField()
    seen = models.PositiveBigIntegerField()
    summed_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.day)


class DailySum(models.Model):
    """One sum of a day's rows, see trade/figures/rows.py."""

    day = models.ForeignKey(SummedDay, on_delete=models.CASCADE, db_index=False)
    figure = models.CharField(max_length=16)
    bucket = models.CharField(max_length=48)
    count = models.PositiveBigIntegerField()
    amount = models.DecimalField(max_digits=16, decimal_places=2)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["day", "figure", "bucket"], name="daily_sum_once"),
        ]
        indexes = [models.Index(fields=["figure", "bucket"], name="daily_sum_by_bucket")]

    def __str__(self) -> str:
        return f"{self.day_id} {self.figure} {self.bucket}: {self.count}"
