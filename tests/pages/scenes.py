"""Every state of a page: a scene makes the rows, and names the path and the visitor.

A scene takes the time at which its page is shown, so that a browser can open it now.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from activity.models import Activity, Sku
from groupbuy.errors import GroupBuyError
from groupbuy.models import Channel
from tests import factories
from tests.factories import GOODS, make_channel, set_switch
from trade import expire
from trade.models import Team

MINUTE = timedelta(minutes=1)
OFFER = f"/o/s01/c01/{GOODS}"
NAMES = ("wangxiaoming", "lihuahua", "zhangwei88", "chenjing", "guest-one")
ME = NAMES[0]


@dataclass(frozen=True, slots=True)
class Scene:
    """A path, and the user id of the visitor, "" for a guest."""

    path: str
    user_id: str
    state: str  # as the page names it


Build = Callable[[datetime], Scene]
SCENES: dict[str, Build] = {}


def scene(build: Build) -> Build:
    SCENES[build.__name__] = build
    return build


def offer_at(now: datetime, **fields: Any) -> Activity:
    """Offer the book, 100 -> 80 in a team of three, for another half an hour."""
    channel = make_channel(name="小书店", checkout_url="https://mall.example.com/buy")
    Sku.objects.get_or_create(
        goods_id=GOODS,
        defaults={
            "name": "《手写MyBatis：渐进式源码实践》",
            "original_price": Decimal("100.00"),
            "picture": "goods/9890001.svg",
            "description": "从零写出一个 ORM。\n\n适合想读懂源码的人。",
        },
    )
    fields = {"start_at": now - 60 * MINUTE, "end_at": now + 30 * MINUTE} | fields
    return factories.make_activity(channel=channel, **fields)


def team_at(now: datetime, *user_ids: str, paid: int = 0, **fields: Any) -> Team:
    """Make a team at that time; its first members pay a minute later."""
    team_id = ""
    for user_id in user_ids:
        order = factories.lock(user_id, now=now, team_id=team_id, **fields)
        team_id = str(order.team_id)
    for user_id in user_ids[:paid]:
        factories.settle(user_id, now=now + MINUTE, paid_at=now + MINUTE)
    return Team.objects.get(pk=team_id)


def code_of(team: Team, user_id: str) -> str:
    return team.orders.filter(user_id=user_id).latest("pk").code


def seen(team: Team, state: str, *, by: str = "") -> Scene:
    """The team by the link of its first member, as another visitor sees it."""
    first = team.orders.order_by("pk")[0]
    return Scene(f"/t/{first.code}", by, state)


def mine(team: Team, state: str, *, by: str = ME) -> Scene:
    return Scene(f"/t/{code_of(team, by)}", by, state)


def end(team: Team, now: datetime) -> None:
    """Run the sweeps that end holds and teams."""
    expire.close_overdue_holds(clock=lambda: now)
    expire.end_overdue_teams(clock=lambda: now)


# --- Offers -----------------------------------------------------------------------------------


@scene
def offer_not_started(now: datetime) -> Scene:
    offer_at(now, start_at=now + 90 * MINUTE, end_at=now + 200 * MINUTE)
    return Scene(OFFER, "", "NOT_STARTED")


@scene
def offer_open(now: datetime) -> Scene:
    offer_at(now)
    return Scene(OFFER, "", "OPEN")


@scene
def offer_open_with_teams(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 5 * MINUTE, NAMES[1], NAMES[2], paid=1)
    team_at(now - 2 * MINUTE, NAMES[3], paid=1)
    return Scene(OFFER, ME, "OPEN")


@scene
def offer_without_checkout(now: datetime) -> Scene:
    offer_at(now)
    Channel.objects.update(checkout_url="")
    return Scene(OFFER, "", "OPEN")


@scene
def offer_mine_unpaid(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 2 * MINUTE, ME)
    return Scene(OFFER, ME, "MINE_UNPAID")


@scene
def offer_mine_overdue(now: datetime) -> Scene:
    """The hold is over, and the sweep has not run yet."""
    offer_at(now, hold_minutes=3)
    team_at(now - 4 * MINUTE, NAMES[1], ME, paid=1)
    return Scene(OFFER, ME, "MINE_OVERDUE")


@scene
def offer_mine_overdue_with_its_team(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 16 * MINUTE, NAMES[1], ME, paid=1)
    return Scene(OFFER, ME, "MINE_OVERDUE")


@scene
def offer_mine_forming(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 2 * MINUTE, ME, NAMES[1], paid=1)
    return Scene(OFFER, ME, "MINE_FORMING")


@scene
def offer_mine_done(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 5 * MINUTE, *NAMES[:3], paid=3)
    return Scene(OFFER, ME, "MINE_DONE")


@scene
def offer_mine_done_and_again(now: datetime) -> Scene:
    offer_at(now, take_limit=2)
    team_at(now - 5 * MINUTE, *NAMES[:3], paid=3)
    team_at(now - 2 * MINUTE, NAMES[3], paid=1)
    return Scene(OFFER, ME, "MINE_DONE")


@scene
def offer_limit_reached(now: datetime) -> Scene:
    offer_at(now, take_limit=2, target_count=1)
    for number in ("t-1", "t-2"):
        factories.lock(ME, now=now - 3 * MINUTE, out_trade_no=number)
        factories.settle(ME, now=now - MINUTE, out_trade_no=number, paid_at=now - 2 * MINUTE)
    return Scene(OFFER, ME, "LIMIT")


@scene
def offer_hidden(now: datetime) -> Scene:
    offer_at(now, restrict_visible=True, restrict_join=True)
    return Scene(OFFER, ME, "HIDDEN")


@scene
def offer_not_invited(now: datetime) -> Scene:
    offer_at(now, restrict_join=True)
    return Scene(OFFER, "", "NOT_INVITED")


@scene
def offer_sold_out(now: datetime) -> Scene:
    offer_at(now)
    Sku.objects.update(sold_out=True)
    return Scene(OFFER, "", "SOLD_OUT")


@scene
def offer_ended(now: datetime) -> Scene:
    offer_at(now, end_at=now - 10 * MINUTE)
    return Scene(OFFER, "", "ENDED")


@scene
def offer_abandoned(now: datetime) -> Scene:
    offer_at(now, status=Activity.Status.ABANDONED)
    return Scene(OFFER, "", "ENDED")


@scene
def offer_switched_off(now: datetime) -> Scene:
    offer_at(now)
    set_switch("downgradeSwitch", "1")
    return Scene(OFFER, ME, "HIDDEN")


# --- Teams, seen by others --------------------------------------------------------------------


@scene
def team_joinable(now: datetime) -> Scene:
    offer_at(now)
    return seen(team_at(now - 5 * MINUTE, NAMES[1], NAMES[2], paid=1), "JOINABLE")


@scene
def team_joinable_by_shop(now: datetime) -> Scene:
    offer_at(now, group_type=Activity.GroupType.SHOP_COMPLETES)
    return seen(team_at(now - 5 * MINUTE, NAMES[1], paid=1), "JOINABLE", by=ME)


@scene
def team_outlives_its_offer(now: datetime) -> Scene:
    offer_at(now, end_at=now - MINUTE)
    return seen(team_at(now - 5 * MINUTE, NAMES[1], paid=1), "JOINABLE", by=ME)


@scene
def team_full_but_unpaid(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 2 * MINUTE, NAMES[4], paid=1)
    return seen(team_at(now - 5 * MINUTE, *NAMES[1:4], paid=1), "FULL", by=ME)


@scene
def team_being_counted(now: datetime) -> Scene:
    offer_at(now)
    return seen(team_at(now - 16 * MINUTE, NAMES[1], NAMES[2], paid=2), "COUNTING")


@scene
def team_complete(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 2 * MINUTE, NAMES[4], paid=1)
    return seen(team_at(now - 5 * MINUTE, *NAMES[1:4], paid=3), "COMPLETE")


@scene
def team_completed_by_the_shop(now: datetime) -> Scene:
    offer_at(now, group_type=Activity.GroupType.SHOP_COMPLETES)
    team = team_at(now - 20 * MINUTE, NAMES[1], NAMES[2], paid=2)
    end(team, now - 2 * MINUTE)
    return seen(team, "COMPLETE")


@scene
def team_complete_with_refunds(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 5 * MINUTE, *NAMES[1:4], paid=3)
    factories.refund(NAMES[2], now=now - MINUTE)
    return seen(team, "COMPLETE", by=ME)


@scene
def team_failed(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 20 * MINUTE, NAMES[1], paid=1)
    end(team, now - 2 * MINUTE)
    return seen(team, "FAILED")


@scene
def team_withdrawn(now: datetime) -> Scene:
    activity = offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], paid=1)
    Activity.objects.filter(pk=activity.pk).update(status=Activity.Status.ABANDONED)
    return seen(team, "WITHDRAWN")


@scene
def team_hidden(now: datetime) -> Scene:
    activity = offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], paid=1)
    Activity.objects.filter(pk=activity.pk).update(restrict_visible=True, restrict_join=True)
    return seen(team, "HIDDEN", by=ME)


@scene
def team_not_invited(now: datetime) -> Scene:
    activity = offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], paid=1)
    Activity.objects.filter(pk=activity.pk).update(restrict_join=True)
    return seen(team, "NOT_INVITED", by=ME)


@scene
def team_sold_out(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], paid=1)
    Sku.objects.update(sold_out=True)
    return seen(team, "SOLD_OUT")


@scene
def team_beyond_my_limit(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 6 * MINUTE, ME, paid=1)
    return seen(team_at(now - 5 * MINUTE, NAMES[1], paid=1), "LIMIT", by=ME)


@scene
def team_of_many(now: datetime) -> Scene:
    offer_at(now, target_count=30)
    members = [f"shopper{n:02}" for n in range(20)]
    return seen(team_at(now - 5 * MINUTE, *members, paid=15), "JOINABLE")


# --- Teams, seen by their members -------------------------------------------------------------


@scene
def my_seat_unpaid(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 2 * MINUTE, NAMES[1], ME, paid=1), "UNPAID")


@scene
def my_team_forming(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 2 * MINUTE, ME, NAMES[1], paid=1), "FORMING")


@scene
def my_team_full_but_unpaid(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 2 * MINUTE, *NAMES[:3], paid=2), "FORMING")


@scene
def my_team_being_counted(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 16 * MINUTE, ME, NAMES[1], paid=1), "COUNTING")


@scene
def my_payment_not_arrived(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 16 * MINUTE, NAMES[1], ME, paid=1), "COUNTING_UNPAID")


@scene
def my_team_complete(now: datetime) -> Scene:
    offer_at(now)
    return mine(team_at(now - 5 * MINUTE, *NAMES[:3], paid=3), "COMPLETE")


@scene
def my_team_completed_by_the_shop(now: datetime) -> Scene:
    offer_at(now, group_type=Activity.GroupType.SHOP_COMPLETES)
    team = team_at(now - 20 * MINUTE, ME, NAMES[1], paid=2)
    end(team, now - 2 * MINUTE)
    return mine(team, "COMPLETE")


@scene
def my_seat_lapsed(now: datetime) -> Scene:
    offer_at(now, hold_minutes=3)
    team = team_at(now - 6 * MINUTE, NAMES[1], ME, paid=1)
    expire.close_overdue_holds(clock=lambda: now - MINUTE)
    return mine(team, "LAPSED")


@scene
def my_seat_lapsed_for_good(now: datetime) -> Scene:
    offer_at(now, hold_minutes=3, target_count=2)
    team = team_at(now - 6 * MINUTE, NAMES[1], ME, paid=1)
    expire.close_overdue_holds(clock=lambda: now - 2 * MINUTE)
    factories.lock(NAMES[2], now=now - MINUTE, team_id=str(team.pk))
    return mine(team, "LAPSED_FOR_GOOD")


@scene
def my_seat_given_back(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], ME, paid=1)
    factories.refund(ME, now=now - MINUTE)
    return mine(team, "LEFT")


@scene
def my_order_given_back(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 5 * MINUTE, *NAMES[:3], paid=3)
    factories.refund(ME, now=now - MINUTE)
    return mine(team, "RETURNED")


@scene
def my_money_is_back(now: datetime) -> Scene:
    at = my_order_given_back(now)
    factories.confirm(ME, now=now)
    return at


@scene
def my_failed_teams_money_is_back(now: datetime) -> Scene:
    at = my_team_failed(now)
    factories.confirm(ME, now=now)
    return at


@scene
def my_late_payment_is_back(now: datetime) -> Scene:
    at = my_payment_too_late(now)
    factories.confirm(ME, now=now)
    return at


@scene
def my_team_failed(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 20 * MINUTE, ME, paid=1)
    end(team, now - 2 * MINUTE)
    return mine(team, "FAILED")


@scene
def my_team_failed_unpaid(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 20 * MINUTE, NAMES[1], ME, paid=1)
    end(team, now - 2 * MINUTE)
    return mine(team, "FAILED_UNPAID")


@scene
def my_payment_too_late(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 20 * MINUTE, NAMES[1], ME, paid=1)
    _pay_in_vain(now - 3 * MINUTE)
    return mine(team, "LATE")


@scene
def my_payment_for_a_lost_seat(now: datetime) -> Scene:
    offer_at(now, hold_minutes=3, target_count=2)
    team = team_at(now - 6 * MINUTE, NAMES[1], ME, paid=1)
    expire.close_overdue_holds(clock=lambda: now - 2 * MINUTE)
    factories.lock(NAMES[2], now=now - 2 * MINUTE, team_id=str(team.pk))
    _pay_in_vain(now - MINUTE)
    return mine(team, "LATE")


@scene
def my_payment_blocked(now: datetime) -> Scene:
    offer_at(now)
    team = team_at(now - 5 * MINUTE, NAMES[1], ME, paid=1)
    set_switch("scBlacklist", "s01c01")
    _pay_in_vain(now - MINUTE)
    return mine(team, "BLOCKED")


def _pay_in_vain(now: datetime) -> None:
    try:
        factories.settle(ME, now=now, paid_at=now)
    except GroupBuyError:
        return
    raise AssertionError("this payment was seated")


# --- Orders -----------------------------------------------------------------------------------


def order_of(build: Build, *, query: str = "", state: str = "") -> Build:
    """The order's page of a scene that has one."""

    def built(now: datetime) -> Scene:
        at = build(now)
        return Scene(f"{at.path}/order{query}", at.user_id, state or at.state)

    built.__name__ = f"order_{build.__name__}"
    return built


