"""Requests at the same moment. Judged on MariaDB: SQLite serializes every writer.

Each test names the mutation that breaks it; each was tried.
"""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from groupbuy.errors import ErrorCode
from tests.checks import broken_invariants
from tests.factories import (
    NOW,
    close,
    confirm,
    lock,
    lock_command,
    make_activity,
    make_channel,
    make_promise,
    make_team,
    refund,
    set_switch,
    settle,
    settle_command,
)
from tests.racing import LATE, deadlocks, meet_after, overtake, race, refusals
from trade import confirm as confirm_module
from trade import expire
from trade import lock as lock_module
from trade import settle as settle_module
from trade.lock import lock_order
from trade.models import NotifyTask, Order, Team
from trade.notify import outbox, transports
from trade.notify.transports import Result
from trade.refund import Outcome
from trade.settle import settle_order
from trade.turns import free_turn, live_seats

pytestmark = pytest.mark.django_db(transaction=True)
on_mariadb = pytest.mark.skipif(
    "connection.vendor != 'mysql'", reason="SQLite has no row locks to look at"
)


def test_one_seat_is_sold_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: drop locked_count__lt=F("target_count") in lock._take_seat and the constraint
    team_never_oversold. Either alone still holds."""
    make_activity()
    team = make_team("a", "b")
    commands = [lock_command(f"u{n}", team_id=str(team.pk)) for n in range(8)]
    meet_after(monkeypatch, lock_module, "_read", parties=8)

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    assert set(refusals(results)) <= {ErrorCode.SEAT_LOST, ErrorCode.TEAM_FULL}
    assert len(refusals(results)) == 7
    team.refresh_from_db()
    assert (team.locked_count, team.orders.count()) == (3, 3)


@on_mariadb
def test_a_seat_taken_by_reading_first_is_sold_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The race is real: this is how the seat is lost without the conditional UPDATE."""
    both_read = Barrier(2)

    def naive(ctx: lock_module.LockContext, team: Team) -> Team:
        team = Team.objects.get(pk=team.pk)
        both_read.wait(LATE)
        Team.objects.filter(pk=team.pk).update(locked_count=team.locked_count + 1)
        return team

    make_activity()
    team = make_team("a", "b")
    monkeypatch.setattr(lock_module, "_take_seat", naive)
    commands = [lock_command(f"u{n}", team_id=str(team.pk)) for n in range(2)]

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    team.refresh_from_db()
    assert refusals(results) == []
    assert (team.locked_count, team.orders.count()) == (3, 4)
    assert [name[:2] for name in broken_invariants()] == ["2."]


def test_the_last_two_payments_complete_the_team_once() -> None:
    """Mutation: lock_team_of reads the team instead of locking it."""
    make_activity(target_count=2, take_limit=20)
    for n in range(10):
        team = _team_of_two(n)

        results = race(
            *[
                partial(
                    settle_order, settle_command(user_id, out_trade_no=f"{user_id}{n}"), now=NOW
                )
                for user_id in ("a", "b")
            ]
        )

        assert refusals(results) == []
        team.refresh_from_db()
        promise = NotifyTask.objects.get(key=f"team_success-{team.pk}")
        assert (team.status, team.paid_count) == (Team.Status.COMPLETE, 2)
        assert promise.payload.endswith(f'"outTradeNoList":["a{n}","b{n}"]}}')
    assert NotifyTask.objects.count() == 10
    assert broken_invariants() == {}


def give_each_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look-up of turns return another free turn, so that their unique key stops nobody."""
    turns = count(2)
    monkeypatch.setattr(lock_module, "free_turn", lambda taken, limit: next(turns))


def test_the_hold_limit_holds_against_simultaneous_locks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: remove the unique key order_within_hold_limit."""
    make_activity(take_limit=1000)  # more turns than look-ups of turns
    set_switch("holdLimit", "2")
    give_each_a_turn(monkeypatch)
    monkeypatch.setattr(lock_module, "_free_hold", lambda ctx: free_turn(ctx.turns.holds, 2))
    commands = [lock_command("a", out_trade_no=f"t{n}") for n in range(8)]
    meet_after(monkeypatch, lock_module, "_read", parties=8)

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    assert refusals(results) == [ErrorCode.TOO_MANY_HOLDS] * 6
    assert set(Order.objects.values_list("hold_no", flat=True)) == {1, 2}
    assert broken_invariants() == {}


