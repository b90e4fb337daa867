"""The daily sums match their rows, and follow changes of them."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db.models import F

from groupbuy.errors import GroupBuyError
from tests.factories import NOW, lock, make_activity, make_team, refund, settle
from trade import acts, expire
from trade.figures import rows, sums
from trade.figures.rows import day_of, start_of
from trade.models import DailySum, NotifyTask, Order, SummedDay

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
TODAY = day_of(NOW)


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    """Let ids be made by the test's time."""
    with time_machine.travel(NOW, tick=False) as travelled:
        yield travelled


def keep(now: Any = NOW) -> int:
    return sums.keep(clock=lambda: now)


def kept(figure: str) -> dict[str, int]:
    return dict(DailySum.objects.filter(figure=figure).values_list("bucket", "count"))


def money(figure: str) -> dict[str, Decimal]:
    return dict(DailySum.objects.filter(figure=figure).values_list("bucket", "amount"))


def test_a_day_is_summed() -> None:
    make_activity(target_count=2, take_limit=9)
    make_team("a", "b", paid=2)
    lock("a", out_trade_no="second")
    refund("b")

    assert keep() == 1

    assert kept("teams") == {"team": 1, "running": 1}
    assert kept("completed") == {f"{TODAY} team": 1}
    assert money("settled") == {f"{TODAY} team": Decimal(160)}
    assert money("returned") == {f"{TODAY} refunded": Decimal(80)}
    assert kept("seats") == {"held": 3, "paid": 2}
    assert kept("wait") == {"0": 2}
    assert kept("life") == {"2:0:full": 1}
    everybody = {stage: n for stage, n in kept("stages").items() if stage.startswith("all")}
    assert everybody == {"all:locked": 2, "all:paid": 2, "all:complete": 2, "all:kept": 1}
    assert SummedDay.objects.get().is_open is True


def test_a_team_that_an_operator_ended_has_lived_until_then(clock: Any) -> None:
    make_activity(target_count=2, valid_minutes=60)
    team = make_team("a")
    lock("b")
    ended = NOW + timedelta(minutes=3)
    act = acts.Act(User.objects.create_user("operator").pk, "wrong price", acts.state_of_team(team))
    acts.fail_team(team, act, now=ended)
    late = NOW + 2 * DAY
    clock.move_to(late)
    expire.close_overdue_holds(clock=lambda: late)
    expire.end_overdue_teams(clock=lambda: late)
    keep(late)

    assert kept("life") == {"2:3:ended": 1, "2:60:ended": 1}


def test_a_day_is_summed_again_while_a_team_forms_and_after_a_refund(clock: Any) -> None:
    make_activity(target_count=2, end_at=NOW + 9 * DAY)
    make_team("a", "b", paid=2)
    lock("c")
    tomorrow = NOW + DAY
    clock.move_to(tomorrow)
    expire.close_overdue_holds(clock=lambda: tomorrow)
    expire.end_overdue_teams(clock=lambda: tomorrow)

    assert keep(tomorrow) == 2
    assert kept("teams") == {"team": 1, "failed": 1}
    assert SummedDay.objects.get(day=TODAY).is_open is False
    assert keep(tomorrow + timedelta(hours=1)) == 1  # its own day only
    later = tomorrow + timedelta(hours=2)
    refund("a", now=later)
    assert list(sums.mismatches(later)) == []  # it is known that the day is to be summed again
    assert keep(later) == 2

    assert money("returned") == {f"{day_of(later)} refunded": Decimal(80)}
    assert keep(later + timedelta(hours=1)) == 1
    assert list(sums.mismatches(later + timedelta(hours=1))) == []


def test_a_sum_that_disagrees_with_its_rows_is_found(clock: Any) -> None:
    make_activity(target_count=1)
    make_team("a", paid=1)
    clock.move_to(NOW + 2 * DAY)
    keep(NOW + 2 * DAY)
    assert list(sums.mismatches(NOW + 2 * DAY)) == []
    DailySum.objects.filter(figure="seats", bucket="held").update(count=F("count") + 1)
    DailySum.objects.filter(figure="hours").delete()

    assert list(sums.mismatches(NOW + 2 * DAY)) == [
        f"{TODAY} hours 12: kept None, the rows have (1, Decimal('0'))",
        f"{TODAY} seats held: kept (2, Decimal('0.00')), the rows have (1, Decimal('0'))",
    ]


@pytest.mark.parametrize("summed_again", [False, True])
def test_a_refund_while_the_sums_are_checked_is_no_difference(
    clock: Any, monkeypatch: pytest.MonkeyPatch, summed_again: bool
) -> None:
    make_activity(target_count=2)
    make_team("a", "b", paid=2)
    later = NOW + 2 * DAY
    clock.move_to(later)
    keep(later)
    sum_day = rows.sum_day

    def slowly(day: date) -> Any:
        """A shopper comes between the kept sums and the rows."""
        monkeypatch.setattr(sums, "sum_day", sum_day)
        refund("a", now=later)
        if summed_again:
            keep(later + timedelta(minutes=1))
        return sum_day(day)

    monkeypatch.setattr(sums, "sum_day", slowly)
    assert list(sums.mismatches(later)) == []


