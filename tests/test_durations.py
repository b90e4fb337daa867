"""Lengths of time in words, and as operators enter them."""

from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import translation

from activity.models import Activity
from groupbuy.durations import MinutesField, duration
from tests.factories import make_activity
from tests.forms import as_sent

URL = "/admin/activity/activity/100123/change/"


class Form(forms.Form):
    time = MinutesField(min_value=1)


def read(text: str) -> Any:
    form = Form({"time": text})
    return form.cleaned_data["time"] if form.is_valid() else form.errors["time"][0]


@pytest.mark.parametrize(
    ("minutes", "words", "shown", "chinese"),
    [
        (15, "15 minutes", "15 min", "15 分钟"),
        (60, "1 hour", "1 h", "1 小时"),
        (90, "1 hour 30 minutes", "1 h 30 min", "1 小时 30 分钟"),
        (1440, "24 hours", "24 h", "24 小时"),
        (1530, "25 hours 30 minutes", "25 h 30 min", "25 小时 30 分钟"),
        (2880, "2 days", "2 d", "2 天"),
        (3000, "2 days 2 hours", "2 d 2 h", "2 天 2 小时"),
        (2881, "2 days 1 minute", "2 d 1 min", "2 天 1 分钟"),
    ],
)
def test_what_is_shown_is_read_again(minutes: int, words: str, shown: str, chinese: str) -> None:
    with translation.override("en"):
        assert duration(minutes) == words
        assert MinutesField().prepare_value(minutes) == shown
        assert read(shown) == minutes
        assert read(words) == minutes
    with translation.override("zh-hans"):
        assert duration(minutes) == chinese
        assert read(MinutesField().prepare_value(minutes)) == minutes
        assert read(chinese) == minutes


@pytest.mark.parametrize(
    ("text", "minutes"), [("1440", 1440), ("24H", 1440), ("1d", 1440), ("1d 2h 3", 1563)]
)
def test_what_may_be_entered(text: str, minutes: int) -> None:
    assert read(text) == minutes


@pytest.mark.parametrize("text", ["24:00", "1,5 h", "-5", "h", "a day", "30 min 2 h", "1.5 h"])
def test_what_cannot_be_read_says_what_can(text: str) -> None:
    with translation.override("en"):
        assert read(text) == "Enter a time such as 30 min, 24 h or 2 d 12 h."


@pytest.mark.django_db
@pytest.mark.usefixtures("clock")
def test_the_form_and_the_list_of_activities_show_hours(operator: Client) -> None:
    make_activity(valid_minutes=1440, hold_minutes=90)
    sent = as_sent(operator.get(URL))
    assert (sent["valid_minutes"], sent["hold_minutes"]) == ("24 h", "1 h 30 min")
    assert "24 hours" in operator.get("/admin/activity/activity/").content.decode()

    refused = operator.post(URL, sent | {"valid_minutes": "91 d"})
    assert refused.context["adminform"].form.errors == {
        "valid_minutes": ["Enter a time from 1 minute to 90 days."]
    }
    operator.post(URL, sent | {"valid_minutes": "2 d 12 h"})
    activity = Activity.objects.get()
    viewer = Client(headers={"Accept-Language": "en"})
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.set([Group.objects.get(name="viewer")])
    viewer.force_login(user)
    assert "2 days 12 hours" in viewer.get(URL).content.decode()
    assert (activity.valid_minutes, activity.hold_minutes) == (3600, 90)
