"""An activity is published, paused, resumed and closed by buttons that say what they do."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from activity.models import Activity
from activity.trial import TrialQuery, run_trial
from activity.warnings import warnings
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.history import text_of
from tests.checks import broken_invariants
from tests.factories import GOODS, NOW, lock, make_activity, make_team, settle
from trade import endings, expire, timeline
from trade.models import NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
Status = Activity.Status
BASE = "/admin/activity/activity/100123"
STEPS = ("publish", "pause", "resume", "close", "close-now")
CLOSED = [
    "Nobody can open or join a team of it any more; shoppers see the normal price.",
    "Seats that are held can still be paid for.",
]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2), tick=False):
        yield


@pytest.fixture
def operator() -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    return client


def buttons(client: Client) -> list[str]:
    page = client.get(f"{BASE}/change/").content.decode()
    found = re.findall(rf'href="{BASE}/([\w-]+)/"', page)
    return [name for name in dict.fromkeys(found) if name in STEPS]


def said(client: Client, name: str) -> list[str]:
    page = client.get(f"{BASE}/{name}/").content.decode()
    shown = re.findall(r"<li>(.*?)</li>", page[page.index('class="facts"') :], re.S)
    return [unescape(strip_tags(each)).strip() for each in shown]


def press(client: Client, name: str, reason: str = "sold out") -> Any:
    page = client.get(f"{BASE}/{name}/").content.decode()
    [seen] = re.findall(r'name="seen" value="(.*?)"', page)
    return client.post(f"{BASE}/{name}/", {"reason": reason, "seen": seen})


def status() -> int:
    return Activity.objects.get().status


def refusals() -> tuple[ErrorCode, ...]:
    query = TrialQuery("z", "s01", "c01", GOODS, 100123)
    return run_trial(query, now=timezone.now()).refusals


def sweep() -> int:
    return expire.fail_teams_of_closed(clock=timezone.now)


def test_each_state_has_its_buttons(operator: Client) -> None:
    activity = make_activity(status=Status.CREATED)

    assert buttons(operator) == ["publish", "close"]
    assert press(operator, "publish", reason="")["Location"] == f"{BASE}/change/"
    assert buttons(operator) == ["pause", "close"]
    press(operator, "pause")
    assert (status(), buttons(operator)) == (Status.PAUSED, ["resume", "close"])
    press(operator, "resume", reason="")
    make_team("a")
    assert buttons(operator) == ["pause", "close", "close-now"]
    press(operator, "close")
    assert (status(), buttons(operator)) == (Status.ABANDONED, ["close-now"])
    assert [text_of(entry) for entry in LogEntry.objects.order_by("pk")] == [
        "published",
        "paused: “sold out”",
        "the sale was resumed",
        "closed, its teams finish: “sold out”",
    ]
    activity.refresh_from_db()
    assert not activity.gives_back


@pytest.mark.parametrize(("name", "is_red"), [("pause", False), ("close", True)])
def test_the_button_of_a_final_step_is_red(name: str, is_red: bool, operator: Client) -> None:
    make_activity()
    page = operator.get(f"{BASE}/{name}/").content.decode()

    assert ("bg-red-600" in page) is is_red


def test_a_paused_activity_sells_nothing_and_its_seats_can_be_paid(operator: Client) -> None:
    make_activity(target_count=2)
    team = make_team("a", "b", paid=1)
    make_team("c")

    assert said(operator, "pause") == [
        *CLOSED,
        "2 teams are forming now.",
        "1 shopper in them has paid ¥80.00.",
        "2 seats in them are held and not paid for.",
        "A team that is not full when its time is up fails, and its money goes back.",
        "It can be resumed. A team that could fill only with new members runs out of time.",
    ]
    press(operator, "pause")

    assert refusals() == (ErrorCode.ACTIVITY_NOT_IN_EFFECT,)
    for team_id in ("", str(Team.objects.exclude(pk=team.pk).get().pk)):
        with pytest.raises(GroupBuyError) as caught:
            lock("d", team_id=team_id)
        assert caught.value.error is ErrorCode.ACTIVITY_NOT_IN_EFFECT
    settle("b")
    team.refresh_from_db()
    assert team.status == Team.Status.COMPLETE


def test_a_paused_activity_takes_no_members_after_its_end(operator: Client) -> None:
    make_activity(valid_minutes=120)
    team = make_team("a")
    press(operator, "pause")
    end = NOW + timedelta(minutes=30)

    assert (expire.expire_activities(now=end), status()) == (0, Status.PAUSED)
    with pytest.raises(GroupBuyError) as caught:
        lock("b", team_id=str(team.pk), now=end)
    assert caught.value.error is ErrorCode.ACTIVITY_NOT_IN_EFFECT
    expire.end_overdue_teams(clock=lambda: team.expires_at + expire.GRACE)
    assert (expire.expire_activities(now=end), status()) == (1, Status.EXPIRED)


def test_closing_needs_a_reason_and_lets_teams_finish(operator: Client) -> None:
    make_activity(group_type=0)
    team = make_team("a", "b", paid=1)

    page = press(operator, "close", reason="").content.decode()
    assert (status(), "This field is required." in page) == (Status.IN_EFFECT, True)
    assert said(operator, "close")[5:] == [
        "A team that is not full when its time is up is completed with those who have paid.",
        "It cannot be resumed, only copied.",
    ]
    press(operator, "close")
    assert sweep() == 0

    expire.end_overdue_teams(clock=lambda: NOW + timedelta(hours=1))
    team.refresh_from_db()
    assert (team.status, team.completed_by_shop) == (Team.Status.COMPLETE, True)


def test_closing_with_the_money_back_fails_every_forming_team(operator: Client) -> None:
    make_activity(target_count=2)
    complete = make_team("a", "b", paid=2)
    forming = [make_team("c", "d", paid=1), make_team("e", paid=1)]
    other = make_activity(100124, goods_id="9890002")
    kept = Team.objects.get(pk=lock("f", activity_id=other.pk, goods_id="9890002").team_id)

    assert said(operator, "close-now") == [
        CLOSED[0],
        "2 teams are forming now.",
        "2 shoppers in them have paid ¥160.00 together.",
        "1 seat in them is held and not paid for.",
        "All these teams fail within minutes, and everybody's money goes back.",
        "The mall gets one notification for each of these shoppers and pays the money back.",
        "Complete teams keep their goods. It cannot be resumed, only copied.",
    ]
    press(operator, "close-now")
    assert (sweep(), sweep()) == (2, 0)

    states = dict(Team.objects.values_list("pk", "status"))
    assert states == {
        complete.pk: Team.Status.COMPLETE,
        **{team.pk: Team.Status.FAILED for team in forming},
        kept.pk: Team.Status.FORMING,
    }
    refunds = NotifyTask.objects.filter(event="team_refund").values_list("key", flat=True)
    kinds = sorted(key.split("-")[2] for key in refunds)
    assert kinds == ["paid_unformed", "paid_unformed", "unpaid_unlock"]
    for events in (
        timeline.of_team(Team.objects.get(pk=forming[1].pk)),
        timeline.of_order(Order.objects.get(user_id="e")),
    ):
        assert "closed with the money back: “sold out”" in [each.what for each in events]
    assert broken_invariants() == {}


def test_one_sweep_has_its_time_once_for_all_closed_activities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pk, goods in ((1, "g-1"), (2, "g-2")):
        make_activity(pk, goods_id=goods)
        lock(f"u{pk}", activity_id=pk, goods_id=goods)
    Activity.objects.update(status=Status.ABANDONED, gives_back=True)
    now = [0.0]
    monkeypatch.setattr(expire, "time", SimpleNamespace(monotonic=lambda: now[0]))
    end = endings.close_order

    def slowly(*args: Any, **kwargs: Any) -> None:
        now[0] += expire.SWEEP
        end(*args, **kwargs)

    monkeypatch.setattr(expire, "close_order", slowly)

    assert [sweep(), sweep(), sweep()] == [1, 1, 0]


def test_a_sweep_that_is_cut_off_goes_on_later(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_activity()
    for user in "abc":
        make_team(user, paid=1)
    press(operator, "close-now")
    monkeypatch.setattr(expire, "SWEEP", 0)
    assert sweep() == 0
    monkeypatch.setattr(expire, "SWEEP", 20)
    original, calls = endings.close_order, iter([None, RuntimeError("killed"), None, None])

    def close_order(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        if error := next(calls):
            raise error

    monkeypatch.setattr(expire, "close_order", close_order)

    assert (sweep(), sweep()) == (2, 1)
    assert set(Team.objects.values_list("status", flat=True)) == {Team.Status.FAILED}
    assert NotifyTask.objects.count() == 3
    assert broken_invariants() == {}


def test_a_team_opened_while_the_activity_closes_is_failed_too(operator: Client) -> None:
    make_activity()
    make_team("a", paid=1)
    press(operator, "close-now")
    sweep()
    Activity.objects.update(status=Status.IN_EFFECT)  # the moment before
    late = make_team("b")
    Activity.objects.update(status=Status.ABANDONED)

    assert sweep() == 1
    late.refresh_from_db()
    assert late.status == Team.Status.FAILED


def test_a_step_that_the_state_forbids_is_refused_with_a_reason(operator: Client) -> None:
    make_activity()
    page = operator.get(f"{BASE}/pause/").content.decode()
    [seen] = re.findall(r'name="seen" value="(.*?)"', page)
    Activity.objects.update(status=Status.EXPIRED)

    assert "The activity is now: expired." in operator.get(f"{BASE}/pause/").content.decode()
    Activity.objects.update(status=Status.PAUSED)
    operator.post(f"{BASE}/close/", {"reason": "r", "seen": seen})
    assert "has changed in the meantime" in operator.get(f"{BASE}/close/").content.decode()
    Activity.objects.update(status=Status.EXPIRED)
    assert "has no forming team" in operator.get(f"{BASE}/close-now/").content.decode()
    assert (status(), LogEntry.objects.count()) == (Status.EXPIRED, 0)


def test_publishing_refuses_what_the_form_refuses(operator: Client) -> None:
    first = make_activity(status=Status.CREATED)
    make_activity(100124, goods_id="9890002")
    Activity.objects.get(pk=100124).offers.update(sku=first.offers.get().sku)

    page = operator.get(f"{BASE}/publish/").content.decode()

    assert "is already offered on this channel by 100124 activity at that time." in page
    assert 'name="seen"' not in page


def test_an_activity_is_published_before_its_end(operator: Client) -> None:
    make_activity(status=Status.CREATED)
    opens = "Shoppers can open and join teams from 2036-05-01 11:30 until 2036-05-01 12:30."
    assert said(operator, "publish") == [opens]

    Activity.objects.update(end_at=timezone.now())
    page = operator.get(f"{BASE}/publish/").content.decode()

    assert "Its end has passed: move the end, then publish it." in page
    assert 'name="seen"' not in page


def test_each_button_says_what_it_has_done(operator: Client) -> None:
    make_activity(status=Status.CREATED, valid_minutes=1)
    for name, text in (
        ("publish", "Published: shoppers see it within a second, from its start until its end."),
        ("pause", "Paused: from the next second on nobody can open or join a team."),
        ("resume", "Resumed: shoppers can open and join teams again within a second."),
        ("close", "Closed: from the next second on nobody can open or join a team."),
    ):
        press(operator, name)
        assert text in operator.get(f"{BASE}/change/").content.decode()


@pytest.mark.parametrize(
    ("name", "status_before"), [("publish", Status.CREATED), ("resume", Status.PAUSED)]
)
def test_rules_that_changed_since_the_page_was_shown_do_not_go_on_sale(
    name: str, status_before: Status, operator: Client
) -> None:
    make_activity(status=status_before)
    page = operator.get(f"{BASE}/{name}/").content.decode()
    [seen] = re.findall(r'name="seen" value="(.*?)"', page)
    Activity.objects.update(target_count=5)

    answer = operator.post(f"{BASE}/{name}/", {"seen": seen}, follow=True).content.decode()

    assert "It has changed in the meantime" in answer
    assert status() == status_before
    press(operator, name, reason="")
    assert status() == Status.IN_EFFECT


def test_an_edit_does_not_hold_up_a_pause(operator: Client) -> None:
    make_activity()
    page = operator.get(f"{BASE}/pause/").content.decode()
    [seen] = re.findall(r'name="seen" value="(.*?)"', page)
    Activity.objects.update(target_count=5)

    operator.post(f"{BASE}/pause/", {"seen": seen, "reason": "sold out"})

    assert status() == Status.PAUSED


def test_publishing_late_warns_of_the_time_that_is_left(operator: Client) -> None:
    """Its start was yesterday, so a team opened now has an hour, and needs a day."""
    make_activity(
        status=Status.CREATED,
        start_at=NOW - timedelta(days=1),
        end_at=NOW + timedelta(hours=1),
        valid_minutes=24 * 60,
    )
    texts = warnings(Activity.objects.get(), timezone.now())
    page = unescape(operator.get(f"{BASE}/publish/").content.decode())

    assert texts
    assert all(text in page for text in texts)
