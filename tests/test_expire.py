"""Expiry of holds, of teams of both group types, and of activities; nothing ends too early."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.schedulers import ModelEntry

from activity.models import Activity
from groupbuy.celery import app
from groupbuy.errors import ErrorCode, GroupBuyError
from tests.checks import broken_invariants
from tests.factories import NOW, lock, make_activity, make_team, refund, settle
from trade import expire, tasks
from trade.endings import close_order
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db
END = NOW + timedelta(minutes=15)
GRACE = timedelta(minutes=2)
TICK = timedelta(microseconds=1)


def holds(now: datetime) -> int:
    return expire.close_overdue_holds(clock=lambda: now)


def teams(now: datetime) -> int:
    return expire.end_overdue_teams(clock=lambda: now)


def kinds() -> list[str]:
    keys = NotifyTask.objects.order_by("pk").values_list("key", flat=True)
    return [key.rsplit("-", 1)[1] if "refund" in key else "team_success" for key in keys]


def test_a_hold_is_closed_at_its_deadline_and_gives_back_its_seat() -> None:
    make_activity(hold_minutes=5)
    order = lock("a")
    deadline = NOW + timedelta(minutes=5)

    assert holds(deadline - TICK) == 0
    assert holds(deadline) == 1
    assert holds(deadline) == 0

    order.refresh_from_db()
    assert (order.status, order.close_reason, order.closed_at) == (2, "hold_timeout", deadline)
    assert (order.take_no, order.seat_of) == (None, None)
    assert Team.objects.get().locked_count == 0
    assert kinds() == ["unpaid_unlock"]
    assert lock("a", out_trade_no="t-again").take_no == 1


def test_a_hold_that_ends_with_its_team_is_closed_with_it() -> None:
    make_activity(hold_minutes=15)
    order = lock("a")
    assert order.pay_deadline == END

    assert holds(END + GRACE) == 0
    assert settle("a", paid_at=END - TICK, now=END + GRACE - TICK).status == Order.Status.PAID
    assert kinds() == []

    late = lock("b", out_trade_no="b")
    assert (holds(END + GRACE), teams(END + GRACE)) == (0, 2)
    late.refresh_from_db()
    assert (late.status, late.close_reason) == (Order.Status.CLOSED, "team_ended")


def test_a_paid_order_is_not_closed() -> None:
    make_activity(hold_minutes=5)
    lock("a")
    settle("a")

    assert holds(NOW + timedelta(days=1)) == 0
    assert kinds() == []


@pytest.mark.parametrize("sweep", ["paid", "given back"])
def test_an_order_that_changed_since_it_was_found_due_is_left_alone(
    sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: _close_hold does not look at the locked order's status."""
    make_activity(hold_minutes=5)
    lock("a")
    meanwhile = settle if sweep == "paid" else refund
    monkeypatch.setattr("trade.expire.random.shuffle", lambda found: meanwhile("a"))

    assert holds(NOW + timedelta(minutes=5)) == 0
    assert kinds() == ([] if sweep == "paid" else ["unpaid_unlock"])


def test_a_team_that_must_fill_fails_after_its_grace_and_gives_all_money_back() -> None:
    make_activity()
    team = make_team("a", "b", paid=1)

    assert teams(END + GRACE - TICK) == 0
    assert teams(END + GRACE) == 1
    assert teams(END + GRACE) == 0

    team.refresh_from_db()
    assert (team.status, team.locked_count, team.paid_count) == (Team.Status.FAILED, 0, 0)
    assert (team.completed_at, team.completed_by_shop) == (None, False)
    assert set(Order.objects.values_list("status", "close_reason")) == {(2, "team_ended")}
    assert kinds() == ["paid_unformed", "unpaid_unlock"]
    assert broken_invariants() == {}


def test_a_payment_made_in_time_is_seated_during_the_grace_and_refunded_after() -> None:
    make_activity(target_count=2)
    make_team("a", "b")
    in_time = END - timedelta(seconds=1)

    settle("a", paid_at=in_time, now=END + GRACE - TICK)
    teams(END + GRACE)
    with pytest.raises(GroupBuyError) as caught:
        settle("b", paid_at=in_time, now=END + GRACE)

    assert caught.value.error is ErrorCode.PAID_TOO_LATE
    assert sorted(kinds()) == ["paid_unformed", "paid_unformed", "unpaid_unlock"]
    assert broken_invariants() == {}


def test_the_shop_completes_a_team_that_somebody_has_paid_for() -> None:
    make_activity(group_type=Activity.GroupType.SHOP_COMPLETES)
    team = make_team("a", "b", paid=1)

    assert teams(END + GRACE) == 1

    team.refresh_from_db()
    assert (team.status, team.completed_by_shop) == (Team.Status.COMPLETE, True)
    assert (team.locked_count, team.paid_count, team.completed_at) == (1, 1, END + GRACE)
    assert kinds() == ["unpaid_unlock", "team_success"]
    success = NotifyTask.objects.get(event="team_success")
    assert success.payload == f'{{"teamId":"{team.pk}","outTradeNoList":["t-a"]}}'
    assert broken_invariants() == {}

    refund("a")
    team.refresh_from_db()
    assert team.status == Team.Status.FAILED
    assert broken_invariants() == {}