def test_a_late_payment_counts_on_the_day_of_its_team(clock: Any) -> None:
    """An operator ended the team after midnight; the payment was on its way."""
    make_activity(target_count=3, valid_minutes=600, hold_minutes=15, end_at=NOW + 9 * DAY)
    evening = start_of(TODAY + DAY) - timedelta(minutes=10)
    clock.move_to(evening)
    team = make_team("a", now=evening)
    lock("b", team_id=str(team.pk), now=evening + timedelta(minutes=12))
    night = evening + timedelta(minutes=22)
    expire.close_overdue_holds(clock=lambda: night)  # that of a
    team.refresh_from_db()
    ended = night + timedelta(minutes=2)
    clock.move_to(ended)
    act = acts.Act(User.objects.create_user("operator").pk, "wrong price", acts.state_of_team(team))
    acts.fail_team(team, act, now=ended)
    keep(ended + DAY)
    with pytest.raises(GroupBuyError, match="E0106"):
        settle("b", paid_at=ended, now=ended + DAY + timedelta(minutes=1))
    assert list(sums.mismatches(ended + DAY + timedelta(minutes=1))) == []

    keep(ended + DAY + timedelta(minutes=2))
    assert list(sums.mismatches(ended + 2 * DAY)) == []


def test_two_runs_at_once_store_a_day_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity()
    lock("a")
    keep()
    lock("b")
    sum_day = rows.sum_day

    def slowly(day: date) -> Any:
        """Let another run finish first."""
        found = sum_day(day)
        monkeypatch.setattr(sums, "sum_day", sum_day)
        lock("c")
        keep(NOW + timedelta(hours=1))
        return found

    monkeypatch.setattr(sums, "sum_day", slowly)
    assert keep(NOW) == 0

    assert kept("seats") == {"held": 3}


def test_a_payment_that_finds_no_seat_is_in_no_gmv() -> None:
    make_activity()
    make_team("a", "b", paid=1)
    late = NOW + timedelta(minutes=16)
    with pytest.raises(GroupBuyError, match="E0106"):
        settle("b", paid_at=late, now=late)

    keep()

    assert money("settled") == {f"{TODAY} waiting": Decimal(80)}
    assert money("returned") == {f"{TODAY} late_payment": Decimal(80)}


def test_every_notification_that_closes_an_order_names_it() -> None:
    """The sums read it from the payload."""
    make_activity()
    order = lock("a")
    refund("a")

    assert json.loads(NotifyTask.objects.get().payload)["orderId"] == str(order.pk)


def test_a_run_killed_while_it_stores_a_day_leaves_the_sums_of_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: _replace() without its transaction."""
    make_activity()
    lock("a")
    keep()
    lock("b")

    def die(*_rows: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DailySum.objects, "bulk_create", die)
        with pytest.raises(KeyboardInterrupt):
            keep(NOW + timedelta(hours=1))
    assert kept("seats") == {"held": 1}

    keep(NOW + timedelta(hours=2))
    assert kept("seats") == {"held": 2}


def test_a_run_killed_between_two_days_forgets_no_refund(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: keep() does not open the changed days before it sums."""
    make_activity(target_count=1, take_limit=9, end_at=NOW + 9 * DAY)
    make_team("a", paid=1)
    clock.move_to(NOW + 2 * DAY)
    make_activity(100124, goods_id="9890002", target_count=1, start_at=NOW, end_at=NOW + 9 * DAY)
    keep(NOW + 2 * DAY)
    now = NOW + 2 * DAY + timedelta(hours=1)
    refund("a", now=now)
    summed: list[date] = []
    sum_day = rows.sum_day

    def once(day: date) -> Any:
        if summed:
            raise KeyboardInterrupt
        summed.append(day)
        return sum_day(day)

    with monkeypatch.context() as patch:
        patch.setattr(sums, "sum_day", once)
        patch.setattr(sums, "unsettled_days", lambda now: [day_of(now), TODAY])
        with pytest.raises(KeyboardInterrupt):
            keep(now)
    assert summed == [day_of(now)]
    later = now + timedelta(hours=1)
    keep(later)

    assert list(sums.mismatches(later)) == []
    assert money("returned") == {f"{day_of(now)} refunded": Decimal(80)}


def test_a_new_day_that_another_run_has_stored_meanwhile_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: _replace() does not catch IntegrityError."""
    make_activity()
    lock("a")
    sum_day = rows.sum_day

    def slowly(day: date) -> Any:
        found = sum_day(day)
        monkeypatch.setattr(sums, "sum_day", sum_day)
        keep(NOW + timedelta(seconds=1))
        return found

    monkeypatch.setattr(sums, "sum_day", slowly)
    assert keep() == 0

    assert SummedDay.objects.get().summed_at == NOW + timedelta(seconds=1)


def test_imported_orders_hide_no_day(clock: Any) -> None:
    make_activity(take_limit=9, end_at=NOW + 9 * DAY)
    lock("a")
    clock.move_to(NOW + 2 * DAY)
    imported = lock("b", now=NOW + 2 * DAY)
    Order.objects.filter(pk=imported.pk).update(id=12345678)

    keep(NOW + 2 * DAY)

    days = SummedDay.objects.order_by("day").values_list("day", flat=True)
    assert list(days) == [TODAY, TODAY + DAY, TODAY + 2 * DAY]
