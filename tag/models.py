"""Crowd tags (人群标签), their members, and the jobs (人群任务) that find members."""

from collections.abc import Iterator

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy
from django_celery_beat.models import CrontabSchedule

from groupbuy.ids import new_id
from groupbuy.money import FEN


class CrowdTag(models.Model):
    """A named crowd that activities and discounts can be limited to: the union of its live parts.

    version changes whenever the members change and is never reused, not even after restoring a
    backup. size is NULL until this version has been counted.
    """

    tag_id = models.CharField(
        _("tag id"), max_length=64, primary_key=True, validators=[RegexValidator(r"^\S+$")]
    )
    name = models.CharField(_("name"), max_length=64)
    description = models.CharField(_("description"), max_length=255, blank=True)
    version = models.BigIntegerField(_("version"), default=new_id, editable=False)
    size = models.PositiveIntegerField(_("members"), null=True, editable=False)

    class Meta:
        verbose_name = _("crowd tag")
        verbose_name_plural = _("crowd tags")

    def __str__(self) -> str:
        return self.name


class CrowdFile(models.Model):
    """An uploaded file of user ids (名单文件), kept until its uploader confirms or discards it.

    After an hour it is deleted (tag/files.py).
    """

    tag = models.ForeignKey(CrowdTag, verbose_name=_("crowd tag"), on_delete=models.CASCADE)
    by = models.CharField(_("uploaded by"), max_length=150)
    name = models.CharField(_("file name"), max_length=255)
    content = models.BinaryField(_("content"))
    uploaded_at = models.DateTimeField(_("uploaded at"), db_index=True)

    class Meta:
        verbose_name = _("file of user ids")
        verbose_name_plural = _("files of user ids")
        default_permissions = ()  # those of CrowdTag apply

    def __str__(self) -> str:
        return self.name


class CrowdUser(models.Model):
    """The dense number (pk) of a user id; it never changes."""

    user_id = models.CharField(_("user id"), max_length=64, unique=True)

    class Meta:
        verbose_name = _("crowd user")
        verbose_name_plural = _("crowd users")

    def __str__(self) -> str:
        return self.user_id


