"""Channels (渠道), their API keys, and the live switches."""

import base64
import hashlib
import re
import secrets
from typing import Self

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from groupbuy.hosts import is_allowed, validate_allow_list, validate_http_url


def new_webhook_secret() -> str:
    """A Standard Webhooks secret: whsec_ and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def new_page_secret() -> str:
    """A new secret for hand-over links: gbp_ and 32 random bytes in hex."""
    return f"gbp_{secrets.token_hex(32)}"


def validate_page_secret(value: str) -> None:
    if not re.fullmatch(r"gbp_[!-~]{32,120}", value):
        raise ValidationError(_("Expected gbp_ and 32 to 120 characters without spaces."))


def validate_webhook_secret(value: str) -> None:
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not value.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValidationError(_("Expected whsec_ and 24 to 64 bytes in base64."))


class Channel(models.Model):
    """One shop front of a mall: source + channel on the wire."""

    source = models.CharField(_("source"), max_length=32, validators=[RegexValidator(r"^\S+$")])
    channel = models.CharField(_("channel"), max_length=32, validators=[RegexValidator(r"^\S+$")])
    name = models.CharField(_("name"), max_length=64)
    callback_hosts = models.TextField(
        _("callback hosts"),
        blank=True,
        validators=[validate_allow_list],
        help_text=_(
            "Where callbacks may go, one per line: mall.example.com (https, any port), "
            "mall.example.com:8443, or http://10.0.0.5:8080 to allow plain http."
        ),
    )
    refund_notify_url = models.CharField(
        _("refund callback URL"), max_length=512, blank=True, validators=[validate_http_url]
    )
    webhook_secret = models.CharField(
        _("webhook secret"),
        max_length=128,
        default=new_webhook_secret,
        validators=[validate_webhook_secret],
    )
    previous_webhook_secret = models.CharField(
        _("previous webhook secret"),
        max_length=128,
        blank=True,
        validators=[validate_webhook_secret],
        help_text=_("While a secret is being rotated, callbacks carry both signatures."),
    )
    checkout_url = models.CharField(
        _("checkout URL"),
        max_length=512,
        blank=True,
        validators=[validate_http_url],
        help_text=_("Where the pages send a shopper who wants to buy, join or pay."),
    )
    pays_outside_wechat = models.BooleanField(
        _("payment needs a browser outside WeChat"),
        default=False,
        help_text=_(
            "Alipay, for example, does not open inside WeChat. The pages then show WeChat users how"
            " to go on in their browser."
        ),
    )
    page_secret = models.CharField(
        _("page secret"),
        max_length=128,
        default=new_page_secret,
        validators=[validate_page_secret],
        help_text=_("The mall signs the links with it by which its shoppers come to the pages."),
    )
    previous_page_secret = models.CharField(
        _("previous page secret"),
        max_length=128,
        blank=True,
        validators=[validate_page_secret],
        help_text=_("While a secret is being rotated, links signed with either are good."),
    )
    allow_without_key = models.BooleanField(
        _("allow without key"),
        default=False,
        help_text=_("Only for malls on a trusted network that cannot send an API key."),
    )

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        constraints = [
            models.UniqueConstraint(fields=["source", "channel"], name="channel_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.source}/{self.channel} {self.name}"

    @property
    def page_secrets(self) -> tuple[str, ...]:
        """The secrets that sign links to the pages, the current one first."""
        return tuple(filter(None, (self.page_secret, self.previous_page_secret)))

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that sign callbacks, the current one first."""
        return tuple(filter(None, (self.webhook_secret, self.previous_webhook_secret)))

    def clean(self) -> None:
        if self.refund_notify_url and not self.allows(self.refund_notify_url):
            text = _("Its scheme, host and port are not among the callback hosts.")
            raise ValidationError({"refund_notify_url": text})

    def allows(self, url: str) -> bool:
        """Is this URL's scheme, host and port on the allow-list? Unreadable URLs are not."""
        return is_allowed(url, self.callback_hosts)


