"""The console's search box, and the timelines of an order and of a team."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import translation
from django.utils.html import strip_tags

from groupbuy.errors import GroupBuyError
from tests.factories import GOODS, NOW, confirm, lock, make_activity, make_team, refund, settle
from trade import timeline
from trade.expire import close_overdue_holds, end_overdue_teams
from trade.find import find
from trade.models import NotifyAttempt, NotifyTask, Order, Team

pytestmark = pytest.mark.django_db
FIND = "/admin/trade/order/find/"


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def found(term: str, user: User) -> list[tuple[str, str]]:
    return [(row.kind, row.name) for row in find(term, user)]


def test_each_number_finds_its_row(root: User) -> None:
    make_activity(name="spring sale")
    order = lock("a", out_trade_no="Mall-G-1")
    settle("a", out_trade_no="Mall-G-1")
    refund("a", out_trade_no="Mall-G-1")
    promise = NotifyTask.objects.get()

    assert found("Mall-G-1", root) == [("order", "Mall-G-1")]
    assert found(f" {order.code} ", root) == [("order", "Mall-G-1")]
    assert found(str(order.pk), root) == [("order", "Mall-G-1"), ("notification", promise.key)]
    assert found(str(order.team_id), root) == [("team", str(order.team_id))]
    assert found(promise.key, root) == [("notification", promise.key)]
    assert found("a", root)[0] == ("shopper", "a")
    assert found(GOODS, root) == [("goods", "9890001 a book")]
    assert found("spring", root) == [("activity", "100123 spring sale")]
    assert found("mall-g", root) == []
    assert found(" ", root) == []


def test_a_search_shows_only_what_the_user_may_see() -> None:
    make_activity()
    order = lock("a")
    nobody = User.objects.create_user("nobody", is_staff=True)
    support = User.objects.create_user("support", is_staff=True)
    support.groups.add(Group.objects.get(name="support"))

    assert found(order.out_trade_no, nobody) == []
    assert found(order.out_trade_no, support) == [("order", order.out_trade_no)]


def test_an_order_is_named_with_its_day_in_the_consoles_time(root: User) -> None:
    make_activity(end_at=NOW + timedelta(days=1))
    order = lock("a", now=NOW + timedelta(hours=14))  # 02:00 of the next day there

    assert find(order.out_trade_no, root)[0].about == "locked · a · 2036-05-02"


def test_the_box_is_on_every_page_and_opens_the_only_row(operator: Client) -> None:
    make_activity()
    order = lock("shopper-1", out_trade_no="<b>1</b>")

    assert f'action="{FIND}"' in operator.get("/admin/").content.decode()
    answer = operator.get(FIND, {"q": "<b>1</b>"})
    assert answer["Location"] == f"/admin/trade/order/{order.pk}/change/"
    page = operator.get(FIND, {"q": "no such <i>number</i>"}).content.decode()
    assert "Nothing found for “no such &lt;i&gt;number&lt;/i&gt;”" in page
    assert Client().get(FIND).status_code == 302


def test_an_order_shows_its_events_in_order(operator: Client) -> None:
    make_activity()
    team = make_team("a", "b", "c")
    for user in "abc":
        settle(user, now=NOW + timedelta(minutes=2))
    order = Order.objects.get(user_id="a")
    promise = NotifyTask.objects.get()
    at = NOW + timedelta(minutes=5)
    NotifyAttempt.objects.create(
        task=promise, number=1, started_at=at, duration_ms=20, status_code=500, error="answered 500"
    )
    NotifyTask.objects.update(state=NotifyTask.State.GIVEN_UP)
    body = {"action": "send_again", "_selected_action": [promise.pk], "reason": "lost"}
    operator.post("/admin/trade/notifytask/", body)

    events = timeline.of_order(Order.objects.get(pk=order.pk))

    assert [(event.what, event.detail) for event in events] == [
        ("sent again: “lost”", "team complete · operator"),  # now, which is before NOW
        ("seat locked", ""),
        ("paid", ""),
        ("the mall reported the payment", ""),
        ("team complete", str(team.pk)),
        ("notification promised: team complete", ""),
        ("attempt 1 to notify: team complete", "answered 500, 20 ms"),
    ]
    keys = [event.key for event in events]
    assert keys == [promise.key, "", "", "", "", promise.key, promise.key]
    page = operator.get(f"/admin/trade/order/{order.pk}/change/").content.decode()
    assert f"answered 500, 20 ms</small> <code>{promise.key}</code>" in page
    assert "The team is complete. Notification to the mall: new." in strip_tags(page)
    assert f'href="/admin/trade/order/?q={order.user_id}"' in page


def test_a_team_shows_the_events_of_each_member() -> None:
    make_activity()
    team = make_team("a", "b")
    settle("a", now=NOW + timedelta(minutes=2))
    refund("b", now=NOW + timedelta(minutes=3))

    events = timeline.of_team(Team.objects.get(pk=team.pk))

    assert [(event.what, event.detail) for event in events if "notif" not in event.what] == [
        ("team opened", ""),
        ("seat locked", "t-a · a"),
        ("seat locked", "t-b · b"),
        ("paid", "t-a · a"),
        ("the mall reported the payment", "t-a · a"),
        ("closed: given back", "t-b · b"),
    ]


def test_the_next_step_can_be_read_to_the_shopper() -> None:
    make_activity(hold_minutes=10)
    team = make_team("a", "b", paid=1)
    now, ends = NOW, team.expires_at

    def next_of(user: str) -> str:
        return timeline.next_of_order(Order.objects.get(user_id=user), now)

    assert next_of("b") == "To be paid until 2036-05-01 12:10:00; after that the seat is released."
    assert next_of("a") == (
        "2 payments are missing; without them the team fails at 2036-05-01 12:15:00."
    )
    now = ends
    assert next_of("b") == "The time to pay is over; the seat is about to be released."
    assert next_of("a") == (
        "Time is up; payments made in time are awaited until 2036-05-01 12:17:00."
    )
    now = ends + timedelta(hours=1)
    end_overdue_teams(clock=lambda: now)
    assert next_of("a") == "The money goes back. Notification to the mall: new."
    assert next_of("b") == "Closed, and nothing was paid: nothing is to come."
    now += timedelta(hours=1)
    confirm("a", now=now)
    assert next_of("a") == "The mall has confirmed that it refunded 80.00 at 2036-05-01 14:15:00."
    last = timeline.of_order(Order.objects.get(user_id="a"))[-1]
    assert (last.at, last.what) == (now, "the mall confirmed a refund of 80.00")


def test_a_team_that_the_platform_completes_says_so() -> None:
    make_activity(group_type=0)
    team = make_team("a", paid=1)

    assert timeline.next_of_team(team, NOW) == (
        "2 payments are missing; at 2036-05-01 12:15:00 the platform completes it anyway."
    )
    end_overdue_teams(clock=lambda: NOW + timedelta(hours=1))
    team.refresh_from_db()
    assert timeline.next_of_team(team, NOW) == ""
    what = [re.sub(r"\d", "", event.what) for event in timeline.of_team(team)]
    assert "team complete, by the platform at its end" in what


def test_each_line_has_the_seats_of_the_team_after_it() -> None:
    make_activity(hold_minutes=5)
    team = make_team("a", "b", "c")
    minute = [NOW + timedelta(minutes=n) for n in range(14)]
    settle("a", now=minute[1])
    close_overdue_holds(clock=lambda: minute[6])
    settle("b", now=minute[7])  # seated again
    lock("d", team_id=str(team.pk), now=minute[8])
    with pytest.raises(GroupBuyError):
        settle("c", now=minute[9])  # too late: the team is full; its closed_at moves
    refund("a", now=minute[10])
    close_overdue_holds(clock=lambda: minute[13])

    assert {event.at: event.seats for event in timeline.of_team(Team.objects.get())} == {
        minute[0]: "3 of 3 seats taken, 0 paid",
        minute[1]: "3 of 3 seats taken, 1 paid",
        minute[6]: "1 of 3 seats taken, 1 paid",
        minute[7]: "2 of 3 seats taken, 2 paid",
        minute[8]: "3 of 3 seats taken, 2 paid",
        minute[9]: "3 of 3 seats taken, 2 paid",
        minute[10]: "2 of 3 seats taken, 1 paid",
        minute[13]: "1 of 3 seats taken, 1 paid",
    }
    first, *_, last = timeline.of_order(Order.objects.get(user_id="a"))
    assert first.seats == "3 of 3 seats taken, 0 paid"
    assert last.seats == "2 of 3 seats taken, 1 paid"


def test_the_timeline_of_a_much_abandoned_team_shows_its_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutation: the first orders by age, all of them closed."""
    monkeypatch.setattr(timeline, "MOST", 3)
    make_activity()
    team = lock("gone-0").team
    refund("gone-0")
    for n in range(1, 4):
        lock(f"gone-{n}", team_id=str(team.pk))
        refund(f"gone-{n}")
    lock("member", team_id=str(team.pk))

    locked = [each for each in timeline.of_team(team) if each.what == "seat locked"]
    assert [each.detail.rpartition(" ")[2] for each in locked] == ["gone-2", "gone-3", "member"]
