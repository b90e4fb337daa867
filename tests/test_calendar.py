"""The calendar of activities: bars in their place, conflicts, bounded queries."""

from datetime import date, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from activity import calendar
from activity.calendar import Calendar
from activity.models import Activity, Offer
from tests.factories import NOW, make_activity, make_channel

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
FIRST = date(2036, 4, 24)  # a week before NOW
Status = Activity.Status


def shown(**asked: Any) -> Calendar:
    return calendar.read(**({"first": None, "days": 42, "now": NOW} | asked))


def starts(day: int) -> Any:
    """Midnight at the beginning of a day of the calendar."""
    return timezone.make_aware(timezone.datetime(2036, 4, 24)) + day * DAY  # type: ignore[attr-defined]


def names(found: Calendar) -> dict[int, list[int]]:
    return {row.activity.pk: [each.pk for each in row.conflicts] for row in found.rows}


def test_bars_stand_where_their_days_are() -> None:
    make_activity(1, start_at=starts(-9), end_at=starts(21))
    make_activity(2, start_at=starts(21), end_at=starts(42), goods_id="2")
    make_activity(3, start_at=starts(-9), end_at=starts(0), goods_id="3")
    make_activity(4, start_at=starts(42), end_at=starts(43), goods_id="4")
    found = shown()

    assert (found.first, found.last, found.before, found.after) == (
        FIRST, FIRST + 41 * DAY, FIRST - 42 * DAY, FIRST + 42 * DAY,
    )  # fmt: skip
    assert [(row.activity.pk, row.x, row.width) for row in found.rows] == [
        (1, 0, 50),
        (2, 50, 50),
    ]
    assert found.now == pytest.approx(100 * 7.5 / 42, abs=0.01)
    assert [day for _x, day in found.marks] == [FIRST + 7 * n * DAY for n in range(6)]
    assert shown(first=FIRST + 42 * DAY).now is None


def test_two_activities_conflict_over_goods_and_channel_and_time() -> None:
    make_activity(1, start_at=starts(0), end_at=starts(9))
    make_activity(2, start_at=starts(8), end_at=starts(12), status=Status.CREATED)
    make_activity(3, start_at=starts(12), end_at=starts(15))
    make_activity(4, start_at=starts(0), end_at=starts(15), goods_id="other")
    make_activity(5, start_at=starts(0), end_at=starts(15), channel=make_channel("s02", "c02"))
    make_activity(6, start_at=starts(0), end_at=starts(15), status=Status.ABANDONED)

    assert names(shown()) == {1: [2], 2: [1], 3: [], 4: [], 5: [], 6: []}


def test_two_common_goods_are_one_conflict() -> None:
    one = make_activity(1, start_at=starts(0), end_at=starts(9))
    other = make_activity(2, start_at=starts(0), end_at=starts(9), goods_id="2")
    for offer in (one.offers.get(), other.offers.get()):
        Offer.objects.get_or_create(channel=offer.channel, sku=offer.sku, activity=one)
        Offer.objects.get_or_create(channel=offer.channel, sku=offer.sku, activity=other)

    assert names(shown()) == {1: [2], 2: [1]}


def test_more_activities_take_no_more_queries(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 6):
        make_activity(n, start_at=starts(0), end_at=starts(9), goods_id=str(n))
    monkeypatch.setattr(calendar, "MOST", 4)

    with django_assert_num_queries(2):
        found = shown()
    assert (len(found.rows), found.more) == (4, True)


@pytest.mark.parametrize(
    "query",
    ["", "?days=182", "?first=2036-06-01&days=7", "?first=2036-99-99", "?first=9999-12-31",
     "?first=0001-01-01"],
)  # fmt: skip
@time_machine.travel(NOW)
def test_the_page(query: str) -> None:
    make_activity(1, name="first")
    make_activity(2, name="second", status=Status.CREATED)
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    page = client.get(f"/admin/activity/activity/calendar/{query}").content.decode()

    if "06-01" in query:
        assert "2036-06-01 – 2036-07-12" in page
        assert "No activity in these days." in page
    else:
        assert "conflicts with 2 second" in page
        refused = "is not a date such as 2026-05-01 in the years 2000 to 2099"
        assert (refused in page) is ("first" in query)
        assert ' style="' not in page[page.index('class="gantt"') : page.index("</ol>")]
