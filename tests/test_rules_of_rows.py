"""Rows that operators may not save, refused by field; and rows that no code may write."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, connection, models, transaction
from django.test.utils import CaptureQueriesContext

from activity.discounts import Plan
from activity.models import Activity, Discount, Offer, Sku
from activity.trial import TrialQuery, run_trial
from groupbuy import rows
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import Channel, Switch
from tests.factories import (
    NOW,
    lock,
    make_activity,
    make_channel,
    make_discount,
    make_promise,
    set_switch,
)
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db


def test_no_try_of_a_transaction_begins_after_the_latest_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else five waits of five seconds for a locked row outlast the proxy."""
    now, tries = 0, list[int]()
    monkeypatch.setattr(rows, "time", SimpleNamespace(monotonic=lambda: now))

    def wait_in_vain() -> None:
        nonlocal now
        tries.append(now)
        now += 5
        raise OperationalError(1205, "Lock wait timeout exceeded")

    with pytest.raises(GroupBuyError) as caught:
        rows.retry(wait_in_vain)

    assert caught.value.error == ErrorCode.TRY_AGAIN
    assert tries == [0, 5]


def refused_fields(row: models.Model) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    return set(caught.value.message_dict)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"source": "s 1"}, {"source"}),
        ({"callback_hosts": "https://mall.example.com/path"}, {"callback_hosts"}),
        ({"callback_hosts": "*.example.com"}, {"callback_hosts"}),
        ({"callback_hosts": "mall.example.com:99999"}, {"callback_hosts"}),
        ({"refund_notify_url": "ftp://mall.example.com/"}, {"refund_notify_url"}),
        ({"refund_notify_url": "https://other.example/"}, {"refund_notify_url"}),
        ({"webhook_secret": "whsec_x"}, {"webhook_secret"}),
        ({"webhook_secret": "secret"}, {"webhook_secret"}),
        ({"page_secret": "secret"}, {"page_secret"}),
        ({"page_secret": "gbp_short"}, {"page_secret"}),
        ({"previous_page_secret": f"gbp_{'x' * 20} {'x' * 20}"}, {"previous_page_secret"}),
    ],
)
def test_an_invalid_channel_is_refused(fields: dict[str, str], named: set[str]) -> None:
    good = {"source": "s09", "channel": "c09", "name": "m", "callback_hosts": "mall.example.com"}

    assert refused_fields(Channel(**(good | fields))) == named


def test_a_valid_channel_is_accepted() -> None:
    hosts = "mall.example.com\nhttp://10.0.0.5:8080\nhttp://[::1]"
    Channel(
        source="s09",
        channel="c09",
        name="m",
        callback_hosts=hosts,
        refund_notify_url="https://mall.example.com/refund",
    ).full_clean()


@pytest.mark.parametrize(
    ("plan", "expression"),
    [(Plan.MINUS, "x"), (Plan.THRESHOLD, "100"), (Plan.RATE, "8"), (Plan.FIXED, "-1")],
)
def test_an_invalid_discount_is_refused(plan: Plan, expression: str) -> None:
    assert refused_fields(Discount(name="d", plan=plan, expression=expression)) == {"expression"}


def test_a_discount_without_a_plan_is_refused_for_that_alone() -> None:
    assert refused_fields(Discount(name="d", expression="20")) == {"plan"}


def test_a_chinese_comma_in_an_expression_is_understood() -> None:
    discount = Discount(name="d", plan=Plan.THRESHOLD, expression="100，10 ")
    discount.full_clean()

    assert discount.expression == "100,10"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"end_at": NOW}, {"end_at"}),
        ({"end_at": NOW - timedelta(days=1)}, {"end_at"}),
        ({"target_count": 0}, {"target_count"}),
        ({"target_count": 5000}, {"target_count"}),
        ({"take_limit": 0}, {"take_limit"}),
        ({"valid_minutes": 0}, {"valid_minutes"}),
        ({"hold_minutes": 0}, {"hold_minutes"}),
        ({"restrict_join": True}, {"crowd"}),
        ({"status": 7}, {"status"}),
    ],
)
def test_an_invalid_activity_is_refused(fields: dict[str, Any], named: set[str]) -> None:
    good = {
        "name": "a",
        "discount": make_discount(),
        "target_count": 3,
        "valid_minutes": 15,
        "start_at": NOW,
        "end_at": NOW + timedelta(days=1),
    }

    assert named <= refused_fields(Activity(**(good | fields)))


def test_live_activities_of_one_channel_and_goods_may_not_overlap() -> None:
    first = make_activity()
    second = Activity.objects.create(
        pk=100200,
        name="second",
        discount=make_discount(),
        target_count=2,
        valid_minutes=5,
        status=Activity.Status.IN_EFFECT,
        start_at=first.end_at - timedelta(minutes=1),
        end_at=first.end_at + timedelta(hours=1),
    )
    offer = Offer(channel=Channel.objects.get(), sku=Sku.objects.get(), activity=second)

    with pytest.raises(ValidationError, match="activity"):
        offer.full_clean()

    second.start_at = first.end_at  # one begins when the other ends
    offer.full_clean()
    offer.save()
    second.start_at = first.end_at - timedelta(minutes=1)
    with pytest.raises(ValidationError, match="activity"):
        second.full_clean()

    first.status = Activity.Status.ABANDONED
    first.save()
    second.full_clean()


