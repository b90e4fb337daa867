"""Redirects to the mall: the checkout URL and its parameters, or a page with the reason."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.core import signing

from activity.models import Sku
from groupbuy.models import Channel
from tests import factories
from tests.factories import GOODS, NOW
from tests.pages.conftest import browser
from tests.pages.scenes import ME, MINUTE, NAMES, OFFER, SCENES, code_of, offer_at, team_at
from trade.models import Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]


def sent_to(response: Any) -> dict[str, str]:
    """The query of the mall's checkout URL to which this path redirects."""
    assert response.status_code == 303
    parts = urlsplit(response["Location"])
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "mall.example.com", "/buy")
    return dict(parse_qsl(parts.query))


def test_the_parameters_of_the_checkout_url() -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, NAMES[1])
    code, goods = code_of(team, NAMES[1]), {"goodsId": GOODS}
    activity = goods | {"activityId": "100123"}
    held = activity | {"teamId": str(team.pk), "outTradeNo": f"t-{NAMES[1]}"}
    guest, member = browser(), browser(NAMES[1])

    assert sent_to(guest.get(f"{OFFER}/buy/alone")) == {"action": "alone"} | goods
    assert sent_to(guest.get(f"{OFFER}/buy/open")) == {"action": "open"} | activity
    joined = sent_to(guest.get(f"/t/{code}/join"))
    assert joined == {"action": "join", "teamId": str(team.pk)} | activity
    for action in ("pay", "return", "view"):
        assert sent_to(member.get(f"/t/{code}/order/{action}")) == {"action": action} | held


def test_the_checkout_urls_own_query_is_kept() -> None:
    offer_at(NOW)
    Channel.objects.update(checkout_url="https://mall.example.com/buy?shop=1&note=")

    told = urlsplit(browser().get(f"{OFFER}/buy/alone")["Location"]).query

    assert told == f"shop=1&note=&action=alone&goodsId={GOODS}"


def test_looking_locks_nothing() -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, NAMES[1])
    before = Team.objects.values_list("locked_count", flat=True).get()

    browser(ME).get(f"/t/{code_of(team, NAMES[1])}/join")
    browser(ME).get(f"{OFFER}/buy/open")

    assert Team.objects.values_list("locked_count", flat=True).get() == before
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("team_full_but_unpaid", "Just taken"),
        ("team_complete", "This team is complete"),
        ("team_being_counted", "Time was up"),
        ("team_failed", "Time was up"),
        ("team_beyond_my_limit", "You have taken part as often as this offer allows."),
        ("team_not_invited", "The shop offers this to customers it has invited."),
        ("team_sold_out", "It has just been sold out."),
        ("team_withdrawn", "The shop has withdrawn it; nobody can join any more."),
        ("my_seat_unpaid", "You are in this team already"),
        ("my_team_forming", "You are in this team already"),
        ("my_seat_lapsed_for_good", "Just taken"),
        ("my_order_given_back", "This team is complete"),
        ("my_team_failed_unpaid", "Time was up"),
    ],
)
def test_a_team_that_cannot_be_joined_says_why(name: str, words: str) -> None:
    at = SCENES[name](NOW)

    response = browser(at.user_id).get(f"{at.path}/join")

    page = response.content.decode()
    assert (response.status_code, words in page) == (409, True)
    assert f'href="{at.path}"' in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("offer_ended", "The offer has ended"),
        ("offer_not_started", "Starts at 13:30"),
        ("offer_mine_unpaid", "you have a seat in a team already"),
        ("offer_limit_reached", "as often as this offer allows"),
        ("offer_not_invited", "customers it has invited"),
        ("offer_sold_out", "sold out"),
    ],
)
def test_an_offer_that_cannot_be_opened_says_why(name: str, words: str) -> None:
    at = SCENES[name](NOW)

    response = browser(at.user_id).get(f"{OFFER}/buy/open")

    assert (response.status_code, words in response.content.decode()) == (409, True)


def _sell_out() -> None:
    Sku.objects.update(sold_out=True)


def _switch_off() -> None:
    factories.set_switch("downgradeSwitch", "1")


@pytest.mark.parametrize(
    ("closes", "words"),
    [(_sell_out, "sold out"), (_switch_off, "you have a seat in a team already")],
)
def test_a_member_opens_no_other_team_of_an_offer_that_is_closed(
    closes: Callable[[], None], words: str
) -> None:
    offer_at(NOW, take_limit=2)
    team_at(NOW - 2 * MINUTE, ME, NAMES[1], paid=1)
    client = browser(ME)
    assert "Open another team" in client.get(OFFER).content.decode()
    assert client.get(f"{OFFER}/buy/open").status_code == 303

    closes()

    page = client.get(OFFER).content.decode()
    assert "Open another team" not in page
    response = client.get(f"{OFFER}/buy/open")
    assert (response.status_code, words in response.content.decode()) == (409, True)


def test_joining_a_team_that_filled_a_moment_ago_is_refused() -> None:
    offer_at(NOW, target_count=2)
    team = team_at(NOW - MINUTE, NAMES[1])
    path, client = f"/t/{code_of(team, NAMES[1])}", browser(ME)
    assert f"{path}/join" in client.get(path).content.decode()

    factories.lock(NAMES[2], now=NOW, team_id=str(team.pk))

    assert client.get(f"{path}/join").status_code == 409


