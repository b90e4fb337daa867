"""Lock (锁单): who gets a seat, at what price, and what each refusal leaves behind."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from activity.models import Activity, Discount, Offer, Sku
from groupbuy import switches
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import Channel, Switch
from tag.crowd import add_members
from tag.models import CrowdTag
from tests.factories import (
    NOW,
    close,
    lock,
    make_activity,
    make_channel,
    make_discount,
    make_team,
    refund,
    set_switch,
    settle,
)
from trade import lock as lock_module
from trade.models import Order, Team

pytestmark = pytest.mark.django_db


def assert_refused(error: ErrorCode, user_id: str = "late", **fields: Any) -> None:
    """The refusal is this one, and no row has changed."""
    before = list(Team.objects.values()), list(Order.objects.values())

    with pytest.raises(GroupBuyError) as caught:
        lock(user_id, **fields)

    assert caught.value.error is error
    assert (list(Team.objects.values()), list(Order.objects.values())) == before


def test_first_shopper_opens_a_team_under_the_activitys_rules() -> None:
    make_activity(hold_minutes=10)

    order = lock("xiaofuge")

    team = Team.objects.get()
    assert (team.locked_count, team.paid_count, team.target_count) == (1, 0, 3)
    assert (team.status, team.expires_at) == (Team.Status.FORMING, NOW + timedelta(minutes=15))
    assert (order.team_id, order.status, order.take_no) == (team.pk, Order.Status.LOCKED, 1)
    assert (order.original_price, order.deduction_price, order.pay_price) == (
        Decimal("100.00"),
        Decimal("20.00"),
        Decimal("80.00"),
    )
    assert order.pay_deadline == NOW + timedelta(minutes=10)


def test_no_order_can_be_paid_after_its_teams_end() -> None:
    make_activity(hold_minutes=10, valid_minutes=15)
    team_id = str(lock("a").team_id)

    joined = [lock(f"b{n}", team_id=team_id, now=NOW + timedelta(minutes=n)) for n in (5, 6)]

    assert [order.pay_deadline - NOW for order in joined] == [timedelta(minutes=15)] * 2


def test_joining_takes_one_seat() -> None:
    make_activity()
    team = make_team("a", "b")

    assert (team.locked_count, team.orders.count()) == (2, 2)


def test_the_same_lock_again_returns_the_same_order() -> None:
    make_activity()

    first, second = lock("a"), lock("a")

    assert first.pk == second.pk
    assert Team.objects.get().locked_count == 1


def test_a_replay_is_answered_even_when_a_check_would_now_refuse() -> None:
    activity = make_activity()
    first = lock("a")
    Activity.objects.filter(pk=activity.pk).update(status=Activity.Status.ABANDONED)

    assert lock("a", team_id="404", goods_id="other").pk == first.pk


def test_another_users_out_trade_no_is_refused() -> None:
    make_activity()
    lock("a", out_trade_no="t-1")

    assert_refused(ErrorCode.NOT_YOUR_ORDER, "b", out_trade_no="t-1")


def test_a_closed_order_is_not_locked_again() -> None:
    make_activity()
    close(lock("a"), Order.CloseReason.HOLD_TIMEOUT)

    assert_refused(ErrorCode.ORDER_NOT_FOUND, "a")


def test_the_same_out_trade_no_on_another_channel_is_another_order() -> None:
    activity = make_activity()
    other = make_channel("s03", "c03")
    Offer.objects.create(channel=other, sku=Sku.objects.get(), activity=activity)

    first = lock("a", out_trade_no="t-1")
    second = lock("b", out_trade_no="t-1", source="s03", channel="c03")

    assert first.pk != second.pk


def test_unknown_goods_or_activity_is_no_offer() -> None:
    make_activity()

    assert_refused(ErrorCode.NO_OFFER, goods_id="nothing")
    assert_refused(ErrorCode.NO_OFFER, activity_id=100999)


def test_another_channels_offer_is_no_offer_here() -> None:
    make_activity()
    make_channel("s03", "c03")

    assert_refused(ErrorCode.NO_OFFER, source="s03", channel="c03")


def test_downgrade_refuses_everybody() -> None:
    make_activity()
    set_switch(Switch.Key.DOWNGRADE, "1")

    assert_refused(ErrorCode.DOWNGRADED)


def test_cut_range_zero_refuses_everybody() -> None:
    make_activity()
    set_switch(Switch.Key.CUT_RANGE, "0")

    assert_refused(ErrorCode.OUTSIDE_CUT_RANGE)


def test_a_discount_that_cannot_be_calculated_refuses_only_its_own_offer() -> None:
    make_activity()
    make_activity(100124, goods_id="9890002", discount=make_discount())
    Discount.objects.filter(activity=100123).update(plan="XX")

    assert_refused(ErrorCode.UNKNOWN_DISCOUNT)
    assert lock("a", goods_id="9890002", activity_id=100124).pay_price == Decimal("80.00")


def test_only_the_crowd_may_join() -> None:
    crowd = CrowdTag.objects.create(tag_id="RQ", name="crowd")
    make_activity(crowd=crowd, restrict_join=True)
    add_members(crowd, ["insider"])

    assert_refused(ErrorCode.OUTSIDE_CROWD, "outsider")
    assert lock("insider").pay_price == Decimal("80.00")


def test_an_activity_limited_to_no_crowd_at_all_is_closed() -> None:
    make_activity(crowd=None, restrict_join=True)

    assert_refused(ErrorCode.OUTSIDE_CROWD)


@pytest.mark.parametrize("status", [Activity.Status.CREATED, Activity.Status.ABANDONED])
def test_an_activity_not_in_effect_sells_nothing(status: int) -> None:
    activity = make_activity()
    team = make_team("a")
    Activity.objects.filter(pk=activity.pk).update(status=status)

    assert_refused(ErrorCode.ACTIVITY_NOT_IN_EFFECT)
    assert_refused(ErrorCode.ACTIVITY_NOT_IN_EFFECT, team_id=str(team.pk))


def test_the_window_is_half_open() -> None:
    activity = make_activity()

    assert_refused(ErrorCode.OUTSIDE_WINDOW, now=activity.start_at - timedelta(microseconds=1))
    assert_refused(ErrorCode.OUTSIDE_WINDOW, now=activity.end_at)
    assert lock("a", now=activity.start_at).team.created_at == activity.start_at


def test_a_team_outlives_its_activity_but_none_is_opened_then() -> None:
    activity = make_activity()
    late = activity.end_at - timedelta(minutes=5)
    team_id = str(lock("a", now=late).team_id)
    Activity.objects.filter(pk=activity.pk).update(status=Activity.Status.EXPIRED)
    after = activity.end_at + timedelta(minutes=5)

    assert_refused(ErrorCode.OUTSIDE_WINDOW, now=after)
    assert lock("b", team_id=team_id, now=after).team.pk == int(team_id)


def test_take_limit_counts_live_orders_only() -> None:
    make_activity(take_limit=2)
    first = lock("a", out_trade_no="t-1")
    lock("a", out_trade_no="t-2")

    assert_refused(ErrorCode.TAKE_LIMIT_REACHED, "a", out_trade_no="t-3")

    close(first, Order.CloseReason.HOLD_TIMEOUT)
    assert lock("a", out_trade_no="t-3").take_no == 1


def test_a_lowered_limit_counts_turns_taken_above_it() -> None:
    activity = make_activity(take_limit=2)
    close(lock("a", out_trade_no="t-1"), Order.CloseReason.HOLD_TIMEOUT)
    lock("a", out_trade_no="t-2")
    lock("a", out_trade_no="t-3")
    Activity.objects.filter(pk=activity.pk).update(take_limit=1)

    assert_refused(ErrorCode.TAKE_LIMIT_REACHED, "a", out_trade_no="t-4")


def test_one_seat_per_person_per_team() -> None:
    make_activity(take_limit=5)
    team = make_team("a")

    assert_refused(ErrorCode.ALREADY_IN_TEAM, "a", team_id=str(team.pk), out_trade_no="t-again")


def test_refusals_come_in_the_contracts_order() -> None:
    """Each request also deserves every later refusal. Mutation: any other order of LOCK_CHECKS."""
    activity = make_activity(take_limit=1)
    set_switch("holdLimit", "1")
    team = make_team("a", "b", "c")
    request: dict[str, Any] = {"team_id": str(team.pk), "out_trade_no": "t-again"}
    late = {"now": team.expires_at} | request

    assert_refused(ErrorCode.TEAM_FULL, "a", **late)
    refund("b")
    assert_refused(ErrorCode.TAKE_LIMIT_REACHED, "a", **late)
    Activity.objects.filter(pk=activity.pk).update(take_limit=9)
    assert_refused(ErrorCode.ALREADY_IN_TEAM, "a", **late)
    lock("d")
    assert_refused(ErrorCode.TEAM_NOT_JOINABLE, "d", **late)
    assert_refused(ErrorCode.TOO_MANY_HOLDS, "d", **request)


def test_a_repeat_comes_before_full() -> None:
    make_activity(target_count=2)
    team = make_team("a", "b")

    assert lock("b", team_id=str(team.pk)).user_id == "b"
    assert_refused(ErrorCode.NOT_YOUR_ORDER, "c", team_id=str(team.pk), out_trade_no="t-b")


def test_the_crowd_and_the_activity_come_before_full() -> None:
    activity = make_activity()
    team_id = str(make_team("a", "b", "c").pk)

    Activity.objects.filter(pk=activity.pk).update(restrict_join=True)
    assert_refused(ErrorCode.OUTSIDE_CROWD, team_id=team_id)
    Activity.objects.filter(pk=activity.pk).update(restrict_join=False, status=3)
    assert_refused(ErrorCode.ACTIVITY_NOT_IN_EFFECT, team_id=team_id)


@pytest.mark.parametrize("team_id", ["404", "abc", "9" * 19, "-1", "1.0"])
def test_an_unknown_team_cannot_be_joined(team_id: str) -> None:
    make_activity()

    assert_refused(ErrorCode.TEAM_NOT_JOINABLE, team_id=team_id)


@pytest.mark.parametrize("members", ["a", "abc"], ids=["forming", "full"])
def test_a_team_of_another_activity_goods_or_channel_cannot_be_joined(members: str) -> None:
    activity = make_activity()
    team = make_team(*members)
    make_activity(100124, goods_id="9890002", discount=make_discount())
    other_goods = Sku.objects.create(goods_id="9890003", name="other", original_price=50)
    Offer.objects.create(channel=Channel.objects.get(), sku=other_goods, activity=activity)
    other = make_channel("s03", "c03")
    Offer.objects.create(channel=other, sku=Sku.objects.get(goods_id="9890001"), activity=activity)

    for elsewhere in (
        {"activity_id": 100124, "goods_id": "9890002"},
        {"goods_id": "9890003"},
        {"source": "s03", "channel": "c03"},
    ):
        assert_refused(ErrorCode.TEAM_NOT_JOINABLE, team_id=str(team.pk), **elsewhere)


def test_a_team_past_its_end_cannot_be_joined() -> None:
    make_activity()
    team = make_team("a")

    assert_refused(ErrorCode.TEAM_NOT_JOINABLE, team_id=str(team.pk), now=team.expires_at)


def test_a_failed_team_cannot_be_joined() -> None:
    make_activity()
    team = make_team("a")
    Team.objects.filter(pk=team.pk).update(status=Team.Status.FAILED)

    assert_refused(ErrorCode.TEAM_NOT_JOINABLE, team_id=str(team.pk))


def test_a_full_team_is_full_also_once_it_is_complete() -> None:
    make_activity()
    team = make_team("a", "b", "c")

    assert_refused(ErrorCode.TEAM_FULL, team_id=str(team.pk))
    assert_refused(ErrorCode.TEAM_FULL, team_id=str(team.pk), now=team.expires_at)

    for user_id in "abc":
        settle(user_id)
    assert_refused(ErrorCode.TEAM_FULL, team_id=str(team.pk))
    refund("a")
    assert_refused(ErrorCode.TEAM_NOT_JOINABLE, team_id=str(team.pk))


def test_the_teams_price_stays_what_it_was_when_the_team_opened() -> None:
    make_activity()
    team = make_team("a")
    Discount.objects.update(expression="90")

    assert lock("b", team_id=str(team.pk)).pay_price == Decimal("80.00")
    assert lock("c").pay_price == Decimal("10.00")


def test_outside_the_discounts_crowd_the_original_price_is_paid() -> None:
    crowd = CrowdTag.objects.create(tag_id="RQ", name="crowd")
    add_members(crowd, ["insider"])
    make_activity(discount=make_discount(crowd=crowd))

    outsider = lock("outsider")
    insider = lock("insider", team_id=str(outsider.team_id))

    assert (outsider.pay_price, insider.pay_price) == (Decimal("100.00"), Decimal("80.00"))

    Discount.objects.update(plan="MJ", expression="500,10")  # gives nothing to anybody now
    late = lock("late", team_id=str(outsider.team_id))
    assert late.pay_price == Decimal("100.00")


def test_callback_hosts_and_transport_are_checked_at_lock() -> None:
    make_activity()

    assert_refused(ErrorCode.ILLEGAL_PARAMETER, notify_url="http://evil.example/x")
    assert_refused(ErrorCode.ILLEGAL_PARAMETER, notify_url="https://127.0.0.1/x")
    assert_refused(ErrorCode.ILLEGAL_PARAMETER, notify_transport="MQ")


def test_a_shopper_holds_so_many_seats_without_paying() -> None:
    make_activity(take_limit=20)
    set_switch("holdLimit", "2")
    lock("a", out_trade_no="t-1")
    second = lock("a", out_trade_no="t-2")

    assert_refused(ErrorCode.TOO_MANY_HOLDS, "a", out_trade_no="t-3")
    assert lock("a", out_trade_no="t-2").pk == second.pk  # a replay is no third
    assert lock("b").hold_no == 1
    settle("a", out_trade_no="t-1")
    assert lock("a", out_trade_no="t-3").hold_no == 1
    refund("a", out_trade_no="t-2")
    assert lock("a", out_trade_no="t-4").hold_no == 2
    assert_refused(ErrorCode.TOO_MANY_HOLDS, "a", out_trade_no="t-5")

    set_switch("holdLimit", "off")
    assert lock("a", out_trade_no="t-5").hold_no == 3


def test_seats_held_on_another_channel_are_another_malls_matter() -> None:
    set_switch("holdLimit", "1")
    make_activity()
    make_activity(pk=100124, channel=make_channel("s09", "c09"))
    lock("a")

    other = lock("a", source="s09", channel="c09", activity_id=100124)

    assert (other.hold_no, other.channel.source) == (1, "s09")


def test_a_hold_limit_that_is_lowered_during_a_lock_counts_from_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_activity(take_limit=9)
    set_switch("holdLimit", "2")
    lock("a")
    open_team = lock_module._open_team

    def lower_and_open(ctx: lock_module.LockContext) -> Team:
        monkeypatch.setattr(switches, "hold_limit", lambda: 1)
        return open_team(ctx)

    monkeypatch.setattr(lock_module, "_open_team", lower_and_open)

    assert lock("a", out_trade_no="t-2").hold_no == 2
    assert_refused(ErrorCode.TOO_MANY_HOLDS, "a", out_trade_no="t-3")


def test_the_take_limit_is_named_before_the_hold_limit() -> None:
    make_activity(take_limit=1)
    set_switch("holdLimit", "1")
    lock("a")

    assert_refused(ErrorCode.TAKE_LIMIT_REACHED, "a", out_trade_no="t-2")


def test_an_invitation_code_that_is_taken_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity(take_limit=2)
    taken = lock("a").code
    codes = iter([taken, "2345678923"])
    monkeypatch.setattr(Order._meta.get_field("code"), "_get_default", lambda: next(codes))

    order = lock("a", out_trade_no="t-2")

    assert order.code == "2345678923"
    assert Team.objects.count() == 2