def _team_of_two(n: int) -> Team:
    first = lock("a", out_trade_no=f"a{n}")
    return lock("b", out_trade_no=f"b{n}", team_id=str(first.team_id)).team


@pytest.mark.parametrize("joining", [False, True])
def test_the_same_lock_eight_times_yields_one_order(
    joining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: remove the unique key order_once_per_out_trade_no."""
    make_activity(take_limit=1000)  # more turns than look-ups of turns
    team_id = str(make_team("leader").pk) if joining else ""
    give_each_a_turn(monkeypatch)
    command = lock_command("a", team_id=team_id)
    meet_after(monkeypatch, lock_module, "_read", parties=8)

    results = race(*[partial(lock_order, command, now=NOW)] * 8)

    assert refusals(results) == []
    assert len({order.pk for order in results}) == 1
    assert Team.objects.count() == 1
    assert broken_invariants() == {}


def test_take_limit_holds_against_a_double_click(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: remove the unique key order_within_take_limit."""
    make_activity(take_limit=1)
    commands = [lock_command("a", out_trade_no=f"t-{n}") for n in range(4)]
    meet_after(monkeypatch, lock_module, "_read", parties=4)

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    assert refusals(results) == [ErrorCode.TAKE_LIMIT_REACHED] * 3
    assert (Order.objects.count(), Team.objects.count()) == (1, 1)


def test_turns_within_the_limit_are_all_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: rows.TRIES = 1: one of two requests that chose the same turn is refused."""
    make_activity(take_limit=2)
    commands = [lock_command("a", out_trade_no=f"t-{n}") for n in range(2)]
    meet_after(monkeypatch, lock_module, "_read", parties=2)

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    assert refusals(results) == []
    assert set(Order.objects.values_list("take_no", flat=True)) == {1, 2}


def test_one_seat_per_team_holds_against_a_double_click(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: remove the unique key order_one_seat_per_team.

    Both clicks get different turns, as if a hold ended between their two look-ups.
    """
    make_activity(take_limit=9, target_count=9)
    team = make_team("leader")
    give_each_a_turn(monkeypatch)
    meet_after(monkeypatch, lock_module, "_read", parties=4)
    commands = [lock_command("a", out_trade_no=f"t-{n}", team_id=str(team.pk)) for n in range(4)]

    results = race(*[partial(lock_order, command, now=NOW) for command in commands])

    assert refusals(results) == [ErrorCode.ALREADY_IN_TEAM] * 3
    team.refresh_from_db()
    assert (team.locked_count, team.orders.count()) == (2, 2)


def test_lock_and_settlement_crossing_never_deadlock() -> None:
    """Mutation: lock_team_of locks Order before Team, or _lock inserts the order first."""
    make_activity(target_count=1000, take_limit=1)
    team_id = str(make_team("m0", "m1").pk)
    before = deadlocks()

    for n in range(0, 200, 2):
        results = race(
            partial(settle_order, settle_command(f"m{n}"), now=NOW),
            partial(settle_order, settle_command(f"m{n + 1}"), now=NOW),
            partial(lock_order, lock_command(f"m{n + 2}", team_id=team_id), now=NOW),
            partial(lock_order, lock_command(f"m{n + 3}", team_id=team_id), now=NOW),
        )
        assert refusals(results) == []

    assert deadlocks() == before
    team = Team.objects.get()
    assert (team.locked_count, team.paid_count) == (202, 200)


def test_a_late_payment_repeated_at_once_is_refunded_once() -> None:
    """Mutation: lock_team_of reads the rows instead of locking them."""
    make_activity()
    lock("a")
    late = NOW + timedelta(minutes=16)
    command = settle_command("a", paid_at=late)

    results = race(*[partial(settle_order, command, now=late)] * 4)

    assert refusals(results) == [ErrorCode.PAID_TOO_LATE] * 4
    assert NotifyTask.objects.count() == 1
    assert Team.objects.get().locked_count == 0


def test_refund_and_settlement_of_one_order_end_in_one_place() -> None:
    """Mutation: lock_team_of reads the rows instead of locking them.

    Either the payment came first and is given back, or it came after and is late.
    """
    make_activity(take_limit=99)
    for n in range(20):
        order = lock("a", out_trade_no=f"t{n}")

        race(
            partial(settle_order, settle_command("a", out_trade_no=f"t{n}"), now=NOW),
            partial(refund, "a", out_trade_no=f"t{n}"),
        )

        order.refresh_from_db()
        promises = NotifyTask.objects.filter(key__startswith=f"team_refund-{order.pk}-")
        kinds = sorted(promise.key.rsplit("-", 1)[1] for promise in promises)
        assert order.status == Order.Status.CLOSED
        assert kinds in (["paid_unformed"], ["paid_unformed", "unpaid_unlock"])
    assert broken_invariants() == {}


def test_a_refund_against_the_completing_settlement() -> None:
    """Mutation: lock_team_of reads the rows instead of locking them.

    Either the team completes and loses a member, or it goes on forming; never both.
    """
    make_activity(target_count=2, take_limit=99)
    for n in range(20):
        team = _team_of_two(n)
        settle("a", out_trade_no=f"a{n}")

        results = race(
            partial(settle_order, settle_command("b", out_trade_no=f"b{n}"), now=NOW),
            partial(refund, "a", out_trade_no=f"a{n}"),
        )

        assert refusals(results) == []
        team.refresh_from_db()
        assert (team.locked_count, team.paid_count) == (1, 1)
        completed = NotifyTask.objects.filter(key=f"team_success-{team.pk}").exists()
        formed = NotifyTask.objects.filter(
            key__endswith="-paid_formed", payload__contains=str(team.pk)
        )
        assert (completed, formed.exists()) == (
            (True, True) if team.status == Team.Status.COMPLETE_WITH_REFUNDS else (False, False)
        )
    assert broken_invariants() == {}


@pytest.mark.parametrize(("amounts", "refused"), [((71, 72, 73, 74), 3), ((80,) * 4, 0)])
def test_one_of_several_confirmations_at_once_is_recorded_and_the_answer_to_its_repeats(
    monkeypatch: pytest.MonkeyPatch, amounts: tuple[int, ...], refused: int
) -> None:
    """Mutation: drop refund_at=None in confirm._record."""
    make_activity()
    make_team("a", paid=1)
    refund("a")
    parties = 1 if connection.vendor == "sqlite" else len(amounts)  # which lets in one at a time
    meet_after(monkeypatch, confirm_module, "_require_due", parties=parties)

    reports = [(Decimal(amount), NOW + timedelta(minutes=n)) for n, amount in enumerate(amounts)]
    results = race(*[partial(confirm, "a", str(amount), now=at) for amount, at in reports])

    assert refusals(results) == [ErrorCode.ILLEGAL_PARAMETER] * refused
    recorded = Order.objects.values_list("refund_amount", "refund_at").get()
    answers = [(each.refund_amount, each.refund_at) for each in results if isinstance(each, Order)]
    assert answers == [recorded] * (len(amounts) - refused)
    assert recorded in reports
    assert broken_invariants() == {}


def test_a_joiner_takes_the_seat_that_a_refund_releases_or_is_refused() -> None:
    """Mutation: drop locked_count__lt=F("target_count") and the constraint team_never_oversold."""
    make_activity(target_count=2, take_limit=99)
    set_switch("holdLimit", "off")
    for n in range(10):
        team = _team_of_two(n)
        joiner = lock_command("c", out_trade_no=f"c{n}", team_id=str(team.pk))

        results = race(
            partial(refund, "a", out_trade_no=f"a{n}"),
            partial(lock_order, joiner, now=NOW),
        )

        seats = {ErrorCode.TEAM_FULL, ErrorCode.SEAT_LOST, ErrorCode.SEAT_REFUSED}
        assert set(refusals(results)) <= seats
        team.refresh_from_db()
        assert team.locked_count == 2 - len(refusals(results))
    assert broken_invariants() == {}


def test_a_hold_that_times_out_as_it_is_paid_is_seated() -> None:
    """Mutation: lock_team_of_hold reads the rows instead of locking them."""
    make_activity(take_limit=99)
    later = NOW + timedelta(minutes=31)
    for n in range(10):
        order = lock("a", out_trade_no=f"t{n}")
        Team.objects.filter(pk=order.team_id).update(expires_at=NOW + timedelta(hours=1))

        race(
            partial(settle_order, settle_command("a", out_trade_no=f"t{n}"), now=NOW),
            partial(expire.close_overdue_holds, clock=lambda: later),
        )

        order.refresh_from_db()
        assert (order.status, order.close_reason) == (Order.Status.PAID, "")
    assert broken_invariants() == {}


def test_a_team_that_ends_with_its_last_payment_ends_once() -> None:
    """Mutation: lock_next_team does not lock. Completed or refunded, never both."""
    make_activity(target_count=2, take_limit=99)
    later = NOW + timedelta(minutes=17)
    outcomes = set()
    for n in range(20):
        team = _team_of_two(n)
        settle("a", out_trade_no=f"a{n}")

        results = race(
            partial(settle_order, settle_command("b", out_trade_no=f"b{n}"), now=later),
            partial(expire.end_overdue_teams, clock=lambda: later),
        )

        team.refresh_from_db()
        promises = NotifyTask.objects.filter(payload__contains=str(team.pk))
        events = sorted(promises.values_list("event", flat=True))
        outcomes.add(team.status)
        if team.status == Team.Status.COMPLETE:
            assert (refusals(results), events) == ([], ["team_success"])
        else:
            assert refusals(results) == [ErrorCode.PAID_TOO_LATE]
            assert events[:2] == ["team_refund", "team_refund"]
            assert (team.locked_count, team.paid_count) == (0, 0)
    assert outcomes <= {Team.Status.COMPLETE, Team.Status.FAILED}
    assert broken_invariants() == {}


def test_sweeps_of_four_workers_end_every_team_and_hold_once() -> None:
    """Mutation: lock_next_team and lock_team_of_hold do not lock."""
    make_activity(take_limit=99, hold_minutes=10)
    set_switch("holdLimit", "off")
    for n in range(20):
        lock("a", out_trade_no=f"a{n}")
        settle("a", out_trade_no=f"a{n}")
        lock("b", out_trade_no=f"b{n}")
    later = NOW + timedelta(minutes=31)

    holds = race(*[partial(expire.close_overdue_holds, clock=lambda: later)] * 4)
    teams = race(*[partial(expire.end_overdue_teams, clock=lambda: later)] * 4)

    assert (sum(holds), sum(teams)) == (20, 40)
    assert NotifyTask.objects.count() == 40
    assert set(Team.objects.values_list("status", "locked_count")) == {(Team.Status.FAILED, 0)}
    assert broken_invariants() == {}


def test_a_lock_and_a_late_reseat_do_not_share_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: rows.TRIES = 1."""

    looked = Event()

    def slow(**shopper: Any) -> dict[int, int]:
        seats = live_seats(**shopper)
        looked.set()
        time.sleep(0.2)
        return seats

    def lock_meanwhile() -> Order:
        assert looked.wait(LATE)
        return lock_order(lock_command("a", out_trade_no="t-b"), now=NOW)

    make_activity(take_limit=1)
    close(lock("a", out_trade_no="t-a"), Order.CloseReason.HOLD_TIMEOUT)
    monkeypatch.setattr(settle_module, "live_seats", slow)

    results = race(
        partial(settle_order, settle_command("a"), now=NOW),
        lock_meanwhile,
    )

    assert refusals(results) in ([ErrorCode.PAID_TOO_LATE], [ErrorCode.TAKE_LIMIT_REACHED])
    assert Order.objects.exclude(status=Order.Status.CLOSED).count() == 1


@on_mariadb
def test_the_team_is_locked_before_its_order_is_changed() -> None:
    """Mutation: lock_team_of reads the team; or closes or pays the order before it locks."""
    make_activity()
    lock("a")

    with CaptureQueriesContext(connection) as queries:
        settle("a")
        refund("a")

    statements = [query["sql"] for query in queries if "`trade_" in query["sql"]]
    steps = [
        (sql.split()[0], sql.split("`trade_")[1].split("`")[0], sql.endswith("FOR UPDATE"))
        for sql in statements
    ]
    change = [("SELECT", "order", False), ("SELECT", "team", True), ("UPDATE", "order", False)]
    settled = [*change, ("UPDATE", "team", False)]
    refunded = [*change, ("UPDATE", "team", False), ("INSERT", "notifytask", False)]
    assert steps == settled + refunded


@on_mariadb
def test_a_settlement_notices_a_refund_since_it_read_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: _mark_paid() updates the order without `was`."""
    make_activity()
    order = lock("a")

    settlement = partial(settle_order, settle_command("a"), now=NOW)
    results = overtake(monkeypatch, settlement, partial(refund, "a"))

    assert refusals(results) == [ErrorCode.PAID_TOO_LATE]
    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Order.Status.CLOSED, "late_payment")
    assert broken_invariants() == {}


