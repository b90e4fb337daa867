"""The console's inbox and its page of invariants."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from groupbuy.checks import check_refunds
from tests.factories import (
    NOW,
    lock,
    make_activity,
    make_channel,
    make_promise,
    make_team,
    refund,
    set_switch,
)
from trade import invariants
from trade.inbox import problems
from trade.models import NotifyAttempt, NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
State = NotifyTask.State
LATER = NOW + timedelta(hours=1)


def texts() -> list[str]:
    return [problem.text for problem in problems(LATER)]


def test_a_platform_that_is_switched_off_is_the_first_problem(operator: Client) -> None:
    make_promise(next_attempt_at=NOW)
    assert "switched off" not in texts()[0]
    set_switch("downgradeSwitch", "1")

    first, second = problems(LATER)

    assert first.text == "Group buying is switched off: every trial and every lock is refused."
    assert "are overdue" in second.text
    assert b"downgradeSwitch" in operator.get(first.link).content


def test_a_channel_whose_refunds_have_no_destination_is_shown(operator: Client) -> None:
    """The inbox, the channel's page and the system check show it before the first refund."""
    channel = make_channel(refund_notify_url="")
    make_channel("s02", "c02")
    text = (
        "Refunds of s01/c01 cannot be reported to its mall: the channel has no refund callback URL,"
        " and there is no RabbitMQ. Not sent so far: {}."
    )
    assert texts() == [text.format(0)]
    make_activity(channel=channel)
    make_team("a", "b", paid=1)
    refund("a")
    refund("b")

    [problem] = problems(NOW)
    assert problem.text == text.format(2)
    assert problem.link == f"/admin/groupbuy/channel/{channel.pk}/change/"
    page = operator.get(problem.link).content.decode()
    assert "Refunds of this channel cannot be reported" in page
    checked = [warning.msg for warning in check_refunds(databases=["default"])]
    assert checked == ["Refunds of s01/c01 cannot be reported to its mall."]
    assert check_refunds() == []  # a check that may not look at the database


def test_with_a_message_broker_each_channel_has_a_destination(
    operator: Client, settings: Any
) -> None:
    channel = make_channel(refund_notify_url="")
    settings.AMQP_URL = "amqp://broker"

    assert texts() == []
    assert check_refunds(databases=["default"]) == []
    page = operator.get(f"/admin/groupbuy/channel/{channel.pk}/change/").content.decode()
    assert "cannot be reported" not in page


def test_a_notice_that_waited_for_its_url_stays_in_the_inbox(operator: Client) -> None:
    channel = make_channel(refund_notify_url="")
    make_promise("1", state=State.GIVEN_UP, next_attempt_at=None, endpoint="", target="")
    make_promise("2", state=State.DELIVERED, next_attempt_at=None, endpoint="", target="")
    channel.refund_notify_url = "http://127.0.0.1:9/refund"
    channel.save()

    [problem] = problems(NOW)

    assert problem.text == "1 refund notice of s01/c01 had no destination then: send it again."
    page = operator.get(problem.link).content.decode()
    assert 'value="1" class="action-select' in page or ">1</a>" in page
    assert ">2</a>" not in page


def test_a_queue_at_a_failing_endpoint_is_no_missing_worker() -> None:
    for n in range(3):
        make_promise(str(n), state=State.RETRYING, endpoint="slow:https")
    task = NotifyTask.objects.get(key="0")
    NotifyAttempt.objects.create(task=task, number=1, started_at=LATER, duration_ms=5000)

    assert texts() == ["3 notifications to slow:https have failed and are tried again."]


def test_given_up_and_failing_notifications_are_shown_by_endpoint(operator: Client) -> None:
    make_promise("1", state=State.GIVEN_UP, next_attempt_at=None, endpoint="dead:https")
    make_promise("2", state=State.GIVEN_UP, next_attempt_at=None, endpoint="dead:https")
    make_promise("3", state=State.RETRYING, next_attempt_at=LATER, endpoint="slow:https")
    make_promise("4", state=State.DELIVERED, next_attempt_at=None, endpoint="good:https")

    assert texts() == [
        "2 notifications to dead:https were given up.",
        "1 notification to slow:https has failed and is tried again.",
    ]
    for problem in problems(LATER):
        assert operator.get(problem.link).status_code == 200
    given_up = problems(LATER)[0]
    assert 'value="dead:https"' in operator.get(given_up.link).content.decode()


def test_overdue_work_is_shown(operator: Client) -> None:
    make_activity()
    lock()
    make_promise()

    assert texts() == [
        "1 notifications are overdue: are worker and beat running?",
        "1 orders were not paid in time and still hold their seats: are worker and beat running?",
        "1 teams are past their end and still forming: are worker and beat running?",
    ]
    for problem in problems(LATER):
        assert operator.get(problem.link).status_code == 200


def test_an_empty_inbox_has_a_sentence(operator: Client) -> None:
    make_activity()
    lock()

    assert problems(NOW) == []
    page = operator.get("/admin/").content.decode()
    assert "Nothing needs attention." in page
    assert 'href="/admin/trade/"' not in page  # the sidebar lists all pages, in other groups


def test_an_operator_without_permission_sees_no_inbox() -> None:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_user("viewer", is_staff=True))

    assert "Inbox" not in client.get("/admin/").content.decode()


def test_a_viewer_is_led_to_what_a_viewer_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = "mall.example.com:https"
    make_promise("n-1", state=NotifyTask.State.GIVEN_UP, next_attempt_at=None, endpoint=endpoint)
    monkeypatch.setattr("groupbuy.gcra.blocks", lambda _scopes: ["one"])

    def page_of(role: str) -> str:
        user = User.objects.create_user(role, is_staff=True)
        user.groups.set([Group.objects.get(name=role)])
        client = Client(headers={"Accept-Language": "en"})
        client.force_login(user)
        return client.get("/admin/").content.decode()

    text = "1 notification to mall.example.com:https was given up."
    query = "endpoint=mall.example.com%3Ahttps"
    shown, blocked = page_of("viewer"), "1 client is blocked for too many requests."
    assert f'href="/admin/trade/notifytask/?state=given_up&amp;{query}">{text}' in shown
    assert f"<li>{blocked}</li>" in shown
    shown = page_of("support")
    assert f'href="/admin/trade/notifytask/replay/?{query}">{text}' in shown
    assert f'href="/admin/groupbuy/switch/blocked/">{blocked}' in shown


def test_the_invariants_are_checked_on_demand(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    page = "/admin/trade/team/invariants/"

    assert "2. A team counts" not in operator.get(page).content.decode()
    assert "No errors found." in operator.post(page).content.decode()

    Order.objects.update(status=Order.Status.PAID, hold_no=None)
    broken = operator.post(page).content.decode()

    assert "2 checks found errors." in broken
    assert f"team {team.pk}: counts 1 taken and 0 paid, has 1 and 1" in broken
    assert Team.objects.get().paid_count == 0  # the page only looks


def test_one_check_of_the_invariants_runs_at_a_time(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads whole tables, so impatient operators could take all threads of a process."""
    page, pages = "/admin/trade/team/invariants/", list[str]()

    def check(_now: datetime) -> list[tuple[str, list[str]]]:
        pages.append(operator.post(page).content.decode())
        return [("1. It holds.", [])]

    monkeypatch.setattr(invariants, "check_all", check)
    first = operator.post(page).content.decode()
    again = operator.post(page).content.decode()

    assert ("1. It holds." in first, "1. It holds." in again) == (True, True)
    assert ["Another check is running." in each for each in pages] == [True, True]
