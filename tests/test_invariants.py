"""Each invariant finds the rows that break it, and the command prints them."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model
from prometheus_client import REGISTRY

from activity.models import Activity
from tests.checks import broken_invariants
from tests.factories import NOW, lock, make_activity, make_promise, make_team, refund, settle
from trade import invariants, tasks
from trade.models import NotifyAttempt, NotifyTask, Order, Team

pytestmark = pytest.mark.django_db


def broken_numbers() -> list[str]:
    return [sentence[:2] for sentence in broken_invariants()]


@pytest.fixture(autouse=True, params=[1, 2, 1000])
def _page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of rows looked at at once."""
    monkeypatch.setattr(invariants, "PAGE", request.param)


@pytest.fixture
def _trade() -> None:
    """A complete team, one that lost a member, a forming one."""
    make_activity(target_count=2, take_limit=9)
    make_team("a", "b", paid=2)
    make_team("c", "d", paid=2)
    refund("c")
    lock("e")
    lock("f")
    refund("f")


@pytest.mark.usefixtures("_trade")
@pytest.mark.parametrize(
    ("model", "where", "change", "number"),
    [
        (Team, {"status": 0, "locked_count": 1}, {"locked_count": 2}, "2."),
        (Team, {"status": 1}, {"status": 0}, "3. 11"),
        (Team, {"status": 0, "locked_count": 1}, {"completed_at": NOW}, "5."),
        (NotifyTask, {"event": "team_success"}, {"key": "team_success-1"}, "5."),
        (NotifyTask, {"key__endswith": "unpaid_unlock"}, {"key": "x"}, "5."),
        (NotifyTask, {"key__endswith": "paid_formed"}, {"key": "x"}, "5."),
        (Order, {"user_id": "a"}, {"paid_at": NOW + timedelta(days=1)}, "7."),
        (Order, {"user_id": "a"}, {"refund_amount": 80, "refund_at": NOW}, "13"),
        (Order, {"user_id": "c"}, {"refund_amount": 81, "refund_at": NOW}, "13"),
        (Order, {"user_id": "c"}, {"refund_amount": 80}, "13"),
        (Order, {"user_id": "c"}, {"refund_at": NOW}, "13"),
        (Order, {"user_id": "f"}, {"refund_amount": 80, "refund_at": NOW}, "13"),
    ],
)
def test_a_broken_row_is_found(
    model: type[Model], where: dict[str, Any], change: dict[str, Any], number: str
) -> None:
    assert broken_invariants() == {}
    row = model._default_manager.filter(**where).first()
    assert row is not None
    model._default_manager.filter(pk=row.pk).update(**change)

    assert set(broken_numbers()) == set(number.split())


@pytest.mark.usefixtures("_trade")
@pytest.mark.parametrize(("kept", "broken"), [(1, ["6."]), (2, []), (None, ["6."])])
def test_the_limit_of_the_moment_of_the_lock_counts(kept: int | None, broken: list[str]) -> None:
    """None: a row of an older release, judged by the limit of today."""
    second = lock("e", out_trade_no="second")
    assert (second.take_no, second.take_limit) == (2, 9)
    Activity.objects.update(take_limit=1)
    assert broken_invariants() == {}

    Order.objects.filter(pk=second.pk).update(take_limit=kept)

    assert broken_numbers() == broken


def test_overdue_rows_are_found() -> None:
    make_activity()
    lock("a")
    make_promise("late", next_attempt_at=NOW)
    in_time, late = NOW + timedelta(seconds=30), NOW + timedelta(minutes=18)

    def timed(now: Any) -> dict[str, int]:
        found = {sentence[:2]: len(rows) for sentence, rows in invariants.check_all(now)}
        return {number: found[number] for number in ("4.", "9.")}

    assert timed(in_time) == {"4.": 0, "9.": 0}
    assert timed(late) == {"4.": 1, "9.": 1}


def test_a_promise_may_wait_for_others_of_its_endpoint() -> None:
    late = NOW + timedelta(minutes=5)
    waiting = make_promise("waiting", next_attempt_at=NOW, endpoint="slow")
    other = make_promise("served", next_attempt_at=None, endpoint="slow")
    NotifyAttempt.objects.create(task=other, number=1, started_at=late, duration_ms=5000)

    assert list(invariants.promises_are_tried_in_time(late)) == []

    NotifyTask.objects.filter(pk=waiting.pk).update(endpoint="forgotten")
    assert len(list(invariants.promises_are_tried_in_time(late))) == 1


@pytest.mark.usefixtures("_trade")
def test_the_nightly_check_logs_what_is_broken_and_raises_the_metric(caplog: Any) -> None:
    team = Team.objects.get(status=0, locked_count=1)
    Team.objects.filter(pk=team.pk).update(locked_count=2)

    tasks.check_invariants()

    [record] = [each for each in caplog.records if each.name == "trade.invariants"]
    assert record.levelname == "ERROR"
    assert f"team {team.pk}: counts 2 taken and 0 paid, has 1 and 0" in record.getMessage()
    assert REGISTRY.get_sample_value("gbm_invariants_broken") == 1

    Team.objects.filter(pk=team.pk).update(locked_count=1)
    tasks.check_invariants()

    assert REGISTRY.get_sample_value("gbm_invariants_broken") == 0


@pytest.mark.usefixtures("_trade")
def test_the_command_prints_every_invariant_and_exits_with_1() -> None:
    NotifyTask.objects.update(next_attempt_at=None)
    Team.objects.update(expires_at=NOW + timedelta(days=9999))
    out = StringIO()

    call_command("check_invariants", stdout=out)

    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["ok"] * 14

    settle("e")
    Order.objects.filter(user_id="e").update(status=0, hold_no=1)
    with pytest.raises(SystemExit) as caught:
        call_command("check_invariants", stdout=out)
    assert caught.value.code == 1
    assert "BROKEN 2." in out.getvalue()
