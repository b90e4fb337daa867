"""What a shopper sees of their own orders: the list, and the page of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Q

from activity.models import Sku
from groupbuy.channels import KnownChannel
from pages import teams
from pages.states import Mine, my_state
from pages.teams import TeamView
from trade.models import Order, Team
from trade.watch import Watched

PAGE = 10  # orders


class Tab(StrEnum):
    ALL = "all"
    TO_PAY = "pay"
    RUNNING = "running"
    DONE = "done"
    BACK = "back"


COMPLETE = (Team.Status.COMPLETE, Team.Status.COMPLETE_WITH_REFUNDS)
TABS = {
    Tab.ALL: Q(),
    Tab.TO_PAY: Q(status=Order.Status.LOCKED),
    Tab.RUNNING: Q(status=Order.Status.PAID, team__status=Team.Status.FORMING),
    Tab.DONE: Q(status=Order.Status.PAID, team__status__in=COMPLETE),
    Tab.BACK: Q(status=Order.Status.CLOSED, paid_at__isnull=False),
}


@dataclass(frozen=True, slots=True)
class OrderRow:
    order: Order
    sku: Sku | None
    state: Mine


@dataclass(frozen=True, slots=True)
class OrderList:
    rows: Sequence[OrderRow]
    next: str  # the code after which the next page begins; "" on the last one


def read_orders(
    channel: KnownChannel, user_id: str, *, tab: Tab, after: str, now: datetime
) -> OrderList:
    """A page of the shopper's orders, newest first. An unknown `after` returns the first page."""
    own = Order.objects.filter(user_id=user_id, channel_id=channel.pk)
    found = own.filter(TABS[tab]).select_related("team").order_by("-pk")
    if last := own.filter(code=after).first() if after else None:
        found = found.filter(pk__lt=last.pk)
    orders = list(found[: PAGE + 1])
    goods = {order.goods_id for order in orders}
    skus = {sku.goods_id: sku for sku in Sku.objects.filter(goods_id__in=goods)}
    rows = [
        OrderRow(order, skus.get(order.goods_id), my_state(order.team, order, now=now))
        for order in orders[:PAGE]
    ]
    return OrderList(rows, rows[-1].order.code if len(orders) > PAGE else "")


def find_by_number(channel: KnownChannel, user_id: str, out_trade_no: str) -> Order | None:
    own = Order.objects.filter(channel_id=channel.pk, user_id=user_id)
    return own.filter(out_trade_no=out_trade_no).first()


def view_order(
    channel: KnownChannel, watched: Watched, order: Order, *, said_paid: bool, now: datetime
) -> TeamView:
    """The team of the order as the order's shopper sees it. said_paid: as in states.my_state()."""
    return teams.view_of(
        channel, order.user_id, order.code, watched, order, said_paid=said_paid, now=now
    )
