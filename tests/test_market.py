"""An offer as a shopper sees it: open teams, whatever else is in the database, and counts."""

from datetime import timedelta
from functools import partial

import pytest
import time_machine
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from activity.trial import TrialQuery
from groupbuy.ids import new_id
from tests.checks import broken_invariants
from tests.factories import (
    GOODS,
    NOW,
    lock,
    make_activity,
    make_channel,
    make_team,
    refund,
    settle,
)
from tests.racing import race
from trade import market
from trade.expire import close_overdue_holds
from trade.market import Statistic, read_market
from trade.models import CompletedTeams, Order, Team

pytestmark = pytest.mark.django_db


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="MariaDB scans small tables")
def test_the_open_teams_of_a_channel_are_counted_by_the_index_of_ends() -> None:
    """Else the public wall reads every team that the channel has ever opened."""
    activity = make_activity(valid_minutes=15)
    make_team("a", now=NOW - timedelta(minutes=20))
    make_team("b", paid=1)
    with time_machine.travel(NOW, tick=False), CaptureQueriesContext(connection) as captured:
        counted = market.open_counts(make_channel().pk)

    assert counted == {(activity.pk, GOODS): 1}
    [sql] = [each["sql"] for each in captured if "trade_team" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = cursor.fetchall()[0][-1]
    assert plan.endswith("team_by_end (status=? AND expires_at>?)")


def shown(user_id: str = "stranger") -> set[str]:
    """The leaders of the teams that this shopper is shown, masked."""
    return {card.user_id for card in _market(user_id).team_list}


def statistic() -> Statistic:
    return _market("stranger").team_statistic


def _market(user_id: str) -> market.Market:
    return read_market(TrialQuery(user_id, "s01", "c01", GOODS), now=NOW)


def abandon(count: int, *, ends: timedelta) -> None:
    """Teams that everybody has left, as the hold sweep leaves them."""
    pattern = Team.objects.get(pk=lock("pattern").team_id)
    refund("pattern")
    pattern.refresh_from_db(fields=["locked_count", "status"])
    for _each in range(count):
        pattern.pk, pattern.expires_at, pattern._state.adding = new_id(), NOW + ends, True
        pattern.save(force_insert=True)


def test_abandoned_teams_take_no_room_of_open_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "POOL", 3)
    make_activity(take_limit=9)
    abandon(5, ends=timedelta(minutes=1))
    lock("open1")
    lock("open2")

    assert shown() == {"op***1", "op***2"}


def test_teams_that_somebody_has_paid_for_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "POOL", 3)
    make_activity()
    for n in range(5):
        lock(f"held{n}", now=NOW - timedelta(minutes=5))
    make_team("paid1", paid=1)
    make_team("paid2", paid=1)

    pool = [shown() for _each in range(40)]

    assert {"pa***1", "pa***2"} <= set().union(*pool)
    assert len({name for names in pool for name in names if name.startswith("he")}) == 1


def test_a_team_is_listed_while_it_has_a_member_and_a_free_seat() -> None:
    make_activity(take_limit=9, hold_minutes=10)
    team = make_team("a", "b")
    listings = []

    def note() -> None:
        team.refresh_from_db()
        listings.append(team.listing)

    note()
    settle("a")
    note()
    lock("c", team_id=str(team.pk))  # full
    note()
    refund("c")
    note()
    refund("a")
    note()
    close_overdue_holds(clock=lambda: NOW + timedelta(minutes=40))
    note()

    Listing = Team.Listing  # noqa: N806
    assert listings == [
        Listing.UNPAID,
        Listing.PAID,
        Listing.HIDDEN,
        Listing.PAID,
        Listing.UNPAID,
        Listing.HIDDEN,
    ]


def test_every_team_is_counted_once() -> None:
    make_activity(target_count=2, take_limit=9)
    assert statistic() == Statistic(0, 0, 0)

    make_team("a", "b", paid=2)
    make_team("c", "d", paid=2)
    lock("e")
    assert statistic() == Statistic(3, 2, 5)

    refund("c")
    assert statistic() == Statistic(3, 2, 4)
    refund("d")
    assert statistic() == Statistic(2, 1, 3)
    refund("d")
    assert statistic() == Statistic(2, 1, 3)
    refund("e")
    assert statistic() == Statistic(1, 1, 2)
    assert broken_invariants() == {}


def test_a_count_that_is_not_that_of_its_teams_is_found() -> None:
    make_activity(target_count=2)
    make_team("a", "b", paid=2)

    CompletedTeams.objects.exclude(teams=0).update(seats=3)

    assert list(broken_invariants().values()) == [
        ["activity 100123: counts 1 complete teams and 3 seats, has 1 and 2"]
    ]


@pytest.mark.django_db(transaction=True)
def test_completions_at_the_same_moment_are_all_counted() -> None:
    """Mutation: counts.add() without F(), or without ignore_conflicts."""
    make_activity(target_count=2)
    teams = [make_team(f"a{n}", f"b{n}", paid=1) for n in range(6)]
    assert not CompletedTeams.objects.exists()
    paid = [partial(settle, f"b{n}") for n in range(6)]

    results = race(*paid)

    assert [type(result) for result in results] == [Order] * 6
    assert CompletedTeams.objects.aggregate(Sum("teams"), Sum("seats")) == {
        "teams__sum": len(teams),
        "seats__sum": 12,
    }
    assert broken_invariants() == {}
