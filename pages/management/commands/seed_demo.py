"""Load the demo: the contract's data, and a dozen goods more. Running it again adds nothing.

With --teams it also opens a few teams, where the demo's goods have none, so that the shopper pages
show something. They are real ones: they run out of time like any other. With --history it also
plays thirty days of trade, once."""

import json
import secrets
import time
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
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
from pages.management.history import CAMPAIGNS, DAYS, play
from pages.start import DEMO_FILE
from tag.crowd import add_members
from tag.models import CrowdTag
from trade.lock import LockCommand, lock_order
from trade.models import Order, Team, Transport
from trade.settle import SettleCommand, settle_order

CROWD = "RQ_KJHKL98UU78H66554GFDV"
MEMBERS = ["xiaofuge", "liergou", *(f"xfg{n:02}" for n in range(1, 10))]
FILL, SHOP = Activity.GroupType.MUST_FILL, Activity.GroupType.SHOP_COMPLETES


class Demo(NamedTuple):
    """One activity of the demo with its goods."""

    activity_id: int
    goods_id: str
    goods: str
    price: str
    plan: Plan
    expression: str
    target: int
    minutes: int
    limit: int = 1
    group_type: int = FILL
    see_only: bool = False
    join_only: bool = False
    discount_crowd: bool = False


DEMOS = [
    Demo(100123, "9890001", "《手写MyBatis：渐进式源码实践》", "100.00", Plan.MINUS, "20", 3, 15),
    Demo(100124, "9890002", "云南小粒咖啡豆 454g", "59.90", Plan.RATE, "0.8", 2, 60 * 24, 3),
    Demo(100125, "9890003", "手冲陶瓷滤杯套装", "128.00", Plan.THRESHOLD, "100,10", 3, 60 * 24),
    Demo(100126, "9890004", "赣南脐橙 5 斤装", "39.90", Plan.FIXED, "1.99", 5, 120),
    Demo(100127, "9890005", "羽绒枕", "159.00", Plan.MINUS, "40", 3, 60 * 24, 2, SHOP),
    Demo(100128, "9890006", "87 键机械键盘", "399.00", Plan.RATE, "0.75", 4, 60 * 48, 1, FILL,
         join_only=True),
    Demo(100129, "9890007", "便携蓝牙音箱", "229.00", Plan.THRESHOLD, "200,50", 2, 60 * 12),
    Demo(100130, "9890008", "不锈钢保温杯 500ml", "89.00", Plan.FIXED, "59.90", 3, 60 * 24, 5),
    Demo(100131, "9890009", "亲子绘本套装（10 册）", "168.00", Plan.RATE, "0.6", 10, 60 * 72, 1,
         SHOP),
    Demo(100132, "9890010", "瑜伽垫", "79.00", Plan.MINUS, "15", 2, 60 * 24, 1, FILL,
         see_only=True, join_only=True),
    Demo(100133, "9890011", "多肉植物组合", "29.90", Plan.FIXED, "9.90", 3, 60, 2),
    Demo(100134, "9890012", "帆布双肩包", "149.00", Plan.MINUS, "50", 3, 60 * 24, 1, FILL,
         discount_crowd=True),
    Demo(100135, "9890013", "五常大米 5kg", "69.90", Plan.THRESHOLD, "50,12", 4, 60 * 24, 3, SHOP),
]  # fmt: skip


# Activity, members, how many of them have paid.
TEAMS = [
    (100124, ["xfg02"], 1),
    (100125, ["xfg03", "xfg04"], 1),
    (100127, ["xfg05"], 1),
    (100130, ["xfg06", "xfg07"], 2),
    (100131, ["xfg01", "xfg03", "xfg05", "xfg07", "xfg08"], 4),
    (100135, ["xfg08", "xfg09", "xfg02"], 2),
]


# What the second mall sells, on a channel of its own: subscriptions.
SUBSCRIPTIONS = [
    Demo(100201, "9890101", "影音会员 · 一年", "198.00", Plan.FIXED, "128.00", 2, 60 * 24),
    Demo(100202, "9890102", "笔记专业版 · 一年", "88.00", Plan.RATE, "0.5", 3, 60 * 24),
]
SECOND_FILE = DEMO_FILE.with_name("demo-s03-c01.json")


