"""The console deletes unused rows; it refuses used rows at once, with the true reason."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.db import connection
from django.db.models import PROTECT, Model
from django.db.models.signals import pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from activity.models import Discount, Offer, Sku
from groupbuy.models import ApiKey, Channel
from tag import jobs
from tag.crowd import add_members, count_members
from tag.models import CrowdJob, CrowdMember, CrowdPart, CrowdTag
from tests.factories import NOW, make_activity, make_channel, make_discount, make_team
from trade import history
from trade.models import Order, Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    return client


def delete(client: Client, row: Model) -> Any:
    """Press Delete and confirm."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_delete", args=[row.pk])
    return client.post(url, {"post": "yes"})


def delete_from_list(client: Client, *rows: Model) -> Any:
    meta = rows[0]._meta
    keys = [row.pk for row in rows]
    return client.post(
        reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"),
        {"action": "delete_selected", "_selected_action": keys, "post": "yes"},
    )


def said(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def used_channel() -> Channel:
    make_activity()
    make_team("a", "b", paid=1)
    return Channel.objects.get()


def used_crowd() -> CrowdTag:
    tag = CrowdTag.objects.create(tag_id="RQ_1", name="crowd")
    make_activity(crowd=tag, discount=make_discount(crowd=tag))
    CrowdJob.objects.create(tag=tag, batch_id="1", kind=0, at_least=1)
    return tag


def used_user() -> User:
    user = User.objects.create_user("colleague")
    LogEntry.objects.log_actions(user.pk, [make_channel()], 2, "changed")
    return user


USED: dict[str, tuple[Callable[[], Model], str]] = {
    "channel": (
        used_channel,
        "“s01/c01 mall” cannot be deleted, it is in use: offers, teams, orders. To stop selling"
        " there, switch off its API keys and remove its offers.",
    ),
    "goods": (
        lambda: make_activity().offers.get().sku,
        "“9890001 a book” cannot be deleted, it is in use: offers. Remove its offers first.",
    ),
    "discount": (
        lambda: make_activity().discount,
        "“discount” cannot be deleted, it is in use: activities. Give its activities another"
        " discount first.",
    ),
    "activity": (
        lambda: used_channel().team_set.get().activity,
        "“100123 activity” cannot be deleted, it is in use: teams, orders. To end it, close it.",
    ),
    "crowd": (
        used_crowd,
        "“crowd” cannot be deleted, it is in use: crowd jobs, discounts, activities. Delete its"
        " jobs, and take it out of discounts and activities first.",
    ),
    "user": (
        used_user,
        "“colleague” cannot be deleted, it is in use: log entries. To keep this user out, clear"
        " the mark “Active”.",
    ),
}


WAYS = pytest.mark.parametrize("way", [delete, delete_from_list], ids=["page", "list"])


@WAYS
@pytest.mark.parametrize("kind", USED)
def test_a_used_row_stays_and_the_reason_is_true(
    operator: Client, kind: str, way: Callable[..., Any]
) -> None:
    make, reason = USED[kind]
    row = make()

    response = way(operator, row)

    assert response.status_code == 302
    assert said(response) == [reason]
    assert type(row)._default_manager.filter(pk=row.pk).exists()


def test_the_refusal_is_shown_above_the_form_that_offers_the_alternative(
    operator: Client,
) -> None:
    activity = used_channel().team_set.get().activity

    response = delete(operator, activity)

    assert response.url == reverse("admin:activity_activity_change", args=[activity.pk])
    assert b"close it" in operator.get(response.url).content


def test_the_refusal_costs_as_many_queries_for_many_orders_as_for_one(operator: Client) -> None:
    channel = used_channel()
    delete(operator, channel)  # whatever is read once only

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            delete(operator, channel)
        return len(captured)

    few = queries()
    for n in range(20):
        make_team(f"c{n}", f"d{n}", paid=1)

    assert (Order.objects.count(), Team.objects.count()) == (42, 21)
    assert queries() == few


UNUSED: dict[str, Callable[[], Model]] = {
    "channel": make_channel,
    "key": lambda: _saved(ApiKey.issue(channel=make_channel(), name="k")[0]),
    "goods": lambda: Sku.objects.create(goods_id="1", name="a", original_price=1),
    "discount": make_discount,
    "activity": make_activity,
    "offer": lambda: make_activity().offers.get(),
    "crowd": lambda: CrowdTag.objects.create(tag_id="RQ_1", name="crowd"),
    "job": lambda: CrowdJob.objects.create(
        tag=CrowdTag.objects.create(tag_id="RQ_1"), batch_id="1", kind=0, at_least=1
    ),
    "user": lambda: User.objects.create_user("colleague"),
    "group": lambda: Group.objects.create(name="viewers"),
    "interval": lambda: IntervalSchedule.objects.create(every=5, period="seconds"),
    "crontab": lambda: CrontabSchedule.objects.create(),
    "task": lambda: PeriodicTask.objects.create(
        name="t", task="t", interval=IntervalSchedule.objects.create(every=5, period="seconds")
    ),
}


def _saved(row: Model) -> Model:
    row.save()
    return row


@pytest.mark.parametrize("kind", UNUSED)
@WAYS
def test_an_unused_row_is_deleted(operator: Client, kind: str, way: Callable[..., Any]) -> None:
    row = UNUSED[kind]()

    response = way(operator, row)

    assert response.status_code == 302
    assert not type(row)._default_manager.filter(pk=row.pk).exists()
    assert LogEntry.objects.get().object_id == str(row.pk)


def test_every_row_that_others_keep_is_refused_in_this_way() -> None:
    """A relation with PROTECT to a model of the console needs UsedRowsStay there."""
    kept = {
        model
        for model in admin.site._registry
        for relation in model._meta.related_objects
        if relation.on_delete is PROTECT
    }
    refusing = {model for model, page in admin.site._registry.items() if hasattr(page, "instead")}
    # No team may be deleted at all, and a job gives up its members by itself.
    assert kept - refusing == {Team, CrowdJob}


def test_a_channel_goes_with_its_keys(operator: Client) -> None:
    channel = make_channel()
    _saved(ApiKey.issue(channel=channel, name="k")[0])

    page = operator.get(reverse("admin:groupbuy_channel_delete", args=[channel.pk]))
    assert "gbm_" in page.content.decode()
    delete(operator, channel)

    assert not ApiKey.objects.exists()


def test_one_used_row_prevents_deleting_the_whole_selection(operator: Client) -> None:
    used, free = make_activity().discount, make_discount()

    response = delete_from_list(operator, used, free)

    assert said(response)[0].startswith("“discount” cannot be deleted")
    assert Discount.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@WAYS
def test_a_row_used_in_the_last_moment_stays(operator: Client, way: Callable[..., Any]) -> None:
    activity = make_activity()
    sku = Sku.objects.create(goods_id="1", name="late", original_price=100)

    def offer(**_signal: Any) -> None:
        Offer.objects.create(activity=activity, channel=make_channel(), sku=sku)

    pre_delete.connect(offer, sender=Sku)
    try:
        response = way(operator, sku)
    finally:
        pre_delete.disconnect(offer, sender=Sku)

    assert response.status_code == 302
    assert Sku.objects.filter(pk=sku.pk).exists()


def test_a_user_who_may_not_delete_gets_only_a_403() -> None:
    client = Client()
    client.force_login(User.objects.create_user("viewer", is_staff=True))

    response = delete(client, used_channel())

    assert response.status_code == 403
    assert said(response) == []


def test_a_large_crowd_is_deleted_at_once_and_its_members_in_batches(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "DELETE_BATCH", 2)
    tag = CrowdTag.objects.create(tag_id="RQ_1", name="crowd")
    add_members(tag, ["a", "b", "c"])

    delete(operator, tag)

    assert not CrowdTag.objects.exists()
    assert CrowdMember.objects.count() == 3
    while jobs.work(history, clock=lambda: NOW):
        pass
    assert not CrowdMember.objects.exists()
    assert not CrowdPart.objects.exists()


def test_a_new_crowd_of_the_same_id_has_none_of_the_old_members(operator: Client) -> None:
    tag = CrowdTag.objects.create(tag_id="RQ_1", name="crowd")
    add_members(tag, ["a"])
    delete(operator, tag)

    again = CrowdTag.objects.create(tag_id="RQ_1", name="crowd")

    add_members(again, ["b"])
    assert count_members(again) == 1