class CrowdJob(models.Model):
    """Finds members of a crowd in the trade history. Each run makes a new part of the crowd."""

    class Kind(models.IntegerChoices):
        ORDERS = 0, _("number of paid orders")
        AMOUNT = 1, _("amount paid")

    class Status(models.IntegerChoices):
        NEW = 0, pgettext_lazy("crowd job", "new")
        RUNNING = 1, _("running")
        RESET = 2, _("stopped")
        DONE = 3, _("done")

    tag = models.ForeignKey(
        CrowdTag, verbose_name=_("crowd tag"), on_delete=models.PROTECT, related_name="jobs"
    )
    batch_id = models.CharField(
        _("batch id"), max_length=32, validators=[RegexValidator(r"^[^\s/]+$")]
    )
    kind = models.PositiveSmallIntegerField(_("what counts"), choices=Kind.choices)
    at_least = models.DecimalField(
        _("at least"), max_digits=12, decimal_places=2, validators=[MinValueValidator(FEN)]
    )
    last_days = models.PositiveSmallIntegerField(
        _("in the last days"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3660)],
        help_text=_("Counted back from each run; or give a start and an end below."),
    )
    start_at = models.DateTimeField(_("paid at or after"), null=True, blank=True)
    end_at = models.DateTimeField(_("paid before"), null=True, blank=True)
    schedule = models.ForeignKey(
        CrontabSchedule,
        verbose_name=_("run again"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        help_text=_("Empty: only when an operator starts it."),
    )
    status = models.PositiveSmallIntegerField(
        _("status"), choices=Status.choices, default=Status.NEW, editable=False
    )
    run = models.OneToOneField(
        "CrowdPart",
        verbose_name=_("run"),
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    class Meta:
        verbose_name = _("crowd job")
        verbose_name_plural = _("crowd jobs")
        constraints = [
            models.UniqueConstraint(fields=["tag", "batch_id"], name="job_once_per_batch"),
            models.CheckConstraint(
                condition=Q(start_at=None) | Q(end_at=None) | Q(start_at__lt=F("end_at")),
                name="job_starts_before_it_ends",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tag_id} {self.batch_id}"

    @property
    def rule(self) -> str:
        """For the console: 0: number of paid orders ≥ 2, last 30 days"""
        measured = f"{self.get_kind_display()} ≥ {self.at_least.normalize():f}"
        return ", ".join([measured, *self._window()])

    def _window(self) -> Iterator[str]:
        if days := self.last_days:
            yield ngettext("last %(days)d day", "last %(days)d days", days) % {"days": days}
        for text, moment in ((_("since %s"), self.start_at), (_("before %s"), self.end_at)):
            if moment:
                yield text % f"{localtime(moment):%Y-%m-%d %H:%M}"

    def clean(self) -> None:
        if self.last_days and (self.start_at or self.end_at):
            raise ValidationError(
                {"last_days": _("Either the last days or a start and an end, not both.")}
            )
        if self.start_at and self.end_at and self.start_at >= self.end_at:
            raise ValidationError({"end_at": _("The end must be after the start.")})
        if self.kind == self.Kind.ORDERS and self.at_least and self.at_least % 1:
            raise ValidationError({"at_least": _("A number of orders has no decimals.")})


class CrowdPart(models.Model):
    """Members of one origin: added by operators (no job), or found by one run of a job.

    Only live parts count. A run fills a part that is not live, by the rule that its job had at the
    start, and then swaps it for the previous part in one transaction. A part that is neither live
    nor being filled is retired, also when its crowd is deleted; its members are deleted in batches.
    """

    tag = models.ForeignKey(
        CrowdTag,
        verbose_name=_("crowd tag"),
        null=True,
        on_delete=models.SET_NULL,
        related_name="parts",
    )
    job = models.ForeignKey(
        CrowdJob, verbose_name=_("crowd job"), null=True, on_delete=models.PROTECT
    )
    is_live = models.BooleanField(_("live"), default=False)
    is_planned = models.BooleanField(_("planned"), default=False)
    planning_until = models.DateTimeField(_("being planned until"), null=True)
    kind = models.PositiveSmallIntegerField(
        _("what counts"), null=True, choices=CrowdJob.Kind.choices
    )
    at_least = models.DecimalField(_("at least"), max_digits=12, decimal_places=2, null=True)
    since = models.DateTimeField(_("paid at or after"), null=True)
    until = models.DateTimeField(_("paid before"), null=True)
    started_at = models.DateTimeField(_("started at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    size = models.PositiveIntegerField(_("members"), null=True)

    class Meta:
        verbose_name = _("part of a crowd")
        verbose_name_plural = _("parts of a crowd")

    def __str__(self) -> str:
        return f"{self.tag_id}: {self.job or '-'}"


class CrowdMember(models.Model):
    """This user is in this part of a crowd."""

    part = models.ForeignKey(
        CrowdPart,
        verbose_name=_("part of a crowd"),
        on_delete=models.CASCADE,
        related_name="members",
        db_index=False,
    )
    user = models.ForeignKey(CrowdUser, verbose_name=_("user"), on_delete=models.PROTECT)

    class Meta:
        verbose_name = _("crowd member")
        verbose_name_plural = _("crowd members")
        constraints = [models.UniqueConstraint(fields=["part", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.part.tag_id}"


class CrowdSlice(models.Model):
    """A range of user ids, after < id ≤ upto ("": no bound), for one worker at a time.

    A worker may claim it once leased_until has passed, and moves leased_until to the end of its own
    lease. NULL: the slice is done.
    """

    part = models.ForeignKey(
        CrowdPart, on_delete=models.CASCADE, related_name="slices", db_index=False
    )
    after = models.CharField(max_length=64, blank=True)
    upto = models.CharField(max_length=64, blank=True)
    leased_until = models.DateTimeField(null=True)
    found = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["part", "leased_until"], name="slice_by_lease")]

    def __str__(self) -> str:
        return f"{self.part_id}: {self.after} – {self.upto}"
