"""Sending notifications again: the command and the console's page."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import translation

from groupbuy.history import text_of
from tests.factories import NOW, make_promise
from trade.models import NotifyTask

pytestmark = pytest.mark.django_db
State = NotifyTask.State


@pytest.fixture
def _promises() -> None:
    """Four promises, a day apart; the last to another endpoint, the second delivered."""
    states = (State.GIVEN_UP, State.DELIVERED, State.RETRYING, State.GIVEN_UP)
    for day, state in enumerate(states, 1):
        make_promise(
            f"team_success-{day}",
            state=state,
            attempts=8,
            next_attempt_at=None,
            created_at=NOW + timedelta(days=day),
            endpoint="other:https" if day == 4 else "mall:https",
        )


def replay(*args: str) -> str:
    out = StringIO()
    call_command("replay_notifications", *args, stdout=out)
    return out.getvalue()


def due() -> list[str]:
    """The notifications that will be sent again with all their attempts."""
    tasks = NotifyTask.objects.filter(
        state=State.NEW, attempts=0, next_attempt_at__isnull=False
    ).order_by("key")
    return [key.removeprefix("team_success-") for key in tasks.values_list("key", flat=True)]


@pytest.mark.usefixtures("_promises")
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["team_success-1"], ["1"]),
        (["team_success-2", "team_success-4"], ["2", "4"]),
        (["--endpoint", "mall:https"], ["1", "3"]),
        (["--endpoint", "mall:https", "--delivered"], ["1", "2", "3"]),
        (["--endpoint", "nobody:https"], []),
        (["--since", "2036-05-04T04:00:00+00:00"], ["3", "4"]),
        (["--until", "2036-05-04T04:00:00+00:00"], ["1"]),
        (["--since", "2036-05-03T12:00:00", "--until", "2036-05-04", "--delivered"], ["2"]),
        (["--since", "2036-05-02", "--endpoint", "other:https"], ["4"]),
    ],
)
def test_only_the_chosen_notifications_are_sent_again(args: list[str], expected: list[str]) -> None:
    before = NotifyTask.objects.count()

    assert replay(*args) == f"{len(expected)} notifications will be sent again.\n"

    assert due() == expected
    assert NotifyTask.objects.count() == before


@pytest.mark.usefixtures("_promises")
def test_a_dry_run_only_counts() -> None:
    said = replay("--endpoint", "mall:https", "--dry-run")

    assert said == "2 notifications would be sent again.\n"
    assert due() == []


@pytest.mark.usefixtures("_promises")
@pytest.mark.parametrize(
    ("args", "error"),
    [
        ([], "Name some keys, or a range"),
        (["--delivered"], "Name some keys, or a range"),
        (["team_success-1", "--endpoint", "mall:https"], "Name some keys, or a range"),
        (["team_success-1", "team_success-9"], "There is no notification team_success-9."),
        (["--since", "yesterday"], "--since: 'yesterday' is not an ISO-8601 time"),
    ],
)
def test_a_wrong_choice_is_named_and_nothing_is_sent(args: list[str], error: str) -> None:
    with pytest.raises(CommandError, match=error):
        replay(*args)

    assert due() == []


PAGE = "/admin/trade/notifytask/replay/"


@pytest.mark.usefixtures("_promises")
def test_the_console_counts_before_it_sends(operator: Client) -> None:
    chosen = {"endpoint": "mall:https", "since": "2036-05-02T00:00", "until": "2036-06-01T00:00"}
    chosen["reason"] = "lost"

    counted = operator.post(PAGE, chosen)

    page = counted.content.decode()
    assert "2 notifications are in this range.</strong><br>retrying: 1 · given up: 1" in page
    assert due() == []

    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    assert hidden.keys() == {"csrfmiddlewaretoken", "endpoint", "reason", "since", "until"}
    sent = operator.post(PAGE, hidden | {"send": "1"}, follow=True)

    assert "2 notifications will be sent again." in sent.content.decode()
    assert due() == ["1", "3"]
    logged = LogEntry.objects.get()
    with translation.override("en"):
        assert text_of(logged) == "a range was sent again: “lost”"
    assert logged.user.username == "operator"
    assert logged.object_repr == (
        "endpoint: mall:https, since: 2036-05-02 00:00:00+08:00, until: 2036-06-01 00:00:00+08:00"
    )


@pytest.mark.usefixtures("_promises")
def test_notifications_promised_after_counting_are_not_sent_again(operator: Client) -> None:
    page = operator.post(PAGE, {"endpoint": "mall:https", "reason": "lost"}).content.decode()

    assert "0 notifications are in this range." in page  # they are promised in 2036
    assert re.search(r'name="until" value="20\d\d-\d\d-\d\dT', page)


def test_too_many_are_not_chosen_one_by_one(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trade.notify_admin.MANY", 1)
    rows = [make_promise(str(n), state=State.GIVEN_UP, next_attempt_at=None).pk for n in range(2)]
    body = {"action": "send_again", "_selected_action": rows}

    answer = operator.post("/admin/trade/notifytask/", body, follow=True)

    assert "too many to choose one by one" in answer.content.decode()
    assert due() == []


@pytest.mark.usefixtures("_promises")
@pytest.mark.parametrize(
    ("chosen", "error"),
    [
        ({}, "Name an endpoint or a time."),
        ({"delivered": "on"}, "Name an endpoint or a time."),
        ({"since": "soon"}, "Created at or after: “soon” is not a date and time such as"),
        ({"until": "9999-12-31T00:00"}, "Created before: “9999-12-31T00:00” is not in the years"),
        ({"until": "00010101T0000"}, "Created before: “00010101T0000” is not in the years"),
        ({"until": "99991231T2359"}, "Created before: “99991231T2359” is not in the years"),
    ],
)
def test_the_console_names_what_is_wrong(
    operator: Client, chosen: dict[str, Any], error: str
) -> None:
    answer = operator.post(PAGE, chosen | {"send": "1"})

    assert error in answer.content.decode()
    assert due() == []


@pytest.mark.usefixtures("_promises")
def test_sending_a_range_needs_its_permission() -> None:
    client = Client()
    client.force_login(User.objects.create_user("viewer", is_staff=True))

    assert client.post(PAGE, {"endpoint": "mall:https", "send": "1"}).status_code == 403
    assert client.get(reverse("admin:index")).status_code == 200
    assert due() == []
