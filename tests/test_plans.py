"""Activities are copied as drafts and extended, from their page."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from activity import plans
from activity.models import Activity, Offer
from groupbuy.history import text_of
from tests.factories import NOW, make_activity, make_channel, make_team
from trade.models import Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
Status = Activity.Status
DAY = timedelta(days=1)
BASE = "/admin/activity/activity/100123"


def typed(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}"


def test_a_copy_is_a_draft_with_the_same_rules_and_offers(operator: Client) -> None:
    original = make_activity(cut_range=40, take_limit=7)
    Offer.objects.create(
        channel=make_channel("s02", "c02"), sku=original.offers.get().sku, activity=original
    )
    start, end = NOW + DAY, NOW + 3 * DAY
    body = {"name": "again", "start_at": typed(start), "end_at": typed(end)}
    response = operator.post(f"{BASE}/copy/", body)
    copied = Activity.objects.exclude(pk=original.pk).get()

    assert response["Location"] == f"/admin/activity/activity/{copied.pk}/change/"
    own = {"id", "name", "status", "start_at", "end_at"}
    for field in Activity._meta.concrete_fields:
        if field.name not in own:
            assert getattr(copied, field.attname) == getattr(original, field.attname), field.name
    assert (copied.name, copied.status) == ("again", Status.CREATED)
    assert (copied.start_at, copied.end_at) == (start, end)
    pairs = [set(each.offers.values_list("channel", "sku")) for each in (copied, original)]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == 2
    original.refresh_from_db()
    assert (original.name, original.status) == ("activity", Status.IN_EFFECT)
    assert LogEntry.objects.get().object_id == str(copied.pk)


@pytest.mark.parametrize("step", ["copy", "extend"])
def test_an_activity_that_never_ends_has_these_pages_too(operator: Client, step: str) -> None:
    make_activity(end_at=datetime(9999, 12, 31, 15, 59, tzinfo=UTC))
    page = operator.get(f"{BASE}/{step}/").content.decode()

    assert 'name="end_at" value="9999-12-31T08:00"' in page


def test_the_page_proposes_the_time_right_after_the_original(operator: Client) -> None:
    original = make_activity()
    page = operator.get(f"{BASE}/copy/").content.decode()

    start = original.end_at + timedelta(minutes=1)
    assert f'value="{typed(start)}"' in page
    assert f'value="{typed(start + timedelta(hours=1))}"' in page


def test_a_second_copy_for_the_same_time_is_refused(operator: Client) -> None:
    make_activity()
    body = {"name": "again", "start_at": typed(NOW + DAY), "end_at": typed(NOW + 2 * DAY)}
    operator.post(f"{BASE}/copy/", body)
    page = operator.post(f"{BASE}/copy/", body).content.decode()

    assert "is already offered on this channel by" in page
    assert Activity.objects.count() == 2
    assert Offer.objects.count() == 2


def test_wrong_times_are_refused_under_their_field(operator: Client) -> None:
    make_activity()
    body = {"name": "again", "start_at": typed(NOW + DAY), "end_at": typed(NOW)}
    page = operator.post(f"{BASE}/copy/", body).content.decode()

    assert "The end must be after the start." in page
    assert Activity.objects.count() == 1


def test_extending_moves_the_end_and_nothing_else(operator: Client) -> None:
    activity = make_activity()
    team = make_team("a")
    end = activity.end_at + DAY
    page = operator.get(f"{BASE}/extend/").content.decode()
    assert "1 team is open: it keeps its own end and rules." in page
    operator.post(f"{BASE}/extend/", {"end_at": typed(end)})

    activity.refresh_from_db()
    assert (activity.end_at, activity.status) == (end, Status.IN_EFFECT)
    assert Team.objects.get().expires_at == team.expires_at
    entry = LogEntry.objects.get()
    assert json.loads(entry.change_message)[0]["changed"]["values"][0][0] == "end_at"
    assert text_of(entry) == "end: 2036-05-01 12:30:00 → 2036-05-02 12:30:00"


def test_an_expired_activity_is_in_effect_again(operator: Client) -> None:
    activity = make_activity(status=Status.EXPIRED, end_at=NOW - DAY, start_at=NOW - 2 * DAY)
    assert "will be in effect again" in operator.get(f"{BASE}/extend/").content.decode()
    operator.post(f"{BASE}/extend/", {"end_at": typed(NOW + DAY)})

    activity.refresh_from_db()
    assert activity.is_open(NOW)
    assert "status: expired → in effect" in text_of(LogEntry.objects.get())


@pytest.mark.parametrize(
    ("fields", "end_at", "said"),
    [
        ({}, NOW, "Choose a moment after the present end and after now."),
        ({"status": Status.ABANDONED}, NOW + DAY, "A closed activity cannot be extended"),
    ],
)
def test_some_activities_cannot_be_extended(
    operator: Client, fields: dict[str, Any], end_at: datetime, said: str
) -> None:
    activity = make_activity(**fields)
    page = operator.post(f"{BASE}/extend/", {"end_at": typed(end_at)}).content.decode()

    assert said in page
    assert Activity.objects.get() == activity
    assert Activity.objects.get().end_at == activity.end_at
    assert not LogEntry.objects.exists()


def test_an_extension_into_another_activity_is_refused(operator: Client) -> None:
    activity = make_activity()
    make_activity(2, start_at=NOW + DAY, end_at=NOW + 2 * DAY)
    body = {"end_at": typed(NOW + DAY + timedelta(minutes=1))}
    page = operator.post(f"{BASE}/extend/", body).content.decode()

    assert "is already offered on this channel by 2 activity at that time." in page
    assert Activity.objects.get(pk=100123).end_at == activity.end_at


@pytest.mark.usefixtures("english")
def test_an_activity_that_was_closed_meanwhile_stays_closed() -> None:
    seen = make_activity()
    Activity.objects.update(status=Status.ABANDONED)

    with pytest.raises(ValidationError, match="has just been changed"):
        plans.extend(seen, end_at=NOW + DAY, now=NOW)
    assert Activity.objects.get().status == Status.ABANDONED
    assert Activity.objects.get().end_at == seen.end_at


@pytest.mark.parametrize(("role", "status"), [("support", 403), ("operator", 200)])
def test_operators_copy_and_extend(role: str, status: int) -> None:
    make_activity()
    user = User.objects.create_user("member", is_staff=True)
    user.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(user)

    for page in ("copy", "extend"):
        assert client.get(f"{BASE}/{page}/").status_code == status


def test_the_page_lists_open_teams_that_keep_old_rules(operator: Client) -> None:
    make_activity()
    make_team("a")
    page = operator.get(f"{BASE}/change/").content.decode()
    assert "Open teams that keep the rules" not in page
    Activity.objects.update(target_count=4)
    make_team("b")

    page = operator.get(f"{BASE}/change/").content.decode()
    assert "9890001: 3 people, 80.00 each · teams: 1" in page
    assert "9890001: 4 people" not in page


@pytest.mark.parametrize("step", ["copy", "extend"])
def test_an_id_that_is_no_number_is_not_found(operator: Client, step: str) -> None:
    assert operator.get(f"/admin/activity/activity/abc/{step}/").status_code == 404


@pytest.mark.parametrize(("step", "log"), [("copy", "log_addition"), ("extend", "log_change")])
def test_a_process_that_dies_before_the_log_entry_has_changed_nothing(
    operator: Client, monkeypatch: pytest.MonkeyPatch, step: str, log: str
) -> None:
    activity = make_activity()

    def die(*_args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(ModelAdmin, log, die)
    start, end = NOW + DAY, NOW + 3 * DAY
    with pytest.raises(RuntimeError):
        operator.post(
            f"{BASE}/{step}/", {"name": "again", "start_at": typed(start), "end_at": typed(end)}
        )

    assert Activity.objects.get().end_at == activity.end_at