class ApiKey(models.Model):
    """An API key, gbm_<prefix>_<secret>, of which only the prefix and a SHA-256 are stored."""

    prefix = models.CharField(_("prefix"), max_length=16, unique=True, editable=False)
    digest = models.CharField(_("SHA-256"), max_length=64, editable=False)
    channel = models.ForeignKey(
        Channel,
        verbose_name=_("channel"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="api_keys",
        help_text=_("Empty: an operator key, which may change settings but not trade."),
    )
    name = models.CharField(_("name"), max_length=64)
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return f"gbm_{self.prefix}_… {self.name}"

    @classmethod
    def issue(cls, *, channel: Channel | None, name: str) -> tuple[Self, str]:
        """A new unsaved key, and its text, which is stored nowhere."""
        text = f"gbm_{secrets.token_hex(4)}_{secrets.token_hex(24)}"
        return cls(prefix=text.split("_")[1], digest=digest(text), channel=channel, name=name), text


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Switch(models.Model):
    """A live switch (groupbuy/switches.py says what each value means)."""

    class Key(models.TextChoices):
        DOWNGRADE = "downgradeSwitch", _("Refuse every trial")
        CUT_RANGE = "cutRange", _("Percentage of users admitted")
        BLACKLIST = "scBlacklist", _("Channels refused at settlement")
        CACHE = "cacheSwitch", _("Bypass every copy of the database")
        RATE_LIMITER = "rateLimiterSwitch", _("Limit request rates")
        INDEX_USER = "indexUserLimit", _("Limit: index queries of a shopper at an address")
        INDEX_ADDRESS = "indexAddressLimit", _("Limit: index queries of an address")
        PAGE_ADDRESS = "pageAddressLimit", _("Limit: shopper pages of an address")
        TRADE_USER = "tradeUserLimit", _("Limit: trials, locks and keyed queries of a shopper")
        TRADE_CHANNEL = "tradeChannelLimit", _("Limit: calls of a channel")
        HOLDS = "holdLimit", _("Limit: seats that a shopper may hold unpaid")
        KEEP_SESSIONS = "keepSessions", _("Days that ended console sessions are kept")
        KEEP_NOTIFICATIONS = (
            "keepNotifications",
            _("Days that delivered notifications are kept"),
        )
        KEEP_RUNS = "keepStoppedRuns", _("Days that a stopped crowd run is kept")
        KEEP_LOG = "keepLogEntries", _("Days that the console's history is kept")
        KEEP_CHANGES = "keepSwitchChanges", _("Days that changes of switches are kept")

    key = models.CharField(_("key"), max_length=32, primary_key=True, choices=Key.choices)
    value = models.CharField(_("value"), max_length=1000, blank=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)
    changed_by = models.CharField(
        _("changed by"), max_length=150, blank=True, editable=False, help_text=_("user or API key")
    )

    class Meta:
        verbose_name = _("switch")
        verbose_name_plural = _("switches")
        permissions = [("unblock_switch", "Can unblock clients")]

    def __str__(self) -> str:
        return self.key


class SwitchChange(models.Model):
    """One change of a switch: by whom, when, from which value to which."""

    switch = models.ForeignKey(
        Switch, verbose_name=_("switch"), on_delete=models.CASCADE, related_name="changes"
    )
    before = models.CharField(_("before"), max_length=1000, blank=True)
    after = models.CharField(_("after"), max_length=1000, blank=True)
    at = models.DateTimeField(_("changed at"), auto_now_add=True)
    by = models.CharField(_("changed by"), max_length=150)
    reason = models.CharField(_("reason"), max_length=200, blank=True, db_default="")
    confirmed_by = models.CharField(_("confirmed by"), max_length=150, blank=True, db_default="")

    class Meta:
        verbose_name = _("change of a switch")
        verbose_name_plural = _("changes of a switch")

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


class Proposal(models.Model):
    """A change of a row that waits for a second person (groupbuy/proposals.py)."""

    class State(models.IntegerChoices):
        WAITING = 0, _("waiting")
        CONFIRMED = 1, _("confirmed")
        REJECTED = 2, _("rejected")
        WITHDRAWN = 3, _("withdrawn")

    model = models.CharField(max_length=100)
    key = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    before = models.JSONField()  # the texts of all fields
    after = models.JSONField()  # the texts of the fields that change
    reason = models.CharField(_("reason"), max_length=200)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, "proposals", verbose_name=_("proposed by")
    )
    at = models.DateTimeField(_("proposed at"))
    state = models.PositiveSmallIntegerField(choices=State.choices, default=State.WAITING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, "decisions", null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("proposed change")
        verbose_name_plural = _("proposed changes")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(state=1, decided_by=models.F("user")),
                name="proposal_is_confirmed_by_another",
            )
        ]

    def __str__(self) -> str:
        return f"{apps.get_model(self.model)._meta.verbose_name} {self.name}"


class Export(models.Model):
    """A list of the console that is written to a file (groupbuy/exports.py).

    A worker may claim it once leased_until has passed; NULL once it has finished, or failed with an
    error. after is the last key that was written, "" at first; size is how many bytes the file has
    up to that key.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    model = models.CharField(max_length=100)
    query = models.TextField(blank=True)
    kind = models.CharField(max_length=4)
    language = models.CharField(max_length=10)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    leased_until = models.DateTimeField(null=True, db_index=True)
    after = models.CharField(max_length=64, blank=True)
    last_key = models.CharField(max_length=64, blank=True)
    is_read = models.BooleanField(default=False)
    rows = models.PositiveBigIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.model}?{self.query}"
