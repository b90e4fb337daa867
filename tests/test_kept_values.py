"""The history of a row in the console names fields in the reader's language, before and after."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import strip_tags

from activity.models import Activity, Offer
from tests.factories import NOW, make_activity, make_channel, make_discount, make_promise
from tests.forms import as_sent
from trade.models import NotifyTask

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def history(client: Client, page: str, language: str) -> str:
    content = client.get(f"/admin/{page}/history/", headers={"Accept-Language": language})
    return re.sub(r"\s+", " ", strip_tags(content.content.decode()))


def save(client: Client, page: str, **changed: object) -> None:
    url = f"/admin/{page}/change/"
    sent = as_sent(client.get(url))
    response = client.post(url, sent | changed)
    assert response.status_code == 302, response.context["adminform"].form.errors


def test_before_and_after_are_shown_in_the_readers_language(operator: Client) -> None:
    activity = make_activity(start_at=NOW, end_at=NOW + timedelta(days=1))
    activity_page = f"activity/activity/{activity.pk}"
    other = make_discount()
    other.name = "half price"
    other.save()
    changed = {"group_type": Activity.GroupType.SHOP_COMPLETES, "discount": other.pk}
    save(operator, activity_page, reason="cheaper", **changed)
    save(operator, activity_page, end_at_1="20:00:05")

    told = history(operator, activity_page, "en")
    types = "the target must be reached → when its time is up, the platform completes the team"
    assert f"group type: {types}" in told
    assert "discount: discount → half price" in told
    assert "reason: “cheaper”" in told
    assert "end: 2036-05-02 12:00:00 → 2036-05-02 20:00:05" in told
    told = history(operator, activity_page, "zh-hans")
    assert "拼团方式：须达到目标人数 → 到时间由平台自动成团" in told
    assert "结束时间：2036-05-02 12:00:00 → 2036-05-02 20:00:05" in told


def test_rows_of_an_inline_are_shown(operator: Client) -> None:
    activity = make_activity()
    page = f"activity/activity/{activity.pk}"
    other = make_channel("s02", "c02")
    save(operator, page, **{"offers-0-channel": other.pk})
    save(operator, page, **{"offers-0-DELETE": "on"})

    assert not Offer.objects.exists()
    told = history(operator, page, "zh-hans")
    assert "渠道：s01/c01 mall → s02/c02 mall" in told
    assert re.search("删除：商品活动 .*s02/c02 mall", told)


def test_secrets_are_not_kept(operator: Client) -> None:
    channel = make_channel()
    secret = "whsec_" + "QUJD" * 10
    save(
        operator,
        f"groupbuy/channel/{channel.pk}",
        callback_hosts=channel.callback_hosts,
        webhook_secret=secret,
    )

    message = LogEntry.objects.get().change_message
    assert json.loads(message)[0]["changed"]["values"][0][2:] == ["…", "…"]
    assert channel.webhook_secret not in message
    assert "webhook secret: … → …" in history(operator, f"groupbuy/channel/{channel.pk}", "en")


def test_entries_of_older_releases_are_still_shown(operator: Client) -> None:
    channel = make_channel()
    LogEntry.objects.log_actions(
        User.objects.get().pk, [channel], 2, [{"changed": {"fields": ["Name"]}}], single_object=True
    )
    assert "Changed Name." in history(operator, f"groupbuy/channel/{channel.pk}", "en")


def test_an_act_by_a_button_is_shown(operator: Client) -> None:
    promise = make_promise(state=NotifyTask.State.GIVEN_UP, next_attempt_at=None)
    body = {"action": "send_again", "_selected_action": [promise.pk], "reason": "lost"}
    operator.post("/admin/trade/notifytask/", body)

    assert "sent again" in history(operator, f"trade/notifytask/{promise.pk}", "en")
    assert "已重新发送" in history(operator, f"trade/notifytask/{promise.pk}", "zh-hans")