@pytest.mark.usefixtures("english")
def test_the_offers_of_an_activity_are_checked_together(
    django_assert_num_queries: Callable[..., AbstractContextManager[Any]],
) -> None:
    activity = make_activity()
    with CaptureQueriesContext(connection) as alone:
        activity.full_clean()
    for number in range(3):
        make_activity(200 + number, goods_id=f"g{number}", status=Activity.Status.EXPIRED)
        sku = Sku.objects.get(goods_id=f"g{number}")
        Offer.objects.create(channel=Channel.objects.get(), sku=sku, activity=activity)
    with django_assert_num_queries(len(alone)):
        activity.full_clean()

    make_activity(300, goods_id="g2")
    make_activity(301, goods_id="g2", channel=make_channel("s02", "c02"))
    with pytest.raises(ValidationError, match=r"g2 a book is already .* by 300 activity"):
        activity.full_clean()
    Activity.objects.filter(pk=300).delete()
    activity.full_clean()


def test_an_offer_whose_discount_leaves_nothing_of_the_price_is_refused() -> None:
    activity = make_activity(discount=make_discount(expression="100"))

    with pytest.raises(ValidationError, match=r"100\.00"):
        activity.offers.get().full_clean()


def test_no_later_edit_gives_live_goods_away() -> None:
    activity = make_activity()
    discount, sku = activity.discount, Sku.objects.get()
    discount.expression = "100"
    assert refused_fields(discount) == {"expression"}
    discount.expression = "20"
    sku.original_price = Decimal("20.00")
    assert refused_fields(sku) == {"original_price"}
    activity.discount = make_discount(expression="500")
    assert refused_fields(activity) == {"__all__"}

    activity.refresh_from_db()
    activity.status = Activity.Status.EXPIRED
    activity.save()
    sku.full_clean()
    Discount.objects.filter(pk=discount.pk).update(expression="nonsense")
    sku.full_clean()


def test_the_newer_of_two_overlapping_activities_wins() -> None:
    make_activity()
    make_activity(100200, discount=make_discount(expression="30"))

    trial = run_trial(TrialQuery("a", "s01", "c01", "9890001"), now=NOW)
    assert trial.offer is not None
    assert trial.offer.activity.pk == 100200


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Team, {"locked_count": 4}),
        (Team, {"paid_count": 2}),
        (Order, {"pay_price": "0.00"}),
        (Order, {"pay_price": "100.01"}),
        (Order, {"status": Order.Status.CLOSED}),
        (Order, {"take_no": None}),
        (Order, {"hold_no": None}),
        (Order, {"status": Order.Status.PAID}),
        (Order, {"seat_of": "somebody else"}),
        (Order, {"close_reason": "refunded"}),
        (Activity, {"end_at": NOW - timedelta(days=9)}),
        (Activity, {"target_count": 0}),
        (Sku, {"original_price": "0.00"}),
    ],
)
def test_the_table_refuses_what_no_code_should_write(
    model: type[models.Model], change: dict[str, Any]
) -> None:
    make_activity()
    lock("a")

    with pytest.raises(IntegrityError), transaction.atomic():
        model._default_manager.update(**change)


def test_rows_are_written_as_the_orm_writes_them() -> None:
    """The ORM reads back what rows.insert and rows.update have written."""
    make_activity()
    order = lock("a")
    written = {field.attname: getattr(order, field.attname) for field in Order._meta.fields}

    assert Order.objects.values().get() == written
    for model in (Order, Team):
        fetched = rows.read(model, pk=model._default_manager.get().pk)
        assert fetched is not None
        for field in model._meta.fields:
            kept = getattr(model._default_manager.get(), field.attname)
            assert getattr(fetched, field.attname) == kept
            assert type(getattr(fetched, field.attname)) is type(kept)
    assert rows.read(Order, pk=1) is None

    order.paid_at = NOW
    order.status = Order.Status.PAID
    order.hold_no = None
    rows.update(order, "paid_at", "status", "hold_no")
    changed = {"paid_at": NOW, "status": 1, "hold_no": None}
    assert Order.objects.values().get() == written | changed


def test_a_row_is_found_by_a_column_whose_name_the_database_reserves() -> None:
    make_promise("team_success-7")
    set_switch("cutRange", "30")

    promise, switch = rows.read(NotifyTask, key="team_success-7"), rows.lock(Switch, key="cutRange")

    assert promise is not None
    assert promise.key == "team_success-7"
    assert switch is not None
    assert switch.value == "30"


def test_a_look_up_by_none_raises() -> None:
    with pytest.raises(ValueError, match=r"look-up of Order by None"):
        rows.read(Order, take_no=None)


def test_a_channels_pair_is_unique() -> None:
    make_channel()

    with pytest.raises(IntegrityError), transaction.atomic():
        Channel.objects.create(source="s01", channel="c01", name="again")
