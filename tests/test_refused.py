"""Counts of refused locks: written in batches, by the shop's day, and kept while writing fails."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from groupbuy.errors import ErrorCode, GroupBuyError
from tests.factories import NOW, lock, make_activity
from trade import refused as module
from trade.models import Order, RefusedLock
from trade.refused import refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _activity() -> None:
    make_activity(take_limit=1)
    lock("keen")


def refuse(**fields: Any) -> None:
    with pytest.raises(GroupBuyError, match="E0103"):
        lock("keen", out_trade_no="again", **fields)


def kept() -> list[tuple[str, str, int]]:
    rows = RefusedLock.objects.order_by("day", "code").values_list("day", "code", "count")
    return [(f"{day:%m-%d}", code, count) for day, code, count in rows]


def test_a_process_writes_with_the_next_lock_that_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAP", 60)
    refuse()  # the first one is written at once
    refuse()
    assert kept() == [(f"{NOW:%m-%d}", "E0103", 1)]

    monkeypatch.setattr(module, "GAP", 0)
    lock("other")

    assert kept() == [(f"{NOW:%m-%d}", "E0103", 2)]


def test_days_are_the_shops() -> None:
    midnight = NOW.replace(hour=16, minute=0)  # in Shanghai
    for moment in (midnight - timedelta(seconds=1), midnight, midnight):
        refused.count(ErrorCode.TEAM_FULL, channel_id=Order.objects.get().channel_id, now=moment)

    refused.write()

    tomorrow = NOW + timedelta(days=1)
    assert kept() == [(f"{NOW:%m-%d}", "E0006", 1), (f"{tomorrow:%m-%d}", "E0006", 2)]


def test_counts_that_cannot_be_written_are_kept() -> None:
    """Mutation: write() drops them."""

    def broken(execute: Any, sql: str, *arguments: Any) -> Any:
        if "trade_refusedlock" in sql:
            raise OperationalError
        return execute(sql, *arguments)

    refuse()
    with connection.execute_wrapper(broken):
        refused.write()
    refuse()

    refused.write()

    assert kept() == [(f"{NOW:%m-%d}", "E0103", 2)]


def test_a_deleted_channel_does_not_stop_the_counts_of_others() -> None:
    """Mutation: write() does not check that the channel exists."""
    refused.count(ErrorCode.TEAM_FULL, channel_id=10**9, now=NOW)
    refuse()

    refused.write()

    assert kept() == [(f"{NOW:%m-%d}", "E0103", 1)]
