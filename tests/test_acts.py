"""Acts of operators: by the rules of the trade, with a reason, not on rows that have changed."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from groupbuy import history
from tests.factories import lock, make_activity, make_promise, refund, settle
from tests.racing import overtake
from trade import acts, expire
from trade.invariants import check_all
from trade.models import NotifyTask, Order, Team
from trade.notify import outbox

pytestmark = pytest.mark.django_db
REASON = "The customer called"


@pytest.fixture(autouse=True)
def _activity() -> None:
    make_activity(target_count=3, take_limit=3, start_at=timezone.now(), end_at=later(60 * 24))


def later(minutes: int) -> Any:
    return timezone.now() + timedelta(minutes=minutes)


def team_of(*names: str, paid: int = 0) -> Team:
    now, team_id = timezone.now(), ""
    for name in names:
        team_id = str(lock(name, team_id=team_id, now=now).team_id)
    for name in names[:paid]:
        settle(name, paid_at=now, now=now)
    return Team.objects.get(pk=team_id)


def order_of(name: str) -> Order:
    return Order.objects.select_related("team").get(user_id=name)


def url_of(row: Any, act: str) -> str:
    return f"/admin/trade/{row._meta.model_name}/{row.pk}/{act}/"


def act(client: Client, row: Any, name: str, *, reason: str = REASON) -> str:
    """Open the page of the act, give the reason, press the button; the page that follows."""
    page = client.get(url_of(row, name)).content.decode()
    seen = re.search(r'name="seen" value="([^"]*)"', page)
    body = {"reason": reason, "seen": seen[1] if seen else ""}
    return client.post(url_of(row, name), body, follow=True).content.decode()


def facts(page: str) -> list[str]:
    return re.findall(r"<li>([^<]+)</li>", page.split('class="facts"')[1].split("</ul>")[0])


def states() -> dict[str, tuple[int, str]]:
    return {row.user_id: (row.status, row.close_reason) for row in Order.objects.order_by("pk")}


def notified() -> list[str]:
    return sorted(
        key.rsplit("-", 1)[-1] for key in NotifyTask.objects.values_list("key", flat=True)
    )


def broken() -> list[Any]:
    return [rows for _sentence, rows in check_all(timezone.now()) if rows]


def test_an_order_is_given_back_with_a_reason(operator: Client) -> None:
    team = team_of("a", "b", paid=1)
    order = order_of("a")

    page = operator.get(url_of(order, "give-back")).content.decode()
    assert facts(page) == ["¥80.00 goes back, and the seat in the team is free again."]
    page = act(operator, order, "give-back")

    assert "The order is given back." in page
    assert f"given back by an operator: “{REASON}”" in page
    assert f"{order} · operator" in page
    assert states() == {"a": (2, "refunded"), "b": (0, "")}
    team.refresh_from_db()
    assert (team.status, team.locked_count, team.paid_count) == (0, 1, 0)
    assert notified() == ["paid_unformed"]
    assert broken() == []
    assert "Give back" not in re.findall(r">\s*([^<>]+?)\s*</a>", page)


def test_the_timeline_of_the_team_shows_the_act(operator: Client) -> None:
    team = team_of("a", "b", paid=1)
    act(operator, order_of("b"), "give-back")

    page = operator.get(url_of(team, "change")).content.decode()

    assert f"given back by an operator: “{REASON}”" in page


def test_a_team_is_completed_with_those_who_have_paid(operator: Client) -> None:
    team = team_of("a", "b", paid=1)

    page = operator.get(url_of(team, "complete")).content.decode()
    assert facts(page) == [
        "1 shopper who has paid gets the goods (¥80.00).",
        "1 unpaid seat is released; a payment that still arrives goes back.",
        "The mall is notified that the team is complete. This cannot be undone.",
    ]
    page = act(operator, team, "complete")

    assert f"completed by an operator: “{REASON}”" in page
    assert "team complete" in page
    assert "by the platform at its end" not in page  # which is not yet
    team.refresh_from_db()
    assert (team.status, team.completed_by_shop, team.locked_count) == (1, True, 1)
    assert states() == {"a": (1, ""), "b": (2, "team_ended")}
    assert notified() == sorted([f"{team.pk}", "unpaid_unlock"])
    assert broken() == []


def test_a_team_is_ended_and_the_money_goes_back(operator: Client) -> None:
    team = team_of("a", "b", "c", paid=2)

    page = operator.get(url_of(team, "fail")).content.decode()
    assert facts(page) == [
        "¥160.00 goes back to 2 shoppers who have paid.",
        "1 unpaid seat is released; a payment that still arrives goes back.",
        "The mall is notified of each order. This cannot be undone.",
    ]
    page = act(operator, team, "fail")

    assert f"ended by an operator, the money goes back: “{REASON}”" in page
    team.refresh_from_db()
    assert (team.status, team.locked_count, team.paid_count) == (2, 0, 0)
    assert {status for status, _reason in states().values()} == {2}
    assert notified() == ["paid_unformed", "paid_unformed", "unpaid_unlock"]
    assert broken() == []


def test_an_act_that_collides_again_and_again_does_nothing(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collide(*_arguments: Any, **_named: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    monkeypatch.setattr(expire, "end_team", collide)
    team = team_of("a", paid=1)

    page = act(operator, team, "fail")

    assert "It has changed in the meantime, so nothing was done. Look again." in page
    team.refresh_from_db()
    assert team.status == Team.Status.FORMING


def test_a_notification_is_sent_again_from_its_page(operator: Client) -> None:
    promise = make_promise("given-up", state=NotifyTask.State.GIVEN_UP, next_attempt_at=None)

    page = act(operator, promise, "send-again")

    promise.refresh_from_db()
    assert promise.state == NotifyTask.State.NEW
    assert promise.next_attempt_at is not None
    assert "The notification will be sent again." in page
    assert LogEntry.objects.get().change_message.count(REASON) == 1


def test_notifications_that_collide_again_and_again_are_not_sent(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collide(*_arguments: Any, **_named: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    monkeypatch.setattr(outbox, "requeue", collide)
    promise = make_promise("given-up", state=NotifyTask.State.GIVEN_UP, next_attempt_at=None)
    body = {"action": "send_again", "_selected_action": [promise.pk], "reason": REASON}

    page = operator.post("/admin/trade/notifytask/", body, follow=True).content.decode()

    assert "Two requests collided, please try again" in page
    assert not LogEntry.objects.exists()


def test_a_notification_that_had_no_destination_is_sent_from_its_page(operator: Client) -> None:
    """It goes to the present refund callback URL of its channel (trade/notify/transports.py)."""
    nowhere = {"state": NotifyTask.State.GIVEN_UP, "target": "", "endpoint": ""}
    promise = make_promise("nowhere", next_attempt_at=None, **nowhere)

    page = act(operator, promise, "send-again")

    promise.refresh_from_db()
    assert promise.state == NotifyTask.State.NEW
    assert "The notification will be sent again." in page


ACTS: dict[str, Callable[[Team], Any]] = {
    "give-back": lambda team: team.orders.select_related("team").first(),
    "complete": lambda team: team,
    "fail": lambda team: team,
}


@pytest.mark.parametrize("name", ACTS)
def test_nothing_happens_without_a_reason(operator: Client, name: str) -> None:
    row = ACTS[name](team_of("a", paid=1))

    page = act(operator, row, name, reason="  ")

    assert "This field is required." in page
    assert states() == {"a": (1, "")}
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("name", ACTS)
def test_an_act_changes_nothing_if_the_row_has_changed(operator: Client, name: str) -> None:
    """Mutation: an act that does not compare `seen`."""
    team = team_of("a", "b", paid=1)
    row = ACTS[name](team)
    page = operator.get(url_of(row, name)).content.decode()
    [seen] = re.findall(r'name="seen" value="([^"]*)"', page)
    settle("b", paid_at=timezone.now(), now=timezone.now())

    answer = operator.post(url_of(row, name), {"reason": REASON, "seen": seen}, follow=True)

    assert "It has changed in the meantime, so nothing was done." in answer.content.decode()
    assert states() == {"a": (1, ""), "b": (1, "")}
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("give-back", "Not possible: the order is “closed, nothing was paid”."),
        ("complete", "Not possible: nobody in this team has paid."),
    ],
)
def test_an_impossible_act_says_why(operator: Client, name: str, why: str) -> None:
    team = team_of("a")
    row = ACTS[name](team)
    refund("a", now=timezone.now())

    page = operator.get(url_of(row, name)).content.decode()
    assert facts(page) == [why]
    operator.post(url_of(row, name), {"reason": REASON, "seen": acts.state_of_team(team)})

    assert LogEntry.objects.count() == 0
    assert notified() == ["unpaid_unlock"]


@pytest.mark.parametrize(("module", "name"), [(outbox, "requeue"), (history, "log_act")])
def test_sending_again_and_its_log_entry_are_one_transaction(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """A process that dies in between leaves both or none."""
    promise = make_promise(state=NotifyTask.State.GIVEN_UP, next_attempt_at=None)
    user_id = User.objects.create_superuser("operator").pk

    def die(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, name, die)
    with pytest.raises(RuntimeError):
        acts.send_again([promise.pk], acts.Act(user_id, REASON, ""), now=timezone.now())
    assert NotifyTask.objects.get(pk=promise.pk).state == NotifyTask.State.GIVEN_UP
    assert not LogEntry.objects.exists()


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_a_payment_that_is_faster_than_the_act_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: _end_team() reads the team without its lock."""
    team = team_of("a", "b", paid=1)
    user_id = User.objects.create_superuser("operator").pk
    seen = acts.Act(user_id, REASON, acts.state_of_team(team))
    now = timezone.now()

    slow = partial(acts.fail_team, team, seen, now=now)
    results = overtake(monkeypatch, slow, partial(settle, "b", paid_at=now, now=now))

    assert isinstance(results[0], acts.ChangedError)
    assert states() == {"a": (1, ""), "b": (1, "")}
    assert broken() == []


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has no row locks to look at")
@pytest.mark.django_db(transaction=True)
def test_an_order_that_its_mall_gives_back_first_is_not_given_back_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the team shows that an unpaid order has been closed."""
    team_of("a", "b", paid=1)
    order = order_of("b")
    user_id = User.objects.create_superuser("operator").pk
    seen = acts.Act(user_id, REASON, acts.state_of_order(order))
    now = timezone.now()

    slow = partial(acts.give_back, order, seen, now=now)
    results = overtake(monkeypatch, slow, partial(refund, "b", now=now))

    assert isinstance(results[0], acts.ChangedError)
    assert states() == {"a": (1, ""), "b": (2, "refunded")}
    assert not LogEntry.objects.exists()
    assert broken() == []