# Of the platform's dummy receiver, and of examples/mall.
OWN_PATHS = (
    "/api/v1/test/group_buy_notify",
    "/api/v1/alipay/group_buy_refund_notify",
    "/checkout",
)


class Command(BaseCommand):
    help = "Load demo goods, activities and a crowd; with DEMO=true also a console user and a key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--refund-url", default="", help="where the mall hears of refunds")
        parser.add_argument("--checkout-url", default="", help="where the mall's shoppers buy")
        parser.add_argument("--second-mall", metavar="URL", help="add s03/c01, whose mall is there")
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
        self.stdout.write(f"{len(DEMOS)} activities are there.")
        if settings.DEMO:
            _credentials(channel)
        if second_mall:
            _second_mall(second_mall)
        if teams:
            opened = 0
            for each in TEAMS:
                with suppress(GroupBuyError):  # an operator has changed its rules
                    opened += _open_team(*each, notify_url=teams)
            self.stdout.write(f"{opened} teams were opened.")
        if history:
            self._play(history, channel, seed)

    def _play(self, url: str, channel: Channel, seed: int) -> None:
        """Thirty days on the demo's channel and a second one, whose mall was down for a night."""
        if Channel.objects.filter(source="s03", channel="c03").exists():
            return  # it was played before
        self.stdout.write("Playing thirty days of trade, once …")
        self.stdout.flush()
        if not channel.refund_notify_url:
            _connect(channel, refund_notify_url=url)
        second = _second_channel(url.replace("127.0.0.1", "localhost"))
        started = time.monotonic()
        urls = {channel.channel: url, second.channel: second.refund_notify_url}
        known = [KnownChannel.of(each) for each in (channel, second)]
        play(known, urls, now=timezone.now(), seed=seed)
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
    """The demo's mall may have moved to another port. What an operator has entered stays."""
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
        key, text = ApiKey.issue(channel=channel, name="demo")
        key.save()
        secrets_of = {"webhook_secret": channel.webhook_secret, "page_secret": channel.page_secret}
        SECOND_FILE.touch(mode=0o600)
        SECOND_FILE.write_text(json.dumps({"api_key": text} | secrets_of), "utf-8")


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
        return  # what an operator has changed since stays
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
    """A team of these members, unless the activity has an open one."""
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
    """直减 20, 满 100 减 10, 8 折, 1.99 元购; the crowd's own ones say so."""
    match demo.plan:
        case Plan.MINUS:
            name = f"直减 {demo.expression}"
        case Plan.THRESHOLD:
            name = "满 {} 减 {}".format(*demo.expression.split(","))
        case Plan.RATE:
            name = f"{(Decimal(demo.expression) * 10).normalize():f} 折"
        case Plan.FIXED:
            name = f"{demo.expression} 元购"
    return f"{name}（仅人群）" if demo.discount_crowd else name


def _credentials(channel: Channel) -> None:
    """A console user and a channel key for this machine's demo, kept beside its database."""
    if DEMO_FILE.exists() and User.objects.filter(username="demo").exists():
        demo = json.loads(DEMO_FILE.read_text("utf-8"))
    else:
        demo = _new_credentials(channel)
        DEMO_FILE.touch(mode=0o600)
    demo |= {"webhook_secret": channel.webhook_secret, "page_secret": channel.page_secret}
    DEMO_FILE.write_text(json.dumps(demo, indent=2), "utf-8")


def _new_credentials(channel: Channel) -> dict[str, str]:
    password = secrets.token_urlsafe(9)
    user, _ = User.objects.get_or_create(
        username="demo", defaults={"is_staff": True, "is_superuser": True}
    )
    user.set_password(password)
    user.save()
    key, text = ApiKey.issue(channel=channel, name="demo")
    key.save()
    return {"user": "demo", "password": password, "api_key": text}
