"""Refund (退单): three kinds, each applied once, and the rows that they leave."""

import json
from datetime import timedelta
from typing import Any

import pytest

from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import Channel
from tests.checks import broken_invariants
from tests.factories import (
    NOW,
    URL,
    close,
    lock,
    make_activity,
    make_channel,
    make_team,
    refund,
    settle,
)
from trade import watch
from trade.models import NotifyTask, Order, RefundType, Team
from trade.refund import Outcome, decide

pytestmark = pytest.mark.django_db
S, O = Team.Status, Order.Status  # noqa: E741


@pytest.mark.parametrize(
    ("team", "order", "kind"),
    [
        (S.FORMING, O.LOCKED, RefundType.UNPAID_UNLOCK),
        (S.FORMING, O.PAID, RefundType.PAID_UNFORMED),
        (S.COMPLETE, O.PAID, RefundType.PAID_FORMED),
        (S.COMPLETE_WITH_REFUNDS, O.PAID, RefundType.PAID_FORMED),
        (S.COMPLETE, O.LOCKED, None),
        (S.FAILED, O.PAID, None),
        (S.FAILED, O.LOCKED, None),
    ],
)
def test_which_kind_of_refund(
    team: Team.Status, order: Order.Status, kind: RefundType | None
) -> None:
    assert decide(team, order) is kind


def test_an_unpaid_order_gives_back_seat_and_turn() -> None:
    make_activity(take_limit=1)
    team = make_team("a", "b")

    outcome = refund("a", now=NOW + timedelta(minutes=1))

    team.refresh_from_db()
    order = Order.objects.get(user_id="a")
    promise = NotifyTask.objects.get()
    assert outcome.outcome is Outcome.SUCCESS
    assert (team.locked_count, team.paid_count, team.status) == (1, 0, S.FORMING)
    assert (order.status, order.close_reason, order.closed_at) == (
        O.CLOSED,
        "refunded",
        NOW + timedelta(minutes=1),
    )
    assert (promise.key, promise.event) == (f"team_refund-{order.pk}-unpaid_unlock", "team_refund")
    assert json.loads(promise.payload) == {
        "type": "unpaid_unlock",
        "userId": "a",
        "teamId": str(team.pk),
        "orderId": str(order.pk),
        "outTradeNo": "t-a",
        "activityId": 100123,
    }
    assert lock("a", out_trade_no="t-again", team_id=str(team.pk)).take_no == 1
    assert broken_invariants() == {}


def test_a_paid_order_leaves_a_forming_team() -> None:
    make_activity()
    team = make_team("a", "b", paid=2)

    refund("a")

    team.refresh_from_db()
    assert (team.locked_count, team.paid_count, team.status) == (1, 1, S.FORMING)
    assert NotifyTask.objects.get().key.endswith("-paid_unformed")
    assert broken_invariants() == {}


def test_a_refund_that_waited_for_the_last_payment_is_closed_after_the_completion() -> None:
    """It arrived a second before the payment, on another machine or in another thread."""
    make_activity()
    team = make_team("a", "b", "c", paid=2)
    settle("c", now=NOW + timedelta(seconds=1))

    refund("a", now=NOW)

    order = Order.objects.get(user_id="a")
    team.refresh_from_db()
    assert order.closed_at == team.completed_at == NOW + timedelta(seconds=1)
    assert watch.read(team.pk).paid_at_the_end == 3


def test_a_formed_team_never_reopens_and_fails_with_its_last_member() -> None:
    make_activity()
    team = make_team("a", "b", "c", paid=3)

    for user_id, status, left in (
        ("a", S.COMPLETE_WITH_REFUNDS, 2),
        ("b", S.COMPLETE_WITH_REFUNDS, 1),
        ("c", S.FAILED, 0),
    ):
        refund(user_id)
        team.refresh_from_db()
        assert (team.status, team.locked_count, team.paid_count) == (status, left, left)
        with pytest.raises(GroupBuyError) as caught:
            lock("d", team_id=str(team.pk))
        assert caught.value.error is ErrorCode.TEAM_NOT_JOINABLE
        assert broken_invariants() == {}

    kinds = NotifyTask.objects.filter(event="team_refund").values_list("key", flat=True)
    assert all(key.endswith("-paid_formed") for key in kinds)
    assert len(kinds) == 3


def test_a_second_refund_changes_nothing() -> None:
    make_activity()
    make_team("a", paid=1)
    first = refund("a")
    before = [list(model.objects.values()) for model in (Team, Order, NotifyTask)]

    again = refund("a", now=NOW + timedelta(hours=1))

    assert (again.outcome, again.order.pk) == (Outcome.REPEAT, first.order.pk)
    assert [list(model.objects.values()) for model in (Team, Order, NotifyTask)] == before


def test_an_order_closed_by_time_is_a_repeat() -> None:
    make_activity()
    close(lock("a"), Order.CloseReason.HOLD_TIMEOUT)

    assert refund("a").outcome is Outcome.REPEAT


def test_unknown_orders_are_not_found() -> None:
    make_activity()
    make_channel("s03", "c03")
    lock("a")

    named: dict[str, Any] = {"user_id": "a", "out_trade_no": "t-a"}
    for other in ({"user_id": "b"}, {"out_trade_no": "x"}, {"source": "s03", "channel": "c03"}):
        with pytest.raises(GroupBuyError) as caught:
            refund(**(named | other))
        assert caught.value.error is ErrorCode.ORDER_NOT_FOUND
    assert Order.objects.get().status == O.LOCKED


def test_a_payment_after_a_refund_is_refunded_too() -> None:
    make_activity()
    order = lock("a")
    refund("a")

    with pytest.raises(GroupBuyError) as caught:
        settle("a")

    order.refresh_from_db()
    assert caught.value.error is ErrorCode.PAID_TOO_LATE
    assert (order.close_reason, Team.objects.get().locked_count) == ("late_payment", 0)
    assert sorted(NotifyTask.objects.values_list("key", flat=True)) == [
        f"team_refund-{order.pk}-paid_unformed",
        f"team_refund-{order.pk}-unpaid_unlock",
    ]
    assert broken_invariants() == {}


def test_a_refund_without_a_destination_is_given_up_at_once() -> None:
    make_activity()
    Channel.objects.update(refund_notify_url="")
    lock("a")

    refund("a")

    promise = NotifyTask.objects.get()
    assert (promise.state, promise.target, promise.next_attempt_at) == (3, "", None)
    assert promise.last_error == (
        "the channel has no refund callback URL, and there is no message broker"
    )


@pytest.mark.parametrize(
    ("url", "sent_to"),
    [
        ("", ("MQ", "topic.team_refund", "RabbitMQ")),
        (URL, ("HTTP", URL, "127.0.0.1:9")),
    ],
)
def test_a_refund_goes_by_mq_where_there_is_a_broker_and_no_url(
    settings: Any, url: str, sent_to: tuple[str, str, str]
) -> None:
    settings.AMQP_URL = "amqp://broker"
    make_activity()
    Channel.objects.update(refund_notify_url=url)
    lock("a")  # by HTTP

    refund("a")

    promise = NotifyTask.objects.get()
    assert (promise.transport, promise.target, promise.endpoint) == sent_to
    assert promise.next_attempt_at == NOW