for each in [name for name in SCENES if name.startswith("my_")]:
    scene(order_of(SCENES[each]))
confirming = order_of(my_seat_unpaid, query="?paid=1", state="CONFIRMING")
confirming.__name__ = "order_being_confirmed"
scene(confirming)


# --- The rest ---------------------------------------------------------------------------------


def many_orders(now: datetime, count: int = 12) -> Scene:
    """Orders of all kinds."""
    offer_at(now, take_limit=30)
    for n in range(count):
        at = now - timedelta(minutes=10, seconds=-n)
        factories.lock(ME, now=at, out_trade_no=f"t-{n}")
        if n % 3 == 1:
            factories.settle(ME, now=at, out_trade_no=f"t-{n}", paid_at=at)
        if n % 3 == 2:
            factories.refund(ME, now=at, out_trade_no=f"t-{n}")
    return Scene("/my/s01/c01", ME, "")


def orders_given_back(now: datetime) -> Scene:
    """The newest order's refund is confirmed, the oldest's in part; the other's is under way."""
    offer_at(now, take_limit=30)
    for n in range(3):
        order: dict[str, Any] = {
            "out_trade_no": f"t-{n}",
            "now": now - timedelta(minutes=10, seconds=-n),
        }
        factories.lock(ME, **order)
        factories.settle(ME, paid_at=now - timedelta(minutes=9), **order)
        factories.refund(ME, **order)
    factories.confirm(ME, "72.50", now=now, out_trade_no="t-0")
    factories.confirm(ME, now=now, out_trade_no="t-2")
    return Scene("/my/s01/c01?tab=back", ME, "")


def wall(now: datetime) -> Scene:
    offer_at(now)
    team_at(now - 2 * MINUTE, NAMES[3], paid=1)
    return Scene("/o/s01/c01", "", "")


def poster(now: datetime) -> Scene:
    at = my_team_forming(now)
    return Scene(f"{at.path}/poster", at.user_id, "")


OTHERS = {
    "orders": many_orders,
    "orders_given_back": orders_given_back,
    "wall": wall,
    "poster": poster,
}
