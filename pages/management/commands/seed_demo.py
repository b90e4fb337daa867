"""Load the demo: the contract's data, and a dozen goods more. Running it again adds nothing.

With --teams it also opens a few teams for goods that have none, so that the shopper pages show
something. These teams run out of time like any others. With --history it also plays thirty days of
trade, once."""

import json
import secrets
import time
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from activity.discounts import Plan
from activity.models import Activity, Discount, Offer, Sku
from groupbuy.channels import KnownChannel
from groupbuy.errors import GroupBuyError
from groupbuy.models import ApiKey, Channel
from pages.management.goods import CROWD, DEMOS, MEMBERS, SUBSCRIPTIONS, TEAMS, Demo
from pages.management.history import CAMPAIGNS, DAYS, play
from pages.start import DEMO_FILE
from tag.crowd import add_members
from tag.models import CrowdTag
from trade.lock import LockCommand, lock_order
from trade.models import Order, Team, Transport
from trade.settle import SettleCommand, settle_order

SECOND_FILE = DEMO_FILE.with_name("demo-s03-c01.json")
# Paths of the platform's dummy receiver and of examples/mall.
OWN_PATHS = (
    "/api/v1/test/group_buy_notify",
    "/api/v1/alipay/group_buy_refund_notify",
    "/checkout",
)


class Command(BaseCommand):
    help = "Load demo goods, activities and a crowd; with DEMO=true also a console user and a key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--refund-url", default="", help="the mall's URL for refund callbacks")
        parser.add_argument("--checkout-url", default="", help="where the mall's shoppers buy")
        parser.add_argument("--second-mall", metavar="URL", help="add s03/c01 with this mall")
        parser.add_argument("--teams", metavar="URL", help="open teams; callbacks go to this URL")
        parser.add_argument(
            "--history",
            metavar="URL",
            help="play thirty days of trade, while no worker runs; retries go to this URL",
        )
        parser.add_argument("--seed", type=int, default=1, help="of the history")

    def handle(
        self,
        *args: Any,
        refund_url: str,
        checkout_url: str,
        teams: str | None,
        history: str | None,
        seed: int,
        second_mall: str | None,
        **options: Any,
    ) -> None:
        with transaction.atomic():
            hosts = {"callback_hosts": "http://127.0.0.1\nhttp://localhost"}
            channel, _ = Channel.objects.get_or_create(
                source="s01", channel="c01", defaults={"name": "演示商城", **hosts}
            )
            _connect(channel, refund_notify_url=refund_url, checkout_url=checkout_url)
            blocked, _ = Channel.objects.get_or_create(
                source="s02", channel="c02", defaults={"name": "黑名单演示", **hosts}
            )
            _connect(blocked, refund_notify_url=refund_url)
            crowd, _ = CrowdTag.objects.get_or_create(
                tag_id=CROWD, defaults={"name": "演示人群", "description": "小傅哥和他的朋友们"}
            )
            add_members(crowd, MEMBERS)
            for demo in DEMOS:
                _seed(demo, channel, crowd)
        self.stdout.write(f"The demo's {len(DEMOS)} activities are in place.")
        if settings.DEMO:
            _credentials(channel)
        if second_mall:
            _second_mall(second_mall)
        if teams:
            opened = 0
            for each in TEAMS:
                with suppress(GroupBuyError):  # an operator has changed the activity's rules
                    opened += _open_team(*each, notify_url=teams)
            self.stdout.write(f"{opened} teams were opened.")
        if history:
            self._play(history, channel, seed)

    def _play(self, url: str, channel: Channel, seed: int) -> None:
        """Play thirty days on the demo's channel and on a second one, unless it was done before."""
        unfinished = settings.VAR_DIR / "history_unfinished"
        if Channel.objects.filter(source="s03", channel="c03").exists():  # played before
            if unfinished.exists():
                text = f"The history was interrupted. To play all of it, remove {settings.VAR_DIR}."
                self.stderr.write(text)
            return
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        self.stdout.write("Playing thirty days of trade, once …")
        self.stdout.flush()
        if not channel.refund_notify_url:
            _connect(channel, refund_notify_url=url)
        second = _second_channel(url.replace("127.0.0.1", "localhost"))
        started = time.monotonic()
        urls = {channel.channel: url, second.channel: second.refund_notify_url}
        known = [KnownChannel.of(each) for each in (channel, second)]
        play(known, urls, now=timezone.now(), seed=seed)
        unfinished.unlink()
        orders, seconds = Order.objects.count(), time.monotonic() - started
        self.stdout.write(f"Thirty days with {orders} orders were played in {seconds:.0f} s.")


def _second_channel(url: str) -> Channel:
    """A channel that sells the same goods."""
    second = Channel.objects.create(
        source="s03",
        channel="c03",
        name="演示小程序",
        callback_hosts="http://localhost",
        refund_notify_url=url,
    )
    for campaign in CAMPAIGNS:
        sku = Sku.objects.get(goods_id=campaign.goods_id)
        Offer.objects.create(channel=second, sku=sku, activity_id=campaign.activity_id)
    return second


def _connect(channel: Channel, **urls: str) -> None:
    """Set the mall's URLs, which may have a new port. URLs that an operator has entered stay."""
    for field, url in urls.items():
        now = urlsplit(getattr(channel, field))
        is_ours = now.hostname in (None, "127.0.0.1") and now.path in ("", *OWN_PATHS)
        if url and is_ours:
            setattr(channel, field, url)
    channel.save(update_fields=list(urls))


