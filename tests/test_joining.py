"""Why a shopper cannot join: asked from an order or a team, answered with the team's own rules."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils.html import strip_tags

from activity.models import Discount
from groupbuy.errors import ErrorCode, GroupBuyError
from tests.factories import GOODS, NOW, lock, make_activity, make_team, refund, set_switch, settle
from trade.expire import end_overdue_teams
from trade.models import Order, Team

pytestmark = pytest.mark.django_db
TITLES = {
    "E0006": "The team has a free seat",
    "E0103": "The shopper is below the limit per person",
    "E0009": "The shopper is not in the team yet",
    "E0010": "The team is for these goods on this channel",
    "E0107": "The shopper may hold another seat without paying",
}


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=5), tick=False):
        yield


@pytest.fixture
def operator() -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    return client


def link(client: Client, row: Order | Team) -> str:
    """The link on the page of an order or a team."""
    page = client.get(f"/admin/trade/{row._meta.model_name}/{row.pk}/change/").content.decode()
    [url] = re.findall(r'href="(/admin/activity/activity/explain/\?[^"]*)"', page)
    return unescape(url)


def verdict(client: Client, url: str) -> tuple[str, list[str]]:
    """The answer, and the rules that refuse."""
    page = client.get(url).content.decode()
    [answer] = re.findall(r'<p role="status">(.*?)</p>', page, re.S)
    broken = re.findall(r'<li class="broken">(.*?)<br>', page, re.S)
    return strip_tags(answer).strip(), [unescape(each).strip() for each in broken]


def asked(user: str, team: Team, at: datetime) -> str:
    base = "/admin/activity/activity/explain/"
    moment = (at + timedelta(hours=8)).isoformat()[:16]
    sku = team.activity.offers.get().sku_id
    return (
        f"{base}?channel={team.channel_id}&sku={sku}&activity={team.activity_id}"
        f"&user_id={user}&team={team.pk}&at={moment}"
    )


def test_the_link_from_an_order_names_its_shopper_and_team(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    order = team.orders.get()
    url = link(operator, order)

    assert f"user_id=a&order={order.pk}" in url
    assert "at=2036-05-01T12%3A05" in url
    answer, broken = verdict(operator, url)
    assert answer.endswith("E0103")  # a limit of one, and the seat itself counts
    assert broken == [TITLES["E0103"], TITLES["E0009"]]
    page = operator.get(url).content.decode()
    assert f'href="/admin/trade/order/{order.pk}/change/"' in page
    assert f'href="/admin/trade/team/{team.pk}/change/"' in page


def test_links_back_are_for_those_who_may_see_orders_and_teams(operator: Client) -> None:
    make_activity()
    order = make_team("a").orders.get()
    url = link(operator, order)
    member = User.objects.create_user("member", is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_activity"))
    client = Client()
    client.force_login(member)

    page = client.get(url).content.decode()
    assert f"/admin/trade/order/{order.pk}/" not in page
    assert f"/admin/trade/team/{order.team_id}/" not in page
    assert order.out_trade_no not in page


def test_the_link_from_a_team_leaves_the_shopper_to_be_entered(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    url = link(operator, team)
    page = operator.get(url).content.decode()

    assert "This field is required" not in page
    assert f'value="{team.pk}"' in page
    assert verdict(operator, f"{url}&user_id=b") == ("May join, for 80.00.", [])


def test_each_rule_of_the_team_refuses_with_the_code_of_the_lock(operator: Client) -> None:
    make_activity(take_limit=2, target_count=2)
    team = make_team("a", "b")
    now = NOW + timedelta(minutes=5)

    assert verdict(operator, asked("c", team, now))[0].endswith("E0006")
    assert verdict(operator, asked("c", team, now))[1] == [TITLES["E0006"]]
    refund("b", now=NOW + timedelta(minutes=3))
    assert verdict(operator, asked("c", team, now))[1] == []
    assert verdict(operator, asked("c", team, NOW + timedelta(minutes=2)))[1] == [TITLES["E0006"]]
    assert verdict(operator, asked("a", team, now))[1] == [TITLES["E0009"]]
    for number in (1, 2):
        lock("c", out_trade_no=f"t-c{number}")
    assert verdict(operator, asked("c", team, now))[0].endswith("E0103")


def test_a_full_team_of_other_goods_is_not_joinable_rather_than_full(operator: Client) -> None:
    activity = make_activity(target_count=1)
    team = make_team("a")
    other = make_activity(pk=100124, goods_id="9890002").offers.get()
    url = asked("c", team, NOW + timedelta(minutes=5))
    url = url.replace(f"sku={activity.offers.get().sku_id}", f"sku={other.sku_id}")
    url = url.replace("activity=100123", "activity=100124")

    with pytest.raises(GroupBuyError) as refusal:
        lock("c", team_id=str(team.pk), goods_id="9890002", activity_id=100124)
    assert refusal.value.error is ErrorCode.TEAM_NOT_JOINABLE
    assert verdict(operator, url)[1] == [TITLES["E0010"]]


def test_the_limit_of_unpaid_seats_refuses_last(operator: Client) -> None:
    make_activity(take_limit=9)
    set_switch("holdLimit", "2")
    team = make_team("a")
    now = NOW + timedelta(minutes=5)
    for number in (1, 2):
        lock("c", out_trade_no=f"t-c{number}")

    answer, broken = verdict(operator, asked("c", team, now))
    assert (answer.split()[-1], broken) == ("E0107", [TITLES["E0107"]])
    settle("c", out_trade_no="t-c1", now=NOW + timedelta(minutes=1))
    assert verdict(operator, asked("c", team, now))[1] == []
    assert verdict(operator, asked("c", team, NOW))[1] == [TITLES["E0107"]]


def test_opening_a_team_is_checked_for_the_limits_too(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    url = asked("a", team, NOW + timedelta(minutes=5)).replace(f"team={team.pk}", "team=")

    assert verdict(operator, url)[1] == [TITLES["E0103"]]
    assert verdict(operator, url.replace("user_id=a", "user_id=b"))[1] == []


def test_a_member_pays_the_price_at_which_the_team_was_opened(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    Discount.objects.update(expression="30")
    now = NOW + timedelta(minutes=5)

    assert verdict(operator, asked("c", team, now)) == ("May join, for 80.00.", [])
    opening = asked("c", team, now).replace(f"team={team.pk}", "team=")
    assert verdict(operator, opening) == ("May join, for 70.00.", [])
    assert lock("c", team_id=str(team.pk)).pay_price == Decimal("80.00")


def test_a_team_that_is_over_takes_nobody_and_one_may_outlive_its_activity(
    operator: Client,
) -> None:
    activity = make_activity(target_count=2, end_at=NOW + timedelta(minutes=1))
    team = make_team("a")
    now = NOW + timedelta(minutes=5)
    assert verdict(operator, asked("c", team, now))[0] == "May join, for 80.00."
    typed = asked("c", team, now).replace(f"activity={activity.pk}", "activity=")
    assert verdict(operator, typed)[0] == "May join, for 80.00."
    assert verdict(operator, asked("c", team, NOW + timedelta(minutes=15)))[0].endswith("E0010")

    lock("b", team_id=str(team.pk))
    for user in "ab":
        settle(user, now=NOW + timedelta(minutes=2))
    assert verdict(operator, asked("c", team, now))[1][-1] == "The team is forming"
    before = asked("c", team, NOW + timedelta(minutes=1))
    assert "The team is forming" not in verdict(operator, before)[1]
    assert activity.offers.get().sku.goods_id == GOODS


def test_a_failed_team_was_forming_until_its_end(operator: Client) -> None:
    make_activity()
    left, ended = make_team("a"), make_team("b", "c", paid=1)
    refund("a", now=NOW + timedelta(minutes=1))
    assert end_overdue_teams(clock=lambda: NOW + timedelta(hours=1)) == 2
    assert {team.status for team in Team.objects.all()} == {Team.Status.FAILED}

    for team in left, ended:
        inside, after = (NOW + timedelta(minutes=minutes) for minutes in (14, 16))
        assert "The team is forming" not in verdict(operator, asked("d", team, inside))[1]
        assert "The team is forming" in verdict(operator, asked("d", team, after))[1]


def test_an_unknown_team_is_named(operator: Client) -> None:
    make_activity()
    team = make_team("a")
    answer, broken = verdict(
        operator, asked("b", team, NOW).replace(f"team={team.pk}", "team=none")
    )
    assert (answer.split()[-1], broken) == ("E0010", ["There is such a team"])


def test_a_team_that_was_opened_in_this_minute_is_forming(operator: Client) -> None:
    make_activity()
    opened = NOW + timedelta(minutes=5, seconds=10)
    with time_machine.travel(NOW + timedelta(minutes=5, seconds=30), tick=False):
        team = lock("a", now=opened).team

        assert verdict(operator, f"{link(operator, team)}&user_id=b")[1] == []
