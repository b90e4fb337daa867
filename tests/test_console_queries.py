"""Pages of the console take the same number of queries however much data there is."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from activity.models import Activity, Offer, Sku
from groupbuy import proposals
from groupbuy.models import ApiKey, Switch, SwitchChange
from tag.crowd import add_members
from tag.models import CrowdTag
from tests.factories import GOODS, NOW, lock, make_activity, make_channel, make_promise, settle
from tests.forms import opened, url_of
from tests.test_jobs import make_job
from trade.forecast import report
from trade.models import Forecast, NotifyAttempt, NotifyTask, Order

pytestmark = pytest.mark.django_db
LISTS = [f"{page.opts.app_label}.{page.opts.model_name}" for page in admin.site._registry.values()]
FEW, MANY = 2, 7


@pytest.fixture
def operator() -> Iterator[Client]:
    client = Client(headers={"Accept-Language": "en"})
    with time_machine.travel(NOW, tick=False):
        client.force_login(User.objects.create_superuser("operator"))
        yield client


def grow(first: int, last: int) -> None:
    """A row more of everything for each number, and more of what belongs to the first rows."""
    for n in range(first, last):
        _grow_campaigns(n)
        _grow_trade(n)
        _grow_accounts(n)


def _grow_campaigns(n: int) -> None:
    start = NOW - timedelta(minutes=30)
    tag = CrowdTag.objects.create(tag_id=f"RQ{n}", name=f"crowd {n}")
    add_members(tag, [f"u{n}", f"v{n}"])
    add_members(CrowdTag.objects.get(pk="RQ0"), [f"w{n}"])
    make_job(tag_id=f"job{n}")
    channel = make_channel(f"s{n}", "c01")
    activity = make_activity(1000 + n, goods_id=f"g{n}", channel=channel, start_at=start, crowd=tag,
                             take_limit=99, target_count=FEW)  # fmt: skip
    make_activity(2000 + n, goods_id=GOODS, channel=channel, start_at=start)
    forecast = Forecast(offer=activity.offers.get(), created_at=timezone.now(), days=1, visitors=1)
    report.fill(forecast)
    forecast.save()
    first = Activity.objects.get(pk=1000)
    Offer.objects.get_or_create(channel=channel, sku=activity.offers.get().sku, activity=first)


def _grow_trade(n: int) -> None:
    first = Order.objects.order_by("pk").first()
    more = {"team_id": str(first.team_id)} if first and n < FEW else {}
    source = {"source": "s0", "channel": "c01", "activity_id": 1000, "goods_id": "g0"}
    order = lock(f"u{n}", now=NOW, out_trade_no=f"t-u{n}", **source, **more)
    settle(order.user_id, now=NOW, paid_at=NOW, source="s0", channel="c01")
    promise = make_promise(f"team_success-{n}", state=NotifyTask.State.GIVEN_UP)
    for task in {promise.pk, NotifyTask.objects.earliest("pk").pk}:
        number = NotifyAttempt.objects.filter(task=task).count() + 1
        NotifyAttempt.objects.create(task_id=task, number=number, started_at=NOW, duration_ms=1)


def _grow_accounts(n: int) -> None:
    switch = Switch.objects.order_by("pk")[0]
    SwitchChange.objects.create(switch=switch, before="1", after="2", by="x")
    ApiKey.issue(channel=make_channel(f"s{n}", "c01"), name=f"key {n}")[0].save()
    user = User.objects.create_user(f"user{n}", is_staff=True)
    proposals.propose(switch, ["value"], "r", by=user, now=NOW)
    user.groups.add(*Group.objects.all()[: n + 1])
    Group.objects.create(name=f"group {n}")
    AccessAttempt.objects.create(username=f"x{n}", ip_address="10.0.0.1", failures_since_start=9)
    CrontabSchedule.objects.create(hour=str(n))
    every = IntervalSchedule.objects.create(every=n + 1, period="hours")
    SolarSchedule.objects.create(event="sunset", latitude=n, longitude=n)
    ClockedSchedule.objects.create(clocked_time=NOW + timedelta(days=n))
    PeriodicTask.objects.create(name=f"sweep {n}", task="trade.tasks.sweep", interval=every)


def queries(client: Client, url: str) -> Counter[str]:
    """Statements without their values."""
    client.get(url)  # fills the copies that a process keeps
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return Counter(each["sql"].split(" WHERE ")[0][:300] for each in captured)


def test_more_rows_take_no_more_queries(operator: Client) -> None:
    grow(0, FEW)
    pages = {}
    for label in LISTS:
        model: Any = apps.get_model(label)
        url = f"/admin/{label.replace('.', '/')}/"
        row = model._default_manager.order_by("pk").first()
        assert row is not None, label
        pages[url] = queries(operator, url)
        pages[f"{url}{row.pk}/change/"] = queries(operator, f"{url}{row.pk}/change/")
    for url in ("/admin/", "/admin/activity/activity/calendar/", "/admin/exports/"):
        pages[url] = queries(operator, url)
    grow(FEW, MANY)

    more = {url: queries(operator, url) for url in pages}
    grown = {url: dict(more[url] - few) for url, few in pages.items() if more[url] - few}
    assert grown == {}


def test_the_stored_offers_of_an_activity_are_checked_by_one_query(operator: Client) -> None:
    """Shoppers who open a team wait for the row of the activity meanwhile."""
    activity = make_activity()
    for n in range(FEW):
        sku = Sku.objects.create(goods_id=f"other {n}", name="tea", original_price=100)
        Offer.objects.create(channel=make_channel(), sku=sku, activity=activity)
    body = opened(operator, activity) | {"name": "new"}

    with CaptureQueriesContext(connection) as captured:
        assert operator.post(url_of(activity), body).status_code == 302

    checks = [each["sql"] for each in captured if 'end_at" >' in each["sql"].replace("`", '"')]
    assert len(checks) == 1