@on_mariadb
def test_a_refund_notices_a_settlement_since_it_read_the_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: close_order() updates the order without `was`."""
    make_activity()
    order = lock("a")

    settlement = partial(settle_order, settle_command("a"), now=NOW)
    results = overtake(monkeypatch, partial(refund, "a"), settlement)

    assert refusals(results) == []
    assert NotifyTask.objects.get().key == f"team_refund-{order.pk}-paid_unformed"
    assert broken_invariants() == {}


def test_four_workers_send_every_promise_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutations: outbox._claim without `next_attempt_at__lte`; leases that end together."""
    channel = make_channel()
    for n in range(40):
        make_promise(f"team_success-{n}", channel=channel, endpoint=f"host{n % 5}")
    sent: list[str] = []

    def send(tasks: Sequence[NotifyTask], *, now: Any) -> dict[str, Result]:
        sent.append(tasks[0].key)
        time.sleep(0.002)
        return {tasks[0].key: Result()}

    monkeypatch.setattr(transports, "send", send)

    counts = race(*[partial(outbox.deliver_due, clock=lambda: NOW)] * 4)

    assert sum(counts) == 40
    assert Counter(sent) == {f"team_success-{n}": 1 for n in range(40)}
    assert set(NotifyTask.objects.values_list("state", "attempts")) == {(1, 1)}


@on_mariadb
@pytest.mark.parametrize("paid_first", [True, False])
def test_a_refund_that_read_the_order_before_its_team_ended_is_no_failure(
    paid_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: refund.apply() answers FAIL for an order read before its team was locked."""
    make_activity(target_count=1)
    order = lock("a")
    completion = partial(settle_order, settle_command("a"), now=NOW)
    end = partial(expire.end_overdue_teams, clock=lambda: order.team.expires_at + expire.GRACE)

    results = overtake(monkeypatch, partial(refund, "a"), completion if paid_first else end)

    assert results[0].outcome is (Outcome.SUCCESS if paid_first else Outcome.REPEAT)
    order.refresh_from_db()
    assert order.status == Order.Status.CLOSED
    assert broken_invariants() == {}