def test_the_shop_does_not_complete_a_team_that_nobody_has_paid_for() -> None:
    make_activity(group_type=Activity.GroupType.SHOP_COMPLETES)
    team = make_team("a")

    teams(END + GRACE)

    team.refresh_from_db()
    assert (team.status, team.completed_by_shop) == (Team.Status.FAILED, False)
    assert kinds() == ["unpaid_unlock"]


def test_a_teams_rules_are_those_it_was_opened_under() -> None:
    activity = make_activity()
    team = make_team("a", paid=1)
    Activity.objects.filter(pk=activity.pk).update(group_type=0, end_at=NOW, valid_minutes=999)

    teams(END + GRACE)

    team.refresh_from_db()
    assert team.status == Team.Status.FAILED


def test_a_complete_team_is_left_alone() -> None:
    make_activity(target_count=1)
    make_team("a", paid=1)

    assert teams(NOW + timedelta(days=1)) == 0


def test_an_activity_expires_at_its_edited_end() -> None:
    activity = make_activity()
    other = make_activity(100124, goods_id="9890002", status=Activity.Status.ABANDONED)
    end = activity.end_at
    Activity.objects.filter(pk=activity.pk).update(end_at=end + timedelta(hours=1))

    assert expire.expire_activities(now=end) == 0
    assert expire.expire_activities(now=end + timedelta(hours=1)) == 1

    activity.refresh_from_db()
    other.refresh_from_db()
    assert (activity.status, other.status) == (2, 3)


@pytest.mark.parametrize("sweep", [holds, teams])
def test_one_failure_blocks_no_other(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity(hold_minutes=5)
    first, second = lock("a"), lock("b")

    def fragile(team: Team, order: Order, *args: Any, **kwargs: Any) -> None:
        if order.pk == first.pk:
            raise ZeroDivisionError
        close_order(team, order, *args, **kwargs)

    monkeypatch.setattr(expire, "close_order", fragile)

    assert sweep(END + GRACE) == 1
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (Order.Status.LOCKED, Order.Status.CLOSED)

    monkeypatch.undo()
    assert sweep(END + GRACE) == 1


def test_failures_that_fill_the_window_hide_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: the sweep ends with the first window of which it has closed none."""
    monkeypatch.setattr(expire, "WINDOW", 2)
    make_activity(hold_minutes=5)
    broken = {lock(user, now=NOW + n * TICK).pk for n, user in enumerate("ab")}
    last = lock("c", now=NOW + 2 * TICK)

    def fragile(team: Team, order: Order, *args: Any, **kwargs: Any) -> None:
        if order.pk in broken:
            raise ZeroDivisionError
        close_order(team, order, *args, **kwargs)

    monkeypatch.setattr(expire, "close_order", fragile)

    assert holds(NOW + timedelta(minutes=6)) == 1

    last.refresh_from_db()
    assert last.status == Order.Status.CLOSED


@pytest.mark.parametrize("sweep", [holds, teams])
def test_a_database_that_is_away_ends_the_sweep(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_activity(hold_minutes=5)
    lock("a")

    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(2006, "Server has gone away")

    monkeypatch.setattr(expire, "close_order", gone)

    with pytest.raises(OperationalError):
        sweep(END + GRACE)
    assert Order.objects.get().status == Order.Status.LOCKED


def test_a_sweep_that_cannot_look_for_teams_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table or column may be missing until the migrations have run."""
    looks: list[None] = []

    def missing(**_arguments: Any) -> None:
        looks.append(None)
        raise ProgrammingError(1146, "Table 'trade_team' doesn't exist")

    monkeypatch.setattr(expire, "lock_next_team", missing)

    with pytest.raises(ProgrammingError):
        teams(END)
    assert len(looks) == 1


@pytest.mark.parametrize("sweep", [holds, teams])
def test_collisions_are_left_to_the_next_sweep_with_one_line(
    sweep: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_activity(hold_minutes=5)
    lock("a")
    lock("b")

    def collide(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    with monkeypatch.context() as colliding:
        colliding.setattr(expire, "close_order", collide)
        assert sweep(END + GRACE) == 0
    assert [(each.message, each.exc_info) for each in caplog.records] == [
        ("2 orders or teams were changed elsewhere meanwhile", None)
    ]
    assert sweep(END + GRACE) == 2


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="MariaDB scans small tables")
def test_due_holds_are_read_in_the_order_of_an_index() -> None:
    with CaptureQueriesContext(connection) as captured:
        holds(END)

    [sql] = [each["sql"] for each in captured if "trade_order" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        orders, teams = [row[-1] for row in cursor.fetchall()]
    assert orders.endswith("order_by_state (status=? AND close_reason=? AND pay_deadline<?)")
    assert teams.endswith("(id=?)")


@pytest.mark.django_db
def test_every_scheduled_task_exists_and_expires_within_its_period() -> None:
    app.loader.import_default_modules()
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry["task"] in app.tasks
        expires = ModelEntry.from_entry(name, app=app, **entry).model.expire_seconds
        period = entry["schedule"]
        assert expires == (period.total_seconds() if isinstance(period, timedelta) else 3600)


def test_the_tasks_call_the_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    names = [
        *("close_overdue_holds", "end_overdue_teams"),
        *("fail_teams_of_closed", "expire_activities"),
    ]
    for name in names:
        monkeypatch.setattr(expire, name, lambda _name=name, **kwargs: called.append(_name))
        getattr(tasks, name)()

    assert called == names