def test_a_seat_is_not_offered_again_beyond_the_limit() -> None:
    """Fails if only the order in this team counts towards the limit."""
    at = SCENES["my_seat_given_back"](NOW)
    client = browser(ME)
    assert f"{at.path}/join" in client.get(at.path).content.decode()

    factories.lock(ME, now=NOW, out_trade_no="t-elsewhere")

    page = client.get(at.path).content.decode()
    assert "Your seat was given up" in page
    assert f"{at.path}/join" not in page
    refused = client.get(f"{at.path}/join")
    assert refused.status_code == 409
    assert "You have taken part as often as this offer allows." in refused.content.decode()


def test_a_channel_without_a_checkout_says_how_to_buy() -> None:
    at = SCENES["offer_without_checkout"](NOW)
    client = browser()

    page = client.get(at.path).content.decode()
    how = client.get(f"{OFFER}/buy/open")

    assert "takes orders in its own shop" in page
    assert how.status_code == 200
    assert "Choose to open a team." in how.content.decode()


def test_the_order_of_another_shopper_leads_to_its_team() -> None:
    at = SCENES["my_seat_unpaid"](NOW)

    other = browser(NAMES[1]).get(f"{at.path}/order/pay")
    guest = browser().get(f"{at.path}/order/pay")

    assert (other.status_code, other["Location"]) == (302, at.path)
    assert guest.status_code == 403
    other_page = browser(NAMES[1]).get(f"{at.path}/order")
    assert (other_page.status_code, other_page["Location"]) == (302, at.path)


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("my_seat_unpaid", ["pay", "return", "view"]),
        ("my_team_forming", ["return", "view"]),
        ("my_order_given_back", ["view"]),
        ("my_seat_lapsed_for_good", ["view"]),
    ],
)
def test_what_is_no_longer_possible_leads_to_the_order(name: str, possible: list[str]) -> None:
    at = SCENES[name](NOW)
    client = browser(ME)

    answers = {deed: client.get(f"{at.path}/order/{deed}") for deed in ("pay", "return", "view")}

    assert [deed for deed, answer in answers.items() if answer.status_code == 303] == possible
    assert {each["Location"] for each in answers.values() if each.status_code == 302} <= {
        f"{at.path}/order"
    }


@pytest.mark.parametrize("path", ["/t/nothere222", "/o/s01/c01/none", "/o/s00/c00", "/nothing"])
def test_a_404_page_links_to_another_page(path: str) -> None:
    offer_at(NOW)

    response = browser(ME).get(path)

    assert response.status_code == 404
    assert 'class="main"' in response.content.decode()


@pytest.mark.parametrize("path", ["/buy/eat", "/buy/join"])
def test_there_is_no_other_way_to_buy(path: str) -> None:
    offer_at(NOW)

    assert browser().get(f"{OFFER}{path}").status_code == 404


def test_a_mall_finds_an_order_by_its_number() -> None:
    at = SCENES["my_seat_unpaid"](NOW)
    client = browser(ME)

    found = client.get("/my/s01/c01/order", {"no": f"t-{ME}", "paid": "1"})

    assert (found.status_code, found["Location"]) == (302, f"{at.path}/order?paid=1")
    assert client.get("/my/s01/c01/order", {"no": f"t-{NAMES[1]}"}).status_code == 404


# --- Inside WeChat ----------------------------------------------------------------------------

WECHAT = {"User-Agent": "Mozilla/5.0 (iPhone) AppleWebKit/605 MicroMessenger/8.0.50 NetType/WIFI"}


def way_out(path: str, user_id: str = "") -> str:
    """The page to which a shopper inside WeChat is sent."""
    return str(browser(user_id).get(path, headers=WECHAT)["Location"])


@pytest.fixture
def code() -> str:
    """The code of an unpaid member, at a mall whose payment does not open inside WeChat."""
    offer_at(NOW)
    Channel.objects.update(pays_outside_wechat=True)
    return code_of(team_at(NOW - MINUTE, ME), ME)


@pytest.mark.parametrize("action", ["alone", "open", "join", "pay"])
def test_a_payment_that_wechat_does_not_open_is_moved_to_the_browser(
    code: str, action: str
) -> None:
    path = {"join": f"/t/{code}/join", "pay": f"/t/{code}/order/pay"}.get(
        action, f"{OFFER}/buy/{action}"
    )
    user_id = ME if action == "pay" else NAMES[1]
    directly = browser(user_id).get(path)["Location"]

    out = way_out(path, user_id)

    page = browser(user_id).get(out, headers=WECHAT).content.decode()
    assert "Choose “Open in browser”." in page
    assert f'value="http://testserver{out}"' in page
    assert page.count('class="main"') == 1
    # The browser does not know the shopper: the link carries everything.
    assert browser().get(out)["Location"] == directly


def test_other_deeds_and_channels_redirect_directly_inside_wechat(code: str) -> None:
    mall = "https://mall.example.com/buy?"

    assert way_out(f"/t/{code}/order/view", ME).startswith(mall)
    assert way_out(f"/t/{code}/order/return", ME).startswith(mall)
    Channel.objects.update(pays_outside_wechat=False)
    assert way_out(f"/t/{code}/order/pay", ME).startswith(mall)


def test_a_link_out_of_wechat_is_valid_for_an_hour_and_one_address(
    code: str, time_goes: Callable[[timedelta], None]
) -> None:
    out = way_out(f"/t/{code}/order/pay", ME)
    signed = out.removeprefix("/out/")
    evil = signing.dumps([1, "https://evil.example/", "/"], salt="another")

    assert browser().get(out).status_code == 303
    for wrong in (f"{signed[:-1]}_", f"x{signed}", evil, "x"):
        refused = browser().get(f"/out/{wrong}")
        assert (refused.status_code, "Location" in refused) == (403, False)
    time_goes(timedelta(minutes=61))
    assert browser().get(out).status_code == 403