def _second_mall(url: str) -> None:
    """The second product: its channel, its offers, and in the demo the credentials of its mall."""
    channel, _ = Channel.objects.get_or_create(
        source="s03",
        channel="c01",
        defaults={"name": "会员商城", "callback_hosts": "http://127.0.0.1"},
    )
    _connect(
        channel,
        refund_notify_url=f"{url}/api/v1/alipay/group_buy_refund_notify",
        checkout_url=f"{url}/checkout",
    )
    for demo in SUBSCRIPTIONS:
        _seed(demo, channel, None, picture="")
    if settings.DEMO:
        is_known = SECOND_FILE.exists() and ApiKey.objects.filter(channel=channel).exists()
        found = json.loads(SECOND_FILE.read_text("utf-8")) if is_known else _new_key(channel)
        _keep(SECOND_FILE, found, channel)


def _seed(
    demo: Demo, channel: Channel, crowd: CrowdTag | None, *, picture: str = "goods/{}.svg"
) -> None:
    now = timezone.now()
    sku, _ = Sku.objects.get_or_create(
        goods_id=demo.goods_id,
        defaults={
            "name": demo.goods,
            "original_price": Decimal(demo.price),
            "picture": picture.format(demo.goods_id),
        },
    )
    if Activity.objects.filter(pk=demo.activity_id).exists():
        return  # keep what an operator has changed since
    activity = Activity.objects.create(
        pk=demo.activity_id,
        name=f"{demo.goods} 拼团",
        discount=_discount(demo, crowd),
        group_type=demo.group_type,
        target_count=demo.target,
        take_limit=demo.limit,
        valid_minutes=demo.minutes,
        status=Activity.Status.IN_EFFECT,
        start_at=now - timedelta(days=DAYS + 1),
        end_at=now + timedelta(days=365),
        crowd=crowd if demo.see_only or demo.join_only else None,
        restrict_visible=demo.see_only,
        restrict_join=demo.join_only,
    )
    Offer.objects.create(channel=channel, sku=sku, activity=activity)


def _open_team(activity_id: int, members: list[str], paid: int, *, notify_url: str) -> bool:
    """Open a team of these members, unless the activity has an open one; return whether it did."""
    now = timezone.now()
    open_teams = Team.objects.filter(activity=activity_id, status=Team.Status.FORMING)
    if open_teams.filter(expires_at__gt=now).exists():
        return False
    goods_id = next(demo.goods_id for demo in DEMOS if demo.activity_id == activity_id)
    channel = KnownChannel.of(Channel.objects.get(source="s01", channel="c01"))
    team_id = ""
    for number, user_id in enumerate(members):
        lock = LockCommand(
            user_id=user_id,
            channel=channel,
            goods_id=goods_id,
            activity_id=activity_id,
            out_trade_no=f"demo-{secrets.token_hex(6)}",
            team_id=team_id,
            notify_transport=Transport.HTTP,
            notify_url=notify_url,
        )
        order = lock_order(lock, now=now)
        team_id = str(order.team_id)
        if number < paid:
            payment = SettleCommand(
                channel=channel, user_id=user_id, out_trade_no=order.out_trade_no, paid_at=now
            )
            settle_order(payment, now=now)
    return True


def _discount(demo: Demo, crowd: CrowdTag | None) -> Discount:
    terms = {
        "plan": demo.plan,
        "expression": demo.expression,
        "crowd": crowd if demo.discount_crowd else None,
    }
    return Discount.objects.filter(**terms).first() or Discount.objects.create(
        name=_name(demo), **terms
    )


def _name(demo: Demo) -> str:
    """直减 20, 满 100 减 10, 8 折 or 1.99 元购; a discount for the crowd is marked as such."""
    match demo.plan:
        case Plan.MINUS:
            name = f"直减 {demo.expression}"
        case Plan.THRESHOLD:
            name = "满 {} 减 {}".format(*demo.expression.split(","))
        case Plan.RATE:
            name = f"{(Decimal(demo.expression) * 10).normalize():f} 折"
        case Plan.FIXED:
            name = f"{demo.expression} 元购"
    return f"{name}（人群专享）" if demo.discount_crowd else name


def _credentials(channel: Channel) -> None:
    """Create a console user and an API key for the demo; a file beside the database keeps them."""
    is_known = DEMO_FILE.exists() and User.objects.filter(username="demo").exists()
    found = json.loads(DEMO_FILE.read_text("utf-8")) if is_known else _new_user(channel)
    _keep(DEMO_FILE, found, channel)


def _new_user(channel: Channel) -> dict[str, str]:
    password = secrets.token_urlsafe(9)
    user, _ = User.objects.get_or_create(
        username="demo", defaults={"is_staff": True, "is_superuser": True}
    )
    user.set_password(password)
    user.save()
    return {"user": "demo", "password": password} | _new_key(channel)


def _new_key(channel: Channel) -> dict[str, str]:
    key, text = ApiKey.issue(channel=channel, name="demo")
    key.save()
    return {"api_key": text}


def _keep(file: Path, credentials: dict[str, str], channel: Channel) -> None:
    """Write the credentials and the channel's secrets for this user only."""
    found = {"webhook_secret": channel.webhook_secret, "page_secret": channel.page_secret}
    file.touch(mode=0o600)
    file.write_text(json.dumps(credentials | found, indent=2), "utf-8")
