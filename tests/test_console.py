"""The console: every page opens, rows of use cases cannot be edited, keys are shown once."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from activity.models import Activity, Offer, Sku
from groupbuy import switches
from groupbuy.history import text_of
from groupbuy.models import ApiKey, Switch, digest
from tag import bitmaps, crowd
from tag.crowd import members_of
from tag.models import CrowdTag
from tests.factories import (
    lock,
    make_activity,
    make_channel,
    make_promise,
    make_team,
    settle,
)
from tests.forms import opened
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def _data() -> None:
    make_activity(target_count=1)
    lock("a")
    settle("a")
    CrowdTag.objects.create(tag_id="RQ", name="crowd")
    ApiKey.issue(channel=make_channel(), name="k")[0].save()


MODELS = [model._meta for model in admin.site._registry]


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("meta", MODELS, ids=str)
def test_every_list_and_form_opens(operator: Client, meta: Any) -> None:
    base = f"admin:{meta.app_label}_{meta.model_name}"
    response = operator.get(reverse(f"{base}_changelist"), {"q": "1"})
    assert response.status_code == 200

    added = operator.get(reverse(f"{base}_add"))
    not_added = (
        "team", "order", "notifytask", "crowdmember", "switch", "proposal", "accessattempt",
    )  # fmt: skip
    assert added.status_code == (403 if meta.model_name in not_added else 200)

    row = meta.model.objects.first()
    if row:
        url = reverse(f"{base}_change", args=[row.pk])
        assert operator.get(url).status_code == 200


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("model", [Team, Order, NotifyTask])
def test_rows_that_use_cases_write_are_not_edited_or_deleted(operator: Client, model: Any) -> None:
    row = model.objects.get()
    before = model.objects.values().get()
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"

    assert operator.post(reverse(f"{base}_change", args=[row.pk]), {"status": 2}).status_code == 403
    assert (
        operator.post(reverse(f"{base}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )
    assert model.objects.values().get() == before


def test_a_given_up_notification_is_sent_again(operator: Client) -> None:
    task = make_promise(state=NotifyTask.State.GIVEN_UP, attempts=8, next_attempt_at=None)
    url = reverse("admin:trade_notifytask_changelist")

    body = {"action": "send_again", "_selected_action": [task.pk]}
    asked = operator.post(f"{url}?state__exact=3", body).content.decode()
    task.refresh_from_db()
    assert (str(task) in asked, task.state) == (True, NotifyTask.State.GIVEN_UP)
    response = operator.post(f"{url}?state__exact=3", body | {"reason": "was down"}, follow=True)

    task.refresh_from_db()
    assert "1 notification will be sent again." in response.content.decode()
    assert (task.state, task.attempts) == (NotifyTask.State.NEW, 0)
    logged = LogEntry.objects.get()
    with translation.override("en"):
        assert (logged.object_id, text_of(logged)) == (str(task.pk), "sent again: “was down”")


def test_a_viewer_cannot_send_again() -> None:
    user = User.objects.create_user("viewer", password="viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_notifytask"))
    client = Client()
    client.force_login(user)
    task = make_promise(state=NotifyTask.State.GIVEN_UP, attempts=8, next_attempt_at=None)

    body = {"action": "send_again", "_selected_action": [task.pk]}
    client.post(reverse("admin:trade_notifytask_changelist"), body)

    task.refresh_from_db()
    assert task.state == NotifyTask.State.GIVEN_UP


def test_a_new_api_key_is_shown_once_and_kept_as_a_digest(operator: Client) -> None:
    channel = make_channel()
    url = reverse("admin:groupbuy_apikey_add")

    body = {"name": "mall", "channel": channel.pk, "is_active": "on"}
    response = operator.post(url, body, follow=True)

    key = ApiKey.objects.get()
    text = response.content.decode().split("shown this once: ")[1][:62].split("<")[0].strip()
    assert key.digest == digest(text)
    assert text not in operator.get(reverse("admin:groupbuy_apikey_changelist")).content.decode()


def test_the_console_lists_every_switch(operator: Client) -> None:
    page = operator.get(reverse("admin:groupbuy_switch_changelist")).content.decode()

    assert set(Switch.objects.values_list("key", flat=True)) == set(switches.SWITCHES)
    assert {key: setting.default for key, setting in switches.SWITCHES.items()} == dict(
        Switch.objects.values_list("key", "value")
    )
    assert "Percentage of users admitted" in page
    assert "cutRange" in page
    form = operator.get(reverse("admin:groupbuy_switch_change", args=["cutRange"])).content.decode()
    for label, value in (("Switch", "Percentage of users admitted"), ("Key", "cutRange")):
        assert re.search(rf">\s*{label}\s*</label>.*?>\s*{value}\s*<", form, re.S)


NO_INLINE = {"changes-TOTAL_FORMS": 0, "changes-INITIAL_FORMS": 0}


def test_an_unreadable_switch_is_refused_with_the_field_named(operator: Client) -> None:
    url = reverse("admin:groupbuy_switch_change", args=["cutRange"])

    response = operator.post(url, NO_INLINE | {"value": "200", "reason": "r"})

    assert response.context["adminform"].form.errors == {
        "value": ["Expected: percentage of users admitted, 0 to 100."]
    }
    assert Switch.objects.get(key="cutRange").value == "100"


def test_a_switch_remembers_who_changed_it(operator: Client) -> None:
    url = reverse("admin:groupbuy_switch_change", args=["cutRange"])
    for value in ("30", "40"):
        operator.post(url, NO_INLINE | {"value": value, "reason": "r"})

    switch = Switch.objects.get(key="cutRange")
    changes = [(change.before, change.after, change.by) for change in switch.changes.order_by("pk")]
    assert (switch.value, switch.changed_by) == ("40", "operator")
    assert changes == [("100", "30", "operator"), ("30", "40", "operator")]
    assert "40" in operator.get(url).content.decode()


def test_a_switch_asks_why_and_keeps_the_answer(operator: Client) -> None:
    url = reverse("admin:groupbuy_switch_change", args=["scBlacklist"])

    refused = operator.post(url, NO_INLINE | {"value": "s02c02,s03c03", "reason": " "})
    assert list(refused.context["adminform"].form.errors) == ["reason"]
    assert not Switch.objects.get(key="scBlacklist").changes.exists()
    operator.post(url, NO_INLINE | {"value": "s02c02,s03c03", "reason": "unpaid bills"})
    assert Switch.objects.get(key="scBlacklist").changes.get().reason == "unpaid bills"
    assert "unpaid bills" in operator.get(url).content.decode()


@pytest.mark.parametrize("key", switches.SWITCHES)
def test_a_switch_says_before_saving_what_it_does_to_shoppers(operator: Client, key: str) -> None:
    page = operator.get(reverse("admin:groupbuy_switch_change", args=[key])).content.decode()
    setting = switches.SWITCHES[Switch.Key(key)]

    with translation.override("en"):
        assert "hopper" in str(setting.means)
        assert str(setting.means) in page
        assert f"Expected: {setting.expects}." in page


def test_the_limit_of_the_pages_announces_no_block() -> None:
    """pages/frame.py blocks nobody."""
    with translation.override("en"):
        page, index = (
            str(switches.SWITCHES[key].means)
            for key in (Switch.Key.PAGE_ADDRESS, Switch.Key.INDEX_ADDRESS)
        )
    assert "no address is blocked" in page
    assert "block the address" in index


def test_members_are_added_to_a_crowd(operator: Client) -> None:
    body = {"tag_id": "RQ", "name": "crowd", "new_members": "a b\na,，\nc；d"}
    operator.post(reverse("admin:tag_crowdtag_add"), body)

    tag = CrowdTag.objects.get()
    assert sorted(members_of(tag.pk).values_list("user_id", flat=True)) == ["a", "b", "c", "d"]

    url = reverse("admin:tag_crowdtag_change", args=["RQ"])
    response = operator.post(url, {"name": "crowd", "new_members": "x" * 65})
    assert list(response.context["adminform"].form.errors) == ["new_members"]
    assert members_of(tag.pk).count() == 4


@pytest.mark.usefixtures("redis")
def test_a_crowd_is_counted_after_members_were_added(operator: Client) -> None:
    tag = CrowdTag.objects.create(tag_id="RQ", name="crowd")

    def shown() -> str:
        return operator.get(reverse("admin:tag_crowdtag_changelist")).content.decode()

    crowd.add_members(tag, ["a", "b"])
    assert "counting" in shown()

    bitmaps.refresh()
    assert "counting" not in shown()


def test_a_team_is_found_by_its_id(operator: Client) -> None:
    make_activity()
    team = make_team("a", "b", paid=1)

    page = operator.get(reverse("admin:trade_team_changelist"), {"q": str(team.pk)})

    assert "1 paid, 2 taken of 3" in page.content.decode()


def test_an_activity_added_with_an_offer_that_overlaps_is_refused(operator: Client) -> None:
    first = make_activity()
    offer = first.offers.get()
    body = {
        "name": "second",
        "status": 1,
        "discount": first.discount_id,
        "group_type": 1,
        "target_count": 2,
        "valid_minutes": 15,
        "hold_minutes": 30,
        "take_limit": 1,
        "cut_range": 100,
        "start_at_0": first.start_at.strftime("%Y-%m-%d"),
        "start_at_1": "00:00",
        "end_at_0": "2036-06-01",
        "end_at_1": "00:00",
        "offers-TOTAL_FORMS": 1,
        "offers-INITIAL_FORMS": 0,
        "offers-0-channel": offer.channel_id,
        "offers-0-sku": offer.sku_id,
    }

    response = operator.post(reverse("admin:activity_activity_add"), body)

    assert response.status_code == 200
    assert "is already offered on this channel" in response.content.decode()
    assert Activity.objects.count() == 1

    body["offers-0-channel"] = make_channel("s03", "c03").pk
    operator.post(reverse("admin:activity_activity_add"), body)
    assert Activity.objects.count() == 2


def test_an_activity_with_hundreds_of_offers_can_be_changed(operator: Client) -> None:
    activity, channel = make_activity(), make_channel()
    goods = [Sku(goods_id=f"g{n}", name="goods", original_price=100) for n in range(300)]
    Sku.objects.bulk_create(goods)
    skus = Sku.objects.filter(goods_id__startswith="g")
    Offer.objects.bulk_create(Offer(channel=channel, sku=sku, activity=activity) for sku in skus)
    url = reverse("admin:activity_activity_change", args=[activity.pk])

    response = operator.post(url, opened(operator, activity) | {"name": "new"})

    assert response.status_code == 302
    activity.refresh_from_db()
    assert activity.name == "new"


def test_only_tasks_that_exist_can_be_scheduled(operator: Client) -> None:
    every = IntervalSchedule.objects.create(every=5, period="seconds")
    url = reverse("admin:django_celery_beat_periodictask_add")
    body = {"name": "sweep", "interval": every.pk, "args": "[]", "kwargs": "{}", "headers": "{}"}

    refused = operator.post(url, body | {"regtask": "nonsense", "enabled": "on"})
    operator.post(url, body | {"regtask": "trade.tasks.end_overdue_teams", "enabled": "on"})

    assert "regtask" in refused.context["adminform"].form.errors
    assert PeriodicTask.objects.get().task == "trade.tasks.end_overdue_teams"


def test_a_blacklist_names_what_is_no_channel(operator: Client) -> None:
    make_channel()
    url = reverse("admin:groupbuy_switch_change", args=["scBlacklist"])
    body = {"value": "s01c01,s09c09;x", "reason": "fraud"} | NO_INLINE

    page = operator.post(url, body, follow=True).content.decode()

    text = "There is no such channel: s09c09;x. Nobody is refused because of it."
    assert text in page
    page = operator.post(url, body | {"value": "s01c01"}, follow=True).content.decode()
    assert "There is no such channel" not in page


def test_a_blacklist_with_spaces_is_understood(operator: Client) -> None:
    url = reverse("admin:groupbuy_switch_change", args=["scBlacklist"])
    operator.post(url, NO_INLINE | {"value": "s02c02， s03c03", "reason": "r"})

    assert Switch.objects.get(key="scBlacklist").value == "s02c02,s03c03"
