"""The tables: goods (商品), shoppers and their logins, orders (订单), refunds and messages."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

LONGEST_ID = 64


class Goods(models.Model):
    goods_id = models.CharField(_("goods"), max_length=32, primary_key=True)
    name = models.CharField(_("name"), max_length=128)
    price = models.DecimalField(_("price alone"), max_digits=12, decimal_places=2)
    picture = models.CharField(_("picture"), max_length=512, blank=True)
    on_sale = models.BooleanField(_("on sale"), default=True)
    is_key = models.BooleanField(
        _("delivered as a key"),
        default=False,
        help_text=_("For a subscription or a licence: the shopper gets a key instead of a parcel."),
    )

    class Meta:
        verbose_name = verbose_name_plural = _("goods")

    def __str__(self) -> str:
        return self.name

    @property
    def letter(self) -> str:
        """Shown where there is no picture; a name may begin with a quotation mark."""
        return next((each for each in self.name if each.isalnum()), self.name[:1])

    @property
    def picture_url(self) -> str:
        """A picture that is only a path is the platform's, wherever that is reached now."""
        return f"{settings.PLATFORM_URL if self.picture.startswith('/') else ''}{self.picture}"


class Shopper(models.Model):
    """A person. user_id is WeChat's openid, and identifies the person at the platform."""

    user_id = models.CharField(_("user id"), max_length=LONGEST_ID, unique=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("shopper")
        verbose_name_plural = _("shoppers")

    def __str__(self) -> str:
        return self.user_id


class Device(models.Model):
    """A browser that can log in again without a scan (无痕登录), by a secret of its own."""

    digest = models.CharField(max_length=64, unique=True)
    shopper = models.ForeignKey(Shopper, on_delete=models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"browser {self.pk} of {self.shopper}"


class Ticket(models.Model):
    """A QR code, valid for three minutes, one scan and one login."""

    ticket = models.CharField(max_length=64, unique=True)  # WeChat's scene
    wechat_ticket = models.CharField(max_length=256, blank=True)  # WeChat's ticket for its picture
    expires_at = models.DateTimeField()
    shopper = models.ForeignKey(Shopper, null=True, on_delete=models.CASCADE)  # NULL: not scanned
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"ticket {self.pk}"


class Order(models.Model):
    class Kind(models.IntegerChoices):
        """The wire's marketType."""

        ALONE = 0, _("alone")
        TEAM = 1, _("in a team")

    class Status(models.TextChoices):
        CREATE = "CREATE", _("being placed")
        PAY_WAIT = "PAY_WAIT", _("to be paid")
        PAY_SUCCESS = "PAY_SUCCESS", _("paid")
        MARKET = "MARKET", _("team complete")
        DEAL_DONE = "DEAL_DONE", _("sent to you")
        WAIT_REFUND = "WAIT_REFUND", _("money on its way back")
        CLOSE = "CLOSE", _("closed")

    number = models.CharField(_("number"), max_length=32, unique=True)  # the wire's outTradeNo
    shopper = models.ForeignKey(Shopper, on_delete=models.PROTECT, verbose_name=_("shopper"))
    goods = models.ForeignKey(Goods, on_delete=models.PROTECT, verbose_name=_("goods"))
    kind = models.PositiveSmallIntegerField(_("kind"), choices=Kind)
    wanted_team = models.CharField(max_length=32, blank=True)  # the team to join; "" opens one
    # True until paid or closed, then NULL, so that one_open_order allows one open order.
    is_open = models.BooleanField(null=True, default=True)
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.CREATE)
    goods_name = models.CharField(max_length=128)
    price = models.DecimalField(_("price alone"), max_digits=12, decimal_places=2)
    amount = models.DecimalField(_("to pay"), max_digits=12, decimal_places=2, null=True)
    activity_id = models.BigIntegerField(null=True)
    team_id = models.CharField(_("team"), max_length=32, blank=True)
    created_at = models.DateTimeField(_("created"))
    pay_by = models.DateTimeField(_("to be paid until"), null=True)
    asked_at = models.DateTimeField(null=True)  # the last query of Alipay
    trade_no = models.CharField(_("Alipay's number"), max_length=64, blank=True)
    paid_at = models.DateTimeField(_("paid at"), null=True)
    settled_at = models.DateTimeField(null=True)
    settle_code = models.CharField(max_length=8, blank=True)  # the platform's final refusal
    wants_back = models.BooleanField(_("given back"), default=False)
    seat_gone = models.BooleanField(default=False)  # the platform has released the unpaid seat
    close_reason = models.CharField(_("reason"), max_length=32, blank=True)
    key = models.CharField(_("key"), max_length=32, blank=True)  # delivered, if goods.is_key
    # When the loop takes the next step; NULL: only after another event of the order.
    due_at = models.DateTimeField(null=True, db_index=True)
    tries = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        constraints = [
            models.UniqueConstraint(
                fields=["shopper", "goods", "kind", "wanted_team", "is_open"],
                name="one_open_order",
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def in_team(self) -> bool:
        return self.kind == self.Kind.TEAM


class Refund(models.Model):
    """Money that goes back (退款); at most one refund for each payment."""

    class State(models.TextChoices):
        REQUESTED = "requested", _("to be sent")
        SENT = "sent", _("sent")
        CONFIRMED = "confirmed", _("confirmed")

    order = models.ForeignKey(Order, on_delete=models.PROTECT, verbose_name=_("order"))
    trade_no = models.CharField(_("Alipay's number"), max_length=64, unique=True)
    # The same in every attempt, so that Alipay returns the money once.
    out_request_no = models.CharField(max_length=64, unique=True)
    amount = models.DecimalField(_("amount"), max_digits=12, decimal_places=2)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.REQUESTED)
    cause = models.CharField(_("cause"), max_length=32)
    requested_at = models.DateTimeField(_("requested at"))
    sent_at = models.DateTimeField(_("sent at"), null=True)
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True)
    problem = models.CharField(_("problem"), max_length=255, blank=True)  # of the last attempt
    due_at = models.DateTimeField(null=True, db_index=True)
    tries = models.PositiveIntegerField(_("tries"), default=0)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")

    def __str__(self) -> str:
        return self.out_request_no


class Notice(models.Model):
    """A verified notification from Alipay, and the verdict on it."""

    notify_id = models.CharField(max_length=128, unique=True)
    received_at = models.DateTimeField(_("received at"))
    out_trade_no = models.CharField(_("order"), max_length=64, blank=True)
    trade_no = models.CharField(_("Alipay's number"), max_length=64, blank=True)
    trade_status = models.CharField(_("status"), max_length=32, blank=True)
    total_amount = models.CharField(_("amount"), max_length=32, blank=True)
    verdict = models.CharField(_("verdict"), max_length=32)
    fields = models.JSONField()

    class Meta:
        verbose_name = _("notice of Alipay")
        verbose_name_plural = _("notices of Alipay")

    def __str__(self) -> str:
        return f"{self.out_trade_no} {self.verdict}"


class Received(models.Model):
    """A notification from the platform, stored in the same transaction as its effect."""

    key = models.CharField(max_length=128, unique=True)
    via = models.CharField(max_length=8)  # http, mq or events
    payload = models.JSONField()
    received_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class Cursor(models.Model):
    """The position up to which GET events has been read; one row."""

    after = models.BigIntegerField(default=0)
    read_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"events after {self.after}"


class Message(models.Model):
    """A message to the shopper; one of each kind for an order."""

    class Kind(models.TextChoices):
        OPENED = "opened", _("You have opened a team")
        JOINED = "joined", _("You have joined a team")
        COMPLETE = "complete", _("Your team is complete")
        FAILED = "failed", _("Your team was not filled in time")
        CANCELLED = "cancelled", _("Your order is cancelled")
        RETURNED = "returned", _("Your money is back")

    shopper = models.ForeignKey(Shopper, on_delete=models.CASCADE)
    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    kind = models.CharField(max_length=12, choices=Kind)
    created_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "kind"], name="message_once")]

    def __str__(self) -> str:
        return f"{self.order_id} {self.kind}"


RETURNS_WITHIN = timedelta(days=1)  # a refund that is older needs an operator's attention
