"""Galera: a refusal is final only once the node has what the cluster has committed."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from groupbuy import galera, rows
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.snapshots import Snapshot
from tests.factories import NOW, lock, make_activity, make_channel, refund, settle
from trade.gate import FullError
from trade.models import Order, Team
from trade.notify.events import read_events
from trade.progress import order_state, team_progress
from trade.refund import Outcome

pytestmark = pytest.mark.django_db
Arriving = Callable[..., list[str]]


@pytest.fixture
def arriving(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Arriving:
    """Run a function while a use case or a copy catches up; the list has an entry for each time."""
    modules = ["groupbuy.rows.galera", "groupbuy.snapshots.galera"]

    def arrange(arrive: Callable[[], Any], where: str = "groupbuy.rows.galera") -> list[str]:
        settings.GALERA, times = True, list[str]()

        def catch_up() -> None:
            times.append("caught up")
            if len(times) == 1:
                arrive()

        for module in modules:  # the configuration is read anew in each test and waits, too
            monkeypatch.setattr(module, SimpleNamespace(catch_up=lambda: None))
        monkeypatch.setattr(where, SimpleNamespace(catch_up=catch_up))
        return times

    return arrange


def test_a_payment_finds_an_order_that_was_locked_at_another_node(arriving: Arriving) -> None:
    make_activity()
    arriving(lambda: lock("a"))

    assert settle("a").status == Order.Status.PAID


def test_a_refund_finds_it_too(arriving: Arriving) -> None:
    make_activity()
    arriving(lambda: lock("a"))

    assert refund("a").outcome is Outcome.SUCCESS


def test_a_lock_finds_the_team(arriving: Arriving) -> None:
    make_activity()
    team = lock("a").team
    Team.objects.filter(pk=team.pk).update(expires_at=NOW)
    end = NOW + timedelta(minutes=15)
    arriving(lambda: Team.objects.filter(pk=team.pk).update(expires_at=end))

    assert lock("b", team_id=str(team.pk)).team_id == team.pk


def test_the_state_of_an_order_and_a_team_is_found_too(arriving: Arriving) -> None:
    activity = make_activity()
    channel_id = activity.offers.get().channel_id
    times = arriving(lambda: lock("a"))

    state = order_state(channel_id=channel_id, out_trade_no="t-a")
    team_id = str(state.order.team_id)

    assert team_progress(channel_id=channel_id, team_id=team_id, now=NOW).members == [state.order]
    assert times == ["caught up"]


def test_events_that_were_numbered_at_another_node_are_found_too(arriving: Arriving) -> None:
    channel_id = make_channel().pk

    def arrive() -> None:
        make_activity()
        lock("a")
        refund("a")
        assert read_events(channel_id=channel_id, after=0).next == 1

    times = arriving(arrive)

    assert read_events(channel_id=channel_id, after=1).next == 1
    assert times == ["caught up"]


def test_a_row_that_no_node_has_is_refused(arriving: Arriving) -> None:
    make_activity()
    times = arriving(lambda: None)

    with pytest.raises(GroupBuyError) as caught:
        settle("a")

    assert caught.value.error is ErrorCode.ORDER_NOT_FOUND
    assert times == ["caught up"]


def test_an_accepted_request_does_not_wait(arriving: Arriving) -> None:
    make_activity()
    times = arriving(lambda: None)
    rows.settled(lambda: None)

    lock("a")
    settle("a")
    refund("a")

    assert times == []


def test_a_refusal_that_rests_on_no_row_does_not_wait(arriving: Arriving) -> None:
    times = arriving(lambda: None)

    with pytest.raises(FullError):
        rows.settled(_full, certain=(FullError,))

    assert times == []


def _full() -> None:
    raise FullError(ErrorCode.TEAM_FULL)


def test_an_announced_copy_waits_for_its_rows(arriving: Arriving) -> None:
    loaded = list[str]()
    arriving(lambda: loaded.append("arrived"), "groupbuy.snapshots.galera")

    Snapshot(lambda: loaded.append("loaded"), announced=True).get()

    assert loaded == ["arrived", "loaded"]


def test_catching_up_sends_nothing_to_a_single_database() -> None:
    with CaptureQueriesContext(connection) as queries:
        galera.catch_up()

    assert len(queries) == 0


@pytest.mark.skipif(connection.vendor != "mysql", reason="about MariaDB's variable")
def test_only_the_read_that_catches_up_waits(settings: Any) -> None:
    settings.GALERA = True

    with CaptureQueriesContext(connection) as queries:
        galera.catch_up()

    assert [query["sql"] for query in queries] == [
        "SET SESSION wsrep_sync_wait = 1",
        "SELECT 1",
        "SET SESSION wsrep_sync_wait = 0",
    ]
