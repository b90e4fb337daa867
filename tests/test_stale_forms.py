"""Forms of the console: what somebody else has changed since a form was opened stays."""

import re
from datetime import timedelta
from functools import partial
from threading import Barrier, Event, local
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection, transaction
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import timezone

from activity.models import Activity, Offer, Sku
from groupbuy import rows, switches
from groupbuy.admin import ApiKeyAdmin
from groupbuy.models import ApiKey, Switch
from tag.models import CrowdFile, CrowdTag
from tests.factories import lock, make_activity
from tests.forms import as_sent, opened, url_of
from tests.racing import LATE, race
from trade.models import Team

pytestmark = pytest.mark.django_db

ISSUE = "/admin/groupbuy/apikey/add/"
CHANGED = "It has changed in the meantime, so nothing was saved. Compare, save again."


def test_a_stale_form_keeps_its_input_and_says_what_is_stored(operator: Client) -> None:
    activity = make_activity()
    body = opened(operator, activity) | {"name": "mine"}
    later = activity.end_at + timedelta(days=3)
    theirs = {"name": "theirs", "end_at": later, "valid_minutes": 1440, "group_type": 0}
    Activity.objects.filter(pk=activity.pk).update(**theirs)

    page = operator.post(url_of(activity), body)

    form = page.context["adminform"].form
    assert form.errors == {
        "__all__": [CHANGED],
        "name": ["Stored by now: theirs"],
        "end_at": [f"Stored by now: {timezone.localtime(later):%Y-%m-%d %H:%M:%S}"],
        "valid_minutes": ["Stored by now: 24 h"],
        "group_type": ["Stored by now: when its time is up, the platform completes the team"],
    }
    assert form["name"].value() == "mine"
    activity.refresh_from_db()
    assert (activity.name, activity.end_at) == ("theirs", later)


def test_a_compared_form_is_saved_when_it_is_sent_again(operator: Client) -> None:
    activity = make_activity()
    body = opened(operator, activity) | {"name": "mine"}
    later = activity.end_at + timedelta(days=3)
    Activity.objects.filter(pk=activity.pk).update(end_at=later)
    page = operator.post(url_of(activity), body)

    again = as_sent(page) | {"end_at_0": f"{timezone.localtime(later):%Y-%m-%d}"}
    Activity.objects.filter(pk=activity.pk).update(take_limit=7)
    refused = operator.post(url_of(activity), again)  # it has changed once more

    assert refused.context["adminform"].form.errors["take_limit"] == ["Stored by now: 7"]
    again = as_sent(refused) | {"take_limit": "7"}
    assert operator.post(url_of(activity), again).status_code == 302
    activity.refresh_from_db()
    assert (activity.name, activity.end_at, activity.take_limit) == ("mine", later, 7)


def test_a_form_of_an_activity_does_not_take_back_a_change_of_its_offers(operator: Client) -> None:
    activity = make_activity()
    body = opened(operator, activity) | {"name": "mine"}
    other = Sku.objects.create(goods_id="other", name="tea", original_price=100)
    Offer.objects.update(sku=other)

    page = operator.post(url_of(activity), body)

    assert page.context["adminform"].form.errors["__all__"] == [CHANGED]
    activity.refresh_from_db()
    assert (activity.name, Offer.objects.get().sku) == ("activity", other)


def test_a_form_with_an_error_keeps_what_its_operator_has_seen(operator: Client) -> None:
    activity = make_activity()
    body = opened(operator, activity)
    page = operator.post(url_of(activity), body | {"name": ""}).content.decode()

    assert f'name="seen" value="{body["seen"]}"' in page
    assert operator.post(url_of(activity), body | {"name": "new"}).status_code == 302


def test_a_permission_given_by_somebody_else_is_kept(operator: Client) -> None:
    group = Group.objects.create(name="night shift")
    body = opened(operator, group) | {"name": "day shift"}
    permission = Group.objects.get(name="viewer").permissions.all()[0]
    group.permissions.add(permission)

    page = operator.post(url_of(group), body)

    assert page.context["adminform"].form.errors["__all__"] == [CHANGED]
    group.refresh_from_db()
    assert (group.name, list(group.permissions.all())) == ("night shift", [permission])


def test_a_sign_in_does_not_make_the_form_of_a_user_stale(operator: Client) -> None:
    user = User.objects.create_user("night", password="a long one", is_staff=True)
    body = opened(operator, user) | {"first_name": "Ada"}
    Client().force_login(user)

    assert operator.post(url_of(user), body).status_code == 302
    user.refresh_from_db()
    assert user.first_name == "Ada"


