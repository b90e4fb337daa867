"""Rows to join, to settle, to refund and to be refused, written before the measurement."""

import uuid
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from activity.models import Offer
from groupbuy.ids import new_id
from tag import bitmaps
from tag.crowd import add_members
from trade.models import Order, Team

NOTIFY_URL = "http://127.0.0.1:9/notify"
BATCH = 1000


def users(count: int) -> list[str]:
    return [uuid.uuid4().hex for _ in range(count)]


def crowd_goods(user_ids: list[str]) -> str:
    """The goods_id of goods that only a crowd may buy, after adding these users to the crowd."""
    offer = Offer.objects.select_related("sku", "activity__crowd").get(activity=100128)
    assert offer.activity.crowd is not None
    add_members(offer.activity.crowd, user_ids)
    bitmaps.refresh()
    return offer.sku.goods_id


def make_teams(
    count: int, members: int, *, paid: int = 0, notify_url: str = NOTIFY_URL
) -> list[tuple[str, list[str]]]:
    """Make teams of three with this many members, of whom the first `paid` have paid.

    Returns for each team its id and its out_trade_nos, each of which is also the shopper's id.
    """
    now = timezone.now()
    made = []
    for start in range(0, count, BATCH):
        room = min(BATCH, count - start)
        teams = [_team(members, paid, notify_url, now) for _ in range(room)]
        orders = [_order(team, n < paid, now) for team in teams for n in range(members)]
        Team.objects.bulk_create(teams)
        Order.objects.bulk_create(orders)
        names: dict[int, list[str]] = {team.pk: [] for team in teams}
        for order in orders:
            names[order.team_id].append(order.out_trade_no)
        made += [(str(team_id), members_of) for team_id, members_of in names.items()]
    return made


def _team(members: int, paid: int, notify_url: str, now: datetime) -> Team:
    return Team(
        id=new_id(),
        activity_id=100123,
        channel_id=1,
        goods_id="9890001",
        group_type=1,
        target_count=3,
        locked_count=members,
        paid_count=paid,
        original_price=Decimal(100),
        pay_price=Decimal(80),
        hold_minutes=30,
        created_at=now,
        expires_at=now + timedelta(hours=2),
        notify_transport="HTTP",
        notify_url=notify_url,
    )


def _order(team: Team, is_paid: bool, now: datetime) -> Order:
    user_id = uuid.uuid4().hex
    return Order(
        id=new_id(),
        team=team,
        activity_id=100123,
        channel_id=1,
        user_id=user_id,
        goods_id="9890001",
        out_trade_no=user_id,
        original_price=Decimal(100),
        pay_price=Decimal(80),
        status=Order.Status.PAID if is_paid else Order.Status.LOCKED,
        take_no=1,
        seat_of=user_id,
        hold_no=None if is_paid else 1,
        created_at=now,
        pay_deadline=now + timedelta(minutes=30),
        paid_at=now if is_paid else None,
        settled_at=now if is_paid else None,
    )
