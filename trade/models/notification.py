"""Notifications promised to malls (本地消息表), and the attempts to deliver them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from groupbuy.models import Channel
from trade.models.order import RefundType
from trade.models.team import Transport


class NotifyTask(models.Model):
    """A notification promised to a mall, kept until it is delivered or given up.

    next_attempt_at is the moment at which it is due; while a worker has claimed it, the end of the
    lease; NULL once no attempt will follow. event_no numbers the channel's events; NULL until the
    mall has fetched events. traceparent is the trace of the request or task that made the promise.
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
    traceparent = models.CharField(max_length=55, db_default="", default="", editable=False)
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