def test_a_switch_that_somebody_else_has_changed_stays(operator: Client) -> None:
    switch = Switch.objects.get(key=Switch.Key.BLACKLIST)
    body = opened(operator, switch) | {"value": "s01c01", "reason": "too many"}
    switches.change(switch.key, "s03c03", by="night", reason="fraud")

    page = operator.post(url_of(switch), body)

    assert page.context["adminform"].form.errors["value"] == ["Stored by now: s03c03"]
    switch.refresh_from_db()
    assert switch.value == "s03c03"


def test_a_form_whose_transaction_collides_is_saved_again_with_its_file(operator: Client) -> None:
    tag, tries = CrowdTag.objects.create(tag_id="RQ", name="crowd"), list[int]()
    file = SimpleUploadedFile("members.csv", b"a\nb\n")

    def collide(**_signal: Any) -> None:
        tries.append(len(tries))
        if tries == [0]:
            raise OperationalError(1213, "Deadlock found when trying to get lock")

    pre_save.connect(collide, sender=CrowdFile)
    try:
        body = opened(operator, tag) | {"name": "new", "members_file": file}
        answer = operator.post(url_of(tag), body)
    finally:
        pre_save.disconnect(collide, sender=CrowdFile)

    assert (answer.status_code, tries, LogEntry.objects.count()) == (302, [0, 1], 1)
    tag.refresh_from_db()
    assert (tag.name, bytes(CrowdFile.objects.get().content)) == ("new", b"a\nb\n")


def collide(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """So often, deadlock when the new API key is logged, after it was shown."""
    log, rest = ApiKeyAdmin.log_addition, iter(range(times))

    def deadlock(*arguments: Any) -> Any:
        if next(rest, None) is not None:
            raise OperationalError(1213, "Deadlock found")
        return log(*arguments)

    monkeypatch.setattr(ApiKeyAdmin, "log_addition", deadlock)


def test_a_form_that_is_saved_again_shows_nothing_of_the_run_that_collided(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    collide(monkeypatch, times=1)

    page = operator.post(ISSUE, {"name": "ops", "is_active": "on"}, follow=True).content.decode()

    [shown] = re.findall(r"gbm_([0-9a-f]{8})_[0-9a-f]{48}", page)
    assert shown == ApiKey.objects.get().prefix


def test_a_form_that_collides_again_and_again_is_not_saved(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    collide(monkeypatch, times=rows.TRIES)

    page = operator.post(ISSUE, {"name": "ops", "is_active": "on"}, follow=True).content.decode()

    assert "Two requests collided, please try again" in page
    assert not re.findall(r"gbm_[0-9a-f]{8}_", page)
    assert not ApiKey.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
def test_of_two_forms_sent_at_once_the_second_is_refused(operator: Client) -> None:
    """Each stops before it writes, until the other one has got as far."""
    make_activity()
    sku, both, met = Sku.objects.get(), Barrier(2), local()
    body = opened(operator, sku)

    def stop(**_signal: Any) -> None:
        if not hasattr(met, "once"):
            met.once = True
            both.wait(LATE)

    def save(name: str) -> int:
        return operator.post(url_of(sku), body | {"name": name}).status_code

    pre_save.connect(stop, sender=Sku)
    try:
        answers = race(partial(save, "one"), partial(save, "two"))
    finally:
        pre_save.disconnect(stop, sender=Sku)

    assert sorted(answers) == [200, 302]
    sku.refresh_from_db()
    assert sku.name == ("one" if answers[0] == 302 else "two")
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
def test_seats_are_locked_while_a_form_of_their_activity_is_saved(operator: Client) -> None:
    activity, saving, locked = make_activity(), Event(), Event()
    body = opened(operator, activity) | {"name": "new"}

    def stop(**_signal: Any) -> None:
        saving.set()
        assert locked.wait(LATE)

    def open_a_team() -> None:
        assert saving.wait(LATE)
        lock("a")
        locked.set()

    pre_save.connect(stop, sender=Activity)
    try:
        answers = race(lambda: operator.post(url_of(activity), body).status_code, open_a_team)
    finally:
        pre_save.disconnect(stop, sender=Activity)

    assert (answers, Team.objects.count()) == ([302, None], 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
def test_offers_are_locked_while_a_form_of_their_activity_is_saved(operator: Client) -> None:
    """Else the form takes back what somebody saves between its check and its own save."""
    activity, answers = make_activity(), list[Any]()
    body = opened(operator, activity) | {"name": "new"}

    def change() -> None:
        with transaction.atomic():
            Offer.objects.select_for_update(nowait=True).get()

    def try_meanwhile(**_signal: Any) -> None:
        answers.extend(race(change))

    pre_save.connect(try_meanwhile, sender=Activity)
    try:
        assert operator.post(url_of(activity), body).status_code == 302
    finally:
        pre_save.disconnect(try_meanwhile, sender=Activity)

    assert [type(each) for each in answers] == [OperationalError]
