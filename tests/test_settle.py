"""Settlement (结算): every payment is seated once, or its refund is promised once."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from activity.models import Activity
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import Switch
from tests.factories import (
    NOW,
    close,
    lock,
    make_activity,
    make_channel,
    make_team,
    refund,
    set_switch,
    settle,
)
from trade.models import NotifyTask, Order, Team
from trade.notify import outbox
from trade.settle import Payment, decide

pytestmark = pytest.mark.django_db
IN_TIME, TOO_LATE = NOW + timedelta(minutes=1), NOW + timedelta(minutes=15)


def refusal_of(user_id: str = "a", **fields: Any) -> ErrorCode:
    with pytest.raises(GroupBuyError) as caught:
        settle(user_id, **fields)
    return caught.value.error


def state() -> tuple[list[object], ...]:
    return tuple(list(model.objects.values()) for model in (Team, Order, NotifyTask))


def test_a_payment_seats_its_order() -> None:
    make_activity()
    lock("a")

    order = settle("a", now=NOW + timedelta(minutes=2))

    order.refresh_from_db()
    team = Team.objects.get()
    assert (order.status, order.paid_at, order.settled_at) == (
        Order.Status.PAID,
        IN_TIME,
        NOW + timedelta(minutes=2),
    )
    assert (team.locked_count, team.paid_count, team.status) == (1, 1, Team.Status.FORMING)
    assert NotifyTask.objects.count() == 0


def test_the_last_payment_completes_the_team_and_promises_the_call() -> None:
    make_activity()
    team = make_team("a", "b", "c", paid=3)

    promise = NotifyTask.objects.get()
    assert (team.status, team.paid_count, team.completed_at) == (Team.Status.COMPLETE, 3, NOW)
    assert (promise.key, promise.event, promise.target) == (
        f"team_success-{team.pk}",
        "team_success",
        "http://127.0.0.1:9/callback",
    )
    assert promise.payload == (f'{{"teamId":"{team.pk}","outTradeNoList":["t-a","t-b","t-c"]}}')
    assert (promise.state, promise.next_attempt_at) == (NotifyTask.State.NEW, NOW)


@pytest.mark.parametrize(
    "url", ["http://mall:端口/x", "http://127.0.0.1：8091/x", "http://m:99999/"]
)
def test_a_team_whose_imported_url_is_unreadable_completes(url: str) -> None:
    """Its promise is tried and refused, where an operator sees it."""
    make_activity(target_count=2)
    team = make_team("a", "b", paid=1)
    Team.objects.update(notify_url=url)

    settle("b")

    team.refresh_from_db()
    assert (team.status, team.paid_count) == (Team.Status.COMPLETE, 2)
    promise = NotifyTask.objects.get()
    assert (promise.target, promise.endpoint) == (url, "")
    assert outbox.deliver_due(clock=lambda: NOW) == 1
    promise.refresh_from_db()
    assert promise.last_error == "the URL is not among the channel's callback hosts"


def test_the_callback_goes_where_the_leader_asked() -> None:
    make_activity(target_count=2)
    first = lock("a", notify_url="http://127.0.0.1:9/leader")
    lock("b", team_id=str(first.team_id), notify_url="http://127.0.0.1:9/joiner")

    settle("b")
    settle("a")

    assert NotifyTask.objects.get().target == "http://127.0.0.1:9/leader"


def test_a_repeated_payment_changes_nothing() -> None:
    make_activity(target_count=1)
    lock("a")
    first = settle("a")
    before = state()

    again = settle("a", now=TOO_LATE, paid_at=TOO_LATE)

    assert again.pk == first.pk
    assert state() == before


def test_a_payment_at_the_teams_end_is_late_and_its_refund_is_promised() -> None:
    make_activity()
    order = lock("a")

    assert refusal_of("a", paid_at=TOO_LATE, now=TOO_LATE) is ErrorCode.PAID_TOO_LATE

    order.refresh_from_db()
    promise = NotifyTask.objects.get()
    assert (order.status, order.close_reason, order.paid_at) == (
        Order.Status.CLOSED,
        "late_payment",
        TOO_LATE,
    )
    assert (order.take_no, order.seat_of) == (None, None)
    assert Team.objects.get().locked_count == 0
    assert promise.key == f"team_refund-{order.pk}-paid_unformed"
    assert promise.target == "http://127.0.0.1:9/callback"
    assert json.loads(promise.payload) == {
        "type": "paid_unformed",
        "userId": "a",
        "teamId": str(order.team_id),
        "orderId": str(order.pk),
        "outTradeNo": "t-a",
        "activityId": 100123,
    }


def test_a_late_payment_repeated_is_refused_again_without_a_second_refund() -> None:
    make_activity()
    lock("a")
    refusal_of("a", paid_at=TOO_LATE, now=TOO_LATE)
    before = state()

    assert refusal_of("a", paid_at=IN_TIME, now=TOO_LATE) is ErrorCode.PAID_TOO_LATE
    assert state() == before


def test_a_payment_in_time_that_is_settled_late_is_seated_while_the_team_forms() -> None:
    make_activity()
    lock("a")

    assert settle("a", now=TOO_LATE + timedelta(minutes=1)).status == Order.Status.PAID


def test_paid_in_time_but_the_team_has_failed_is_refunded() -> None:
    make_activity()
    team = make_team("a")
    Team.objects.filter(pk=team.pk).update(status=Team.Status.FAILED)

    assert refusal_of("a") is ErrorCode.PAID_TOO_LATE
    assert NotifyTask.objects.get().event == "team_refund"


def test_a_hold_that_timed_out_is_seated_again_while_a_seat_is_free() -> None:
    make_activity()
    order = lock("a")
    close(order, Order.CloseReason.HOLD_TIMEOUT)
    Activity.objects.update(take_limit=2)

    again = settle("a")

    again.refresh_from_db()
    assert (again.status, again.take_no, again.seat_of) == (Order.Status.PAID, 1, "a")
    assert again.take_limit == 2  # of the moment at which the seat was taken
    assert (again.closed_at, again.close_reason) == (None, "")
    team = Team.objects.get()
    assert (team.locked_count, team.paid_count) == (1, 1)


def test_a_hold_that_timed_out_is_refunded_when_its_seat_is_gone() -> None:
    make_activity(target_count=2)
    order = lock("a")
    close(order, Order.CloseReason.HOLD_TIMEOUT)
    for user_id in "bc":
        lock(user_id, team_id=str(order.team_id))

    assert refusal_of("a") is ErrorCode.PAID_TOO_LATE
    assert Team.objects.get().locked_count == 2
    assert NotifyTask.objects.get().key == f"team_refund-{order.pk}-paid_unformed"


def test_a_hold_that_timed_out_is_refunded_when_its_shopper_has_no_turn_left() -> None:
    make_activity(take_limit=1)
    close(lock("a", out_trade_no="t-a"), Order.CloseReason.HOLD_TIMEOUT)
    lock("a", out_trade_no="t-other")

    assert refusal_of("a") is ErrorCode.PAID_TOO_LATE
    assert NotifyTask.objects.count() == 1


def test_a_hold_that_timed_out_is_refunded_when_its_shopper_took_another_seat_there() -> None:
    make_activity(take_limit=5)
    first = lock("a", out_trade_no="t-a")
    lock("b", team_id=str(first.team_id))
    close(first, Order.CloseReason.HOLD_TIMEOUT)
    lock("a", out_trade_no="t-other", team_id=str(first.team_id))

    assert refusal_of("a") is ErrorCode.PAID_TOO_LATE
    assert Team.objects.get().locked_count == 2


def test_money_for_an_order_that_was_given_up_unpaid_is_refunded() -> None:
    make_activity()
    order = lock("a")
    close(order, Order.CloseReason.REFUNDED)

    assert refusal_of("a") is ErrorCode.PAID_TOO_LATE
    assert NotifyTask.objects.get().event == "team_refund"


def test_a_seated_and_then_refunded_order_is_not_found() -> None:
    make_activity()
    order = lock("a")
    settle("a")
    refund("a")
    order.refresh_from_db()
    assert order.close_reason == Order.CloseReason.REFUNDED
    before = state()

    assert refusal_of("a") is ErrorCode.ORDER_NOT_FOUND
    assert state() == before


def test_unknown_orders_are_not_found() -> None:
    make_activity()
    make_channel("s03", "c03")
    lock("a")
    before = state()

    assert refusal_of("nobody") is ErrorCode.ORDER_NOT_FOUND
    assert refusal_of("b", out_trade_no="t-a") is ErrorCode.ORDER_NOT_FOUND
    assert refusal_of("a", source="s03", channel="c03") is ErrorCode.ORDER_NOT_FOUND
    assert state() == before


def test_a_blacklisted_channels_payment_is_refunded_and_its_repeats_are_answered() -> None:
    make_activity()
    order = lock("a")
    lock("b")
    settle("b")
    set_switch(Switch.Key.BLACKLIST, "s02c02,s01c01")

    assert refusal_of("a") is ErrorCode.BLACKLISTED

    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Order.Status.CLOSED, "blacklisted")
    assert NotifyTask.objects.get().key == f"team_refund-{order.pk}-paid_unformed"
    before = state()
    assert refusal_of("a") is ErrorCode.BLACKLISTED
    assert refusal_of("nobody") is ErrorCode.BLACKLISTED
    assert settle("b").status == Order.Status.PAID
    assert state() == before


def test_a_clock_ahead_is_refused_beyond_five_minutes() -> None:
    make_activity()
    lock("a")
    before = state()

    assert (
        refusal_of("a", paid_at=NOW + timedelta(minutes=5, milliseconds=1))
        is ErrorCode.ILLEGAL_PARAMETER
    )
    assert state() == before
    assert settle("a", paid_at=NOW + timedelta(minutes=5)).status == Order.Status.PAID


def test_switching_an_activity_off_does_not_touch_its_payments() -> None:
    make_activity()
    lock("a")
    Activity.objects.update(status=Activity.Status.ABANDONED)

    assert settle("a").status == Order.Status.PAID


S, R = Team.Status, Order.CloseReason


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(
    ("team", "order", "paid_at", "payment"),
    [
        (S.FORMING, (0, None, ""), IN_TIME, Payment.SEATED),
        (S.FORMING, (0, None, ""), TOO_LATE, Payment.LATE),
        (S.FAILED, (0, None, ""), IN_TIME, Payment.LATE),
        (S.FORMING, (1, IN_TIME, ""), IN_TIME, Payment.REPEATED),
        (S.FORMING, (1, IN_TIME, ""), TOO_LATE, Payment.REPEATED),
        (S.COMPLETE, (1, IN_TIME, ""), IN_TIME, Payment.REPEATED),
        (S.FORMING, (2, None, R.HOLD_TIMEOUT), IN_TIME, Payment.RESEATED),
        (S.FORMING, (2, None, R.HOLD_TIMEOUT), TOO_LATE, Payment.LATE),
        (S.COMPLETE, (2, None, R.HOLD_TIMEOUT), IN_TIME, Payment.LATE),
        (S.FORMING, (2, None, R.REFUNDED), IN_TIME, Payment.LATE),
        (S.FAILED, (2, TOO_LATE, R.LATE_PAYMENT), IN_TIME, Payment.LATE_REPEATED),
        (S.FORMING, (2, IN_TIME, R.BLACKLISTED), IN_TIME, Payment.BLOCKED_REPEATED),
        (S.FORMING, (2, IN_TIME, R.REFUNDED), IN_TIME, Payment.REFUNDED),
    ],
)
def test_the_verdicts_on_payments(
    team: Team.Status,
    order: tuple[int, Any, str],
    paid_at: datetime,
    payment: Payment,
    blocked: bool,
) -> None:
    """The first payments of a blacklisted channel are refunded; repeats get the same answer."""
    status, was_paid_at, reason = order
    locked = Team(status=team, target_count=3, locked_count=2, expires_at=TOO_LATE)

    judged = decide(
        locked,
        Order(status=status, paid_at=was_paid_at, close_reason=reason),
        paid_at=paid_at,
        blocked=blocked,
    )

    assert judged is (Payment.BLOCKED if blocked and was_paid_at is None else payment)
