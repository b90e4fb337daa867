"""Teams (拼团队伍), and how many of an activity are complete."""

from datetime import datetime

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils.translation import gettext_lazy as _

from activity.models import Activity
from groupbuy.ids import new_id
from groupbuy.models import Channel


class Transport(models.TextChoices):
    HTTP = "HTTP", "HTTP"
    MQ = "MQ", "MQ"


class Team(models.Model):
    """Shoppers who buy together. It keeps the rules that were in force when it was opened."""

    class Status(models.IntegerChoices):
        FORMING = 0, _("forming")
        COMPLETE = 1, _("complete")
        FAILED = 2, _("failed")
        COMPLETE_WITH_REFUNDS = 3, _("complete with refunds")

    class Listing(models.IntegerChoices):
        """Whether strangers may see the team: while it forms and has a member and a free seat."""

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
    locked_count = models.PositiveSmallIntegerField(_("seats taken"))  # by live orders, paid or not
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
        permissions = [
            ("check_team", "Can check the data"),
            ("end_team", "Can complete teams and end them"),
        ]
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

    @property
    def is_completed_at_its_end(self) -> bool:
        """Whether the platform completed it when its time was up, and no operator did earlier."""
        at = self.completed_at
        return self.completed_by_shop and at is not None and at >= self.expires_at

    def is_full(self) -> bool:
        """Every seat is paid or held: lock.TAKE_SEAT takes one, endings.close_order frees it."""
        return self.locked_count >= self.target_count


class CompletedTeams(models.Model):
    """How many teams of an activity are complete, and their seats; spread over SHARDS rows.

    A completion changes one of the rows, so that few completions wait for each other. The counts
    of the activity are the sums over its rows.
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
