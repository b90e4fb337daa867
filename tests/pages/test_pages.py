"""The pages apart from their states: lists, cards, error pages, and escaping of stored text."""

import html
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import F
from django.test import Client

from activity.discounts import Plan
from activity.models import Activity, Offer, Sku
from groupbuy.errors import GroupBuyError
from groupbuy.models import Channel
from pages import start, teams, views
from tests import factories
from tests.factories import GOODS, NOW, confirm
from tests.pages.conftest import browser
from tests.pages.scenes import (
    ME,
    MINUTE,
    NAMES,
    OFFER,
    OTHERS,
    SCENES,
    Scene,
    code_of,
    end,
    many_orders,
    offer_at,
    team_at,
    wall,
)
from trade import market, watch
from trade.expire import GRACE, end_overdue_teams
from trade.market import mask
from trade.models import NotifyTask, Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
Look = Callable[..., str]
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def og(page: str, name: str) -> str:
    [content] = re.findall(rf'property="og:{name}" content="([^"]*)"', page)
    return str(content)


# --- My orders --------------------------------------------------------------------------------


def test_orders_come_newest_first_and_page_by_page(look: Look) -> None:
    at = many_orders(NOW, count=12)

    first = look(at)

    [after] = re.findall(r"after=(\w+)", first)
    second = look(at, tab="all", after=after)
    codes = re.findall(r'class="what" href="/t/(\w+)/order"', first + second)
    assert (len(codes), len(set(codes))) == (12, 12)
    assert first.count('class="what"') == 10
    assert "That is all." in second
    times = [Order.objects.get(code=code).created_at for code in codes]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("tab", "count", "words"),
    [
        ("all", 6, "To be paid"),
        ("pay", 2, "To be paid"),
        ("running", 2, "Waiting for the team"),
        ("done", 0, "Nothing here"),
        ("back", 0, "Nothing here"),
        ("nonsense", 6, "To be paid"),
    ],
)
def test_each_tab_has_its_orders(look: Look, tab: str, count: int, words: str) -> None:
    page = look(many_orders(NOW, count=6), tab=tab)

    assert page.count('class="what"') == count
    assert words in page
    assert page.count('aria-current="page"') == 1


@pytest.mark.parametrize(
    ("name", "tab", "words"),
    [
        ("my_team_complete", "done", "Team complete"),
        ("my_order_given_back", "back", "Cancelled, refund under way"),
    ],
)
def test_orders_that_are_done_or_given_back_have_their_tabs(
    look: Look, name: str, tab: str, words: str
) -> None:
    SCENES[name](NOW)

    page = look(Scene("/my/s01/c01", ME, ""), tab=tab)

    assert re.findall(r'class="how">([^<]+)<', page) == [words]


def test_orders_of_others_and_of_other_channels_are_not_listed(look: Look) -> None:
    at = many_orders(NOW, count=3)

    assert look(Scene(at.path, NAMES[1], "")).count('class="what"') == 0


def test_an_order_shows_its_payment_and_its_events(look: Look) -> None:
    page = look(SCENES["order_my_order_given_back"](NOW))

    sums = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page)
    assert sums == [
        ("Price alone", "¥100"),
        ("Saved in the team", "−¥20"),
        ("Paid", "¥80"),
        ("Goes back to you", "¥80"),
    ]
    happened = re.findall(r"<li><time>[^<]+</time> ([^<]+)</li>", page)
    assert happened == [
        "Seat held",
        "Your payment arrived",
        "Cancelled: your refund was ordered",
    ]
    assert f'value="t-{ME}"' in page


@pytest.mark.parametrize("taken", [False, True])
def test_an_order_that_was_paid_after_its_hold_says_what_the_shop_was_told(
    taken: bool, look: Look
) -> None:
    """The seat was free again when the payment arrived; if taken, somebody else has it."""
    offer_at(NOW, hold_minutes=3, target_count=2)
    team = team_at(NOW - 9 * MINUTE, NAMES[1], ME)
    end(team, NOW - 6 * MINUTE)
    NotifyTask.objects.update(delivered_at=NOW - 5 * MINUTE)
    if taken:
        for user_id in (NAMES[2], NAMES[3]):
            factories.lock(user_id, now=NOW - 5 * MINUTE, team_id=str(team.pk))
    paid_at = NOW - 7 * MINUTE
    with suppress(GroupBuyError):
        factories.settle(ME, now=NOW - 4 * MINUTE, paid_at=paid_at)

    page = look(Scene(f"/t/{code_of(team, ME)}/order", ME, ""))

    happened = re.findall(r"<li><time>[^<]+</time> ([^<]+)</li>", page)
    late = "Your payment came too late: your refund was ordered"
    assert happened == [
        "Seat held",
        "The shop was told that the seat is free",
        "Your payment arrived",
        *([late] if taken else []),
    ]


@pytest.mark.parametrize(
    ("hold_minutes", "words"),
    [
        (30, "; a payment made by then counts even if it is confirmed later."),
        (3, "A payment made by then that is confirmed later counts while a seat is free;"),
    ],
)
def test_a_payment_that_is_being_confirmed_is_promised_no_more_than_it_gets(
    hold_minutes: int, words: str, look: Look
) -> None:
    offer_at(NOW, hold_minutes=hold_minutes)
    team = team_at(NOW - 2 * MINUTE, ME)

    assert words in look(Scene(f"/t/{code_of(team, ME)}/order?paid=1", ME, ""))


@pytest.mark.parametrize("name", ["my_payment_blocked", "order_my_payment_blocked"])
def test_a_payment_that_was_not_taken_leads_to_no_other_team(name: str, look: Look) -> None:
    page = look(SCENES[name](NOW))

    assert re.findall(r'class="main" data-key="main" href="([^"]+)"', page) == [
        f"/o/s01/c01/{GOODS}/buy/alone"
    ]
    assert "buy/open" not in page


@pytest.mark.parametrize("name", [name for name in SCENES if name.endswith("_is_back")])
def test_a_confirmed_refund_is_shown_with_amount_and_time(name: str, look: Look) -> None:
    at = SCENES[name](NOW)
    Order.objects.exclude(refund_at=None).update(refund_amount="79.90")

    page = look(at)
    listed = look(Scene("/my/s01/c01", ME, ""), tab="back")

    assert re.findall(r'class="how">([^<]+)<', listed) == ["Refunded: ¥79.90"]
    assert "小书店 refunded ¥79.90 at 12:00, the way you paid;" in page
    assert "Its return was ordered" not in page


def test_a_confirmed_refund_is_in_the_sums_and_events_of_its_order(look: Look) -> None:
    page = look(SCENES["order_my_money_is_back"](NOW))

    sums = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page)
    assert sums[2:] == [("Paid", "¥80"), ("Refunded", "¥80")]
    happened = re.findall(r"<li><time>([^<]+)</time> ([^<]+)</li>", page)
    assert happened[-1] == ("12:00", "The shop confirmed your refund")


def test_a_team_page_that_is_watched_changes_when_the_money_is_back(look: Look) -> None:
    at = SCENES["my_order_given_back"](NOW)
    client = browser(at.user_id)
    etag = client.get(at.path)["ETag"]

    confirm(at.user_id)

    assert client.get(at.path)["ETag"] != etag


# --- Walls and offers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("order_my_seat_unpaid", "your seat is free for others, and you owe nothing"),
        ("order_my_team_forming", "your seat is free for others and your ¥80 goes back in full;"),
        ("order_my_team_complete", "your ¥80 goes back in full; the team stays complete for"),
    ],
)
def test_an_order_says_what_giving_it_back_would_mean(name: str, words: str, look: Look) -> None:
    page = look(SCENES[name](NOW))

    assert f"If you cancel, {words}" in page
    assert "/order/return" in page


@pytest.mark.parametrize("ended", [False, True])
def test_members_stay_on_the_page_of_a_team_that_many_have_left(
    ended: bool, monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    monkeypatch.setattr(watch, "MOST_ORDERS", 2)
    factories.make_activity()
    team = factories.make_team(ME, paid=1)
    for name in NAMES[1:4]:
        factories.lock(name, team_id=str(team.pk))
        factories.refund(name)
    if ended:
        end_overdue_teams(clock=lambda: team.expires_at + GRACE)

    assert [each.user_id for each in watch.read(team.pk).orders] == [ME, NAMES[3]]
    assert f"t-{ME}" in look(Scene(f"/t/{code_of(team, ME)}/order", ME, ""))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("team_failed", "Time was up with 2 people missing"),
        ("my_team_failed_unpaid", "Time was up with 2 people missing"),  # the holder, too
        ("team_completed_by_the_shop", "Time was up with 2 of 3 people"),
        ("team_complete_with_refunds", "3 people bought together"),
    ],
)
def test_a_team_that_has_ended_counts_those_who_had_paid(name: str, words: str, look: Look) -> None:
    assert words in look(SCENES[name](NOW))


@pytest.mark.parametrize(
    ("name", "free", "open_to_somebody"),
    [
        ("team_joinable", 1, 1),
        ("my_team_forming", 1, 1),
        ("team_beyond_my_limit", 2, 2),  # open to others
        ("team_not_invited", 2, 2),
        ("team_sold_out", 2, 0),
        ("team_withdrawn", 2, 0),
        ("team_being_counted", 1, 0),
        ("my_team_being_counted", 1, 0),
        ("team_complete", 0, 0),
    ],
)
def test_a_plus_marks_the_seats_that_somebody_can_take(
    name: str, free: int, open_to_somebody: int, look: Look
) -> None:
    page = look(SCENES[name](NOW))

    assert page.count('class="dot free"') == free
    assert page.count('class="dot free" aria-hidden="true">+<') == open_to_somebody


@pytest.mark.parametrize("name", ["wall", "offer_open", "team_joinable"])
def test_a_space_separates_the_single_price_from_the_words_before_it(name: str, look: Look) -> None:
    page = look((SCENES | OTHERS)[name](NOW))

    assert '<s><span class="unseen">instead of </span>¥100</s>' in page


def test_the_wall_shows_what_this_visitor_may_see(look: Look) -> None:
    at = wall(NOW)
    assert look(at).count('href="/o/s01/c01/9890001"') == 1
    assert "1 open" in look(at)
    assert 'class="gone"' not in look(at)

    Sku.objects.update(sold_out=True)
    assert re.search(r'<li class="gone"><a href="/o/s01/c01/9890001">', look(at))

    Activity.objects.update(restrict_visible=True)

    assert "No offers now" in look(at)


def test_the_wall_marks_what_saves_and_what_is_for_invited_customers(look: Look) -> None:
    offer_at(NOW)
    from_1000 = factories.make_discount(Plan.THRESHOLD, "1000,10")
    channel = Channel.objects.get()
    more: dict[str, Any] = {"g2": {"restrict_join": True}, "g3": {"discount": from_1000}}
    for number, (goods_id, fields) in enumerate(more.items()):
        factories.make_activity(
            pk=100124 + number, channel=channel, goods_id=goods_id, start_at=NOW - MINUTE, **fields
        )

    tiles = look(Scene("/o/s01/c01", "", "")).split("<li><a ")[1:]

    assert [re.findall(r"/(\w+)\">", tile)[0] for tile in tiles] == ["g2", GOODS, "g3"]
    assert ["Save ¥20" in tile for tile in tiles] == [True, True, False]
    assert ["invited customers only" in tile for tile in tiles] == [True, False, False]

    Sku.objects.filter(goods_id="g2").update(sold_out=True)
    tiles = look(Scene("/o/s01/c01", "", "")).split('<li class="gone">')
    assert [tile.count("<li>") for tile in tiles] == [2, 0]  # the last one


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (14, "Your seat is held for 14 minutes while you pay, but no longer than the team's time."),
        (15, "Your seat is held while you pay, until the team's time is up."),
    ],
)
def test_the_rules_name_how_long_a_seat_is_held(hold: int, words: str, look: Look) -> None:
    offer_at(NOW, hold_minutes=hold, valid_minutes=15)
    team = team_at(NOW, NAMES[1])

    for path in (OFFER, f"/t/{code_of(team, NAMES[1])}"):
        assert words in html.unescape(look(Scene(path, "", "")))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("offer_not_started", "Teams can be opened until 15:20."),
        ("offer_open", "Teams can be opened until 12:30."),
        ("offer_sold_out", ""),
        ("offer_ended", ""),
        ("offer_abandoned", ""),
        ("team_joinable", ""),
    ],
)
def test_the_rules_say_when_an_offer_ends(name: str, sentence: str, look: Look) -> None:
    answers = re.findall(r"<dt>Until when\?</dt><dd>([^<]+)</dd>", look(SCENES[name](NOW)))

    assert answers == ([sentence] if sentence else [])


@pytest.mark.parametrize(("hours", "counts"), [(49, False), (47, True)])
def test_an_open_offer_counts_down_its_last_two_days(hours: int, counts: bool, look: Look) -> None:
    offer_at(NOW, end_at=NOW + timedelta(hours=hours))

    assert ("<span>Ends in</span>" in look(Scene(OFFER, "", ""))) is counts


def test_a_page_that_is_watched_begins_to_count_down(
    time_goes: Callable[[timedelta], None],
) -> None:
    offer_at(NOW, end_at=NOW + timedelta(hours=48, seconds=1))
    etag = browser().get(OFFER)["ETag"]

    time_goes(timedelta(seconds=2))

    assert browser().get(OFFER)["ETag"] != etag


@pytest.mark.parametrize(("take_limit", "state"), [(2, "OPEN"), (1, "LIMIT")])
def test_an_order_of_other_goods_is_not_shown_as_one_of_this_offer(
    take_limit: int, state: str, look: Look
) -> None:
    offer = offer_at(NOW, take_limit=take_limit).offers.get()
    other = Sku.objects.create(goods_id="9890002", name="Another book", original_price=60)
    Offer.objects.create(activity=offer.activity, channel=offer.channel, sku=other)
    team = team_at(NOW - 2 * MINUTE, ME)

    page = look(Scene("/o/s01/c01/9890002", ME, ""))

    assert f'data-state="{state}"' in page
    assert code_of(team, ME) not in page


@pytest.mark.parametrize("closes", ["pause", "sell out"])
def test_members_of_a_team_that_nobody_can_join_are_not_told_to_invite(
    closes: str, look: Look
) -> None:
    at = SCENES["my_team_forming"](NOW)
    tags = {path: browser(ME).get(path)["ETag"] for path in (at.path, OFFER)}
    for path in (at.path, OFFER):
        assert "data-share" in look(Scene(path, ME, ""))

    if closes == "pause":
        Activity.objects.update(status=Activity.Status.PAUSED)
    else:
        Sku.objects.update(sold_out=True)

    for path in (at.path, OFFER):
        page = look(Scene(path, ME, ""))
        assert browser(ME).get(path)["ETag"] != tags[path]  # so a page that is watched changes
        assert "data-share" not in page
        assert "obody can join any more" in page


def test_a_withdrawn_offer_does_not_say_that_its_teams_can_be_joined(look: Look) -> None:
    page = look(SCENES["offer_abandoned"](NOW))

    assert "can be joined" not in page
    assert "The shop has withdrawn it; nobody can join any more." in page


@pytest.mark.parametrize("name", ["team_complete", "team_failed", "my_team_failed"])
def test_goods_that_are_sold_out_are_not_sold_alone(name: str, look: Look) -> None:
    at = SCENES[name](NOW)
    assert "/buy/alone" in look(at)

    Sku.objects.update(sold_out=True)

    assert "/buy/alone" not in look(at)


@pytest.mark.parametrize(
    "name", ["team_sold_out", "team_withdrawn", "offer_abandoned", "offer_ended", "offer_sold_out"]
)
def test_a_card_promises_no_place_that_nobody_can_take(name: str, look: Look) -> None:
    page = look(SCENES[name](NOW))

    card = f"{og(page, 'title')} {og(page, 'description')}"
    assert "missing" not in card
    assert "ntil" not in card


def test_a_card_of_a_team_without_a_discount_compares_no_prices(look: Look) -> None:
    at = SCENES["team_joinable"](NOW)
    Team.objects.update(pay_price=F("original_price"))

    assert og(look(at), "title") == "team of 3, 1 missing"


def test_the_reminder_of_a_hidden_offer_is_not_found() -> None:
    at = SCENES["offer_hidden"](NOW)

    assert browser(at.user_id).get(f"{OFFER}/reminder.ics").status_code == 404


@pytest.mark.parametrize("name", ["offer_hidden", "offer_switched_off", "team_hidden"])
def test_an_offer_that_is_hidden_leaves_no_trace(name: str, look: Look) -> None:
    page = look(SCENES[name](NOW))

    traces = ("¥80", "team of", "team for", "The rules", "together", "takes part", "invited")
    assert [trace for trace in (*traces, "Buy alone") if trace in page] == []
    assert "Buy: ¥100" in page
    assert og(page, "description") == ("小书店" if name == "team_hidden" else "¥100")


def test_the_list_stresses_what_has_to_be_done(look: Look) -> None:
    page = look(many_orders(NOW, count=3))

    rows = re.findall(r'<li class="(\w+)">.*?class="plain"[^>]*>([^<]+)<', page, re.DOTALL)
    assert rows == [("calm", "Details"), ("good", "Invite"), ("wait", "Pay")]


def test_the_letter_of_goods_without_a_picture_is_one(look: Look) -> None:
    at = SCENES["offer_open"](NOW)
    assert '<div class="picture"><span aria-hidden="true">手</span>' in look(
        at
    )  # of 《手写MyBatis》


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("offer_mine_overdue", "while a seat is free"),
        ("offer_mine_overdue_with_its_team", "when it arrives now"),
    ],
)
def test_the_offer_of_an_overdue_seat_claims_no_complete_team(
    name: str, when: str, look: Look
) -> None:
    page = look(SCENES[name](NOW))

    assert "Time is up, and your payment has not arrived" in page
    assert f"If you paid before 11:59 it still counts {when}" in page
    assert "Your team is complete" not in page


@pytest.mark.parametrize(("count", "more"), [(4, 0), (5, 1), (26, 20)])
def test_the_teams_beyond_the_first_are_unfolded(count: int, more: int, look: Look) -> None:
    offer_at(NOW)
    for n in range(count):
        team_at(NOW - MINUTE, f"shopper{n}")

    first, _, rest = look(Scene(OFFER, "", "")).partition("<details>")

    assert (first.count('class="join"'), rest.count('class="join"')) == (4, more)
    assert (f"and {more} more team" in rest) is (more > 0)


def second_activity(start_at: datetime) -> None:
    """Activity 100124 of the same goods."""
    channel, end_at = Channel.objects.get(source="s01"), NOW + 90 * MINUTE
    factories.make_activity(
        pk=100124, channel=channel, start_at=start_at, end_at=end_at, target_count=5
    )


def test_the_activity_can_be_named(look: Look) -> None:
    offer_at(NOW)
    second_activity(NOW + 60 * MINUTE)

    assert 'data-state="OPEN"' in look(Scene(OFFER, "", ""))
    page = look(Scene(OFFER, "", ""), activity="100124")
    assert 'data-state="NOT_STARTED"' in page
    assert "team of 5" in page
    assert browser().get(OFFER, {"activity": "1"}).status_code == 404


def test_a_link_that_names_an_activity_opens_a_team_of_that_one(look: Look) -> None:
    offer_at(NOW)
    second_activity(NOW - MINUTE)
    for activity_id in ("100123", "100124"):
        page = look(Scene(OFFER, "", ""), activity=activity_id)
        assert f'href="{OFFER}/buy/open?activity={activity_id}"' in page
        to = browser(ME).get(f"{OFFER}/buy/open", {"activity": activity_id})["Location"]
        assert f"activityId={activity_id}" in to


def test_goods_with_a_slash_in_their_id_have_a_page(look: Look) -> None:
    channel = factories.make_channel()
    factories.make_activity(channel=channel, goods_id="a/b~c", start_at=NOW - MINUTE)

    assert "/o/s01/c01/a~1b~0c" in look(Scene("/o/s01/c01", "", ""))
    assert 'data-state="OPEN"' in look(Scene("/o/s01/c01/a~1b~0c", "", ""))


def test_a_start_can_be_put_into_the_calendar() -> None:
    SCENES["offer_not_started"](NOW)

    response = browser().get(f"{OFFER}/reminder.ics")

    lines = response.content.decode().split("\r\n")
    assert response["Content-Type"] == "text/calendar; charset=utf-8"
    assert "DTSTART:20360501T053000Z" in lines
    assert f"URL:http://testserver{OFFER}" in lines
    assert max(len(line.encode()) for line in lines) <= 75
    alarm = lines[lines.index("BEGIN:VALARM") : lines.index("END:VALARM")]
    assert {"ACTION:DISPLAY", "TRIGGER:-PT5M"} < set(alarm)
    assert lines.index("END:VALARM") < lines.index("END:VEVENT")


def test_the_reminder_and_the_card_are_of_the_named_activity(look: Look) -> None:
    """Another activity of the same goods is open now."""
    offer_at(NOW)
    second_activity(NOW + 60 * MINUTE)
    named = f"{OFFER}?activity=100124"

    page = look(Scene(OFFER, "", ""), activity="100124")
    [way] = re.findall(r'class="main" data-key="main" href="([^"]+)"', page)
    reminder = browser().get(html.unescape(way)).content.decode()
    picture = html.unescape(og(page, "image"))

    assert "DTSTART:20360501T050000Z" in reminder
    assert f"URL:http://testserver{named}\r\n" in reminder
    assert og(page, "url") == f"http://testserver{named}"
    assert "activity=100124&v=" in picture
    open_now = og(look(Scene(OFFER, "", "")), "image")
    assert browser().get(picture).content != browser().get(open_now).content


@pytest.mark.parametrize(("take_limit", "shown"), [(1, False), (2, True)])
def test_teams_are_offered_to_whoever_may_join_one(take_limit: int, shown: bool) -> None:
    offer_at(NOW, take_limit=take_limit)
    team_at(NOW - 5 * MINUTE, *NAMES[:3], paid=3)
    team = team_at(NOW - 2 * MINUTE, NAMES[3], paid=1)

    page = browser(ME).get(OFFER).content.decode()

    assert (f'href="/t/{code_of(team, NAMES[3])}' in page) is shown


# --- Sharing ----------------------------------------------------------------------------------


def test_a_shared_team_describes_itself_without_personal_data(look: Look) -> None:
    at = SCENES["my_team_forming"](NOW)

    page = look(at)

    assert og(page, "title") == "3 people, ¥80 instead of ¥100, 1 missing"
    assert og(page, "description") == "《手写MyBatis：渐进式源码实践》, until 1 May, 12:13"
    assert og(page, "url") == f"http://testserver{at.path}"
    assert f'value="http://testserver{at.path}"' in page


@pytest.mark.parametrize(
    ("name", "invited"),
    [
        ("team_joinable", True),
        ("team_full_but_unpaid", True),
        ("team_sold_out", False),
        ("team_hidden", False),
        ("team_complete", False),
        ("my_team_forming", False),
        ("my_seat_given_back", False),
    ],
)
def test_a_friend_sees_who_invites_and_what_is_saved(name: str, invited: bool, look: Look) -> None:
    at = SCENES[name](NOW)

    page = look(at)

    assert (f"<p>{mask(NAMES[1])} invites you</p>" in page) is invited
    assert ('<span class="saved">¥20 less</span>' in page) is (name != "team_hidden")


def test_a_team_page_that_is_watched_changes_when_the_inviter_leaves_a_large_team(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another member replaces the inviter, whose seat is not among those drawn."""
    monkeypatch.setattr(teams, "SEATS", 1)
    offer_at(NOW)
    team = team_at(NOW - MINUTE, ME, NAMES[1])
    path = f"/t/{code_of(team, NAMES[1])}"
    etag = browser().get(path)["ETag"]

    factories.refund(NAMES[1], now=NOW)
    factories.lock(NAMES[2], now=NOW, team_id=str(team.pk))

    assert browser().get(path)["ETag"] != etag


def test_every_member_invites_by_a_link_of_their_own(look: Look) -> None:
    offer_at(NOW)
    team = team_at(NOW - MINUTE, ME, NAMES[1], paid=2)
    codes = {user: code_of(team, user) for user in (ME, NAMES[1])}
    assert codes[ME] != codes[NAMES[1]]

    by_anothers_link = look(Scene(f"/t/{codes[NAMES[1]]}", ME, ""))

    assert f'value="http://testserver/t/{codes[ME]}"' in by_anothers_link


def test_an_old_link_leads_to_the_new_team_of_its_sender(look: Look) -> None:
    offer_at(NOW, take_limit=3)
    old = team_at(NOW - 20 * MINUTE, NAMES[1], NAMES[2], paid=1)
    end(old, NOW - 2 * MINUTE)
    soonest_first = (NAMES[3], NAMES[0], NAMES[2], NAMES[1])
    for seconds, name in enumerate(soonest_first):
        at = NOW - MINUTE + timedelta(seconds=seconds)
        team_at(at, name, out_trade_no=f"again {name}")

    page = look(Scene(f"/t/{code_of(old, NAMES[1])}", "", ""))
    to_the_inviter = look(Scene(f"/t/{code_of(old, NAMES[1])}", NAMES[1], ""))

    first, second, third = map(mask, (NAMES[1], NAMES[2], NAMES[3]))
    assert re.findall(r"<small>(.*?) ·", page) == [
        f"{first} from this team",
        f"{second} from this team",
        third,
    ]
    assert f"{first} from this team" not in to_the_inviter

    new = Order.objects.get(out_trade_no=f"again {NAMES[1]}").team_id
    factories.lock(ME, now=NOW, team_id=str(new), out_trade_no="joined")
    to_a_member = look(Scene(f"/t/{code_of(old, NAMES[1])}", ME, ""))
    assert f"{first} from this team" not in to_a_member
    assert f"{second} from this team" in to_a_member


def test_an_old_link_leads_to_the_new_team_of_its_sender_among_very_many(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market, "POOL", 2)
    offer_at(NOW, take_limit=2)
    old = team_at(NOW - 20 * MINUTE, NAMES[1], NAMES[2], paid=1)
    end(old, NOW - 2 * MINUTE)
    for name in (NAMES[3], NAMES[0]):
        team_at(NOW - MINUTE, name, paid=1)
    new = team_at(NOW - MINUTE, NAMES[1], out_trade_no="again")

    page = look(Scene(f"/t/{code_of(old, NAMES[1])}", "", ""))

    first, *others = re.findall(r"<small>(.*?) ·", page)
    assert first == f"{mask(NAMES[1])} from this team"
    assert sorted(others) == sorted([mask(NAMES[3]), mask(NAMES[0])])
    assert f"/t/{code_of(new, NAMES[1])}" in page


@pytest.mark.parametrize(
    ("name", "shop"),
    [
        ("offer_open", '<a href="https://mall.example.com/">小书店</a>'),
        ("offer_without_checkout", "小书店"),
    ],
)
def test_a_guest_is_led_to_the_shop(name: str, shop: str, look: Look) -> None:
    assert f"as a guest. Come from {shop} to see your own orders." in look(SCENES[name](NOW))


# --- Stored text ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["offer", "team", "order", "orders", "wall"])
def test_stored_text_is_inert(look: Look, path: str) -> None:
    offer_at(NOW)
    Sku.objects.update(name=EVIL, description=EVIL, picture=f"https://pictures.example/{EVIL}")
    Channel.objects.update(name=EVIL[:60])
    team = team_at(NOW - MINUTE, ME, EVIL[:30], paid=2)
    team_at(NOW - MINUTE, f"{EVIL[:20]}x", paid=1)
    code = code_of(team, ME)
    paths = {
        "offer": OFFER,
        "team": f"/t/{code}",
        "order": f"/t/{code}/order",
        "orders": "/my/s01/c01",
        "wall": "/o/s01/c01",
    }

    page = look(Scene(paths[path], ME, ""))

    assert "<script>" not in page
    assert "<img src=x" not in page
    assert re.findall(r"<(?:script|img)[^>]*>", page)
    assert all('"' not in url for url in re.findall(r'src="([^"]*)"', page))


# --- Caching by a proxy ------------------------------------------------------------------------


def test_a_guests_page_is_for_every_guest() -> None:
    offer_at(NOW)

    response = browser().get(OFFER)

    assert response["X-Accel-Expires"] == "1"
    assert "Set-Cookie" not in response.headers
    assert not response.cookies
    assert response["Vary"] == "Accept-Language"


def test_other_pages_are_for_one_browser_only() -> None:
    offer_at(NOW)
    speaks_english = browser()
    speaks_english.post("/language/", {"language": "en"})

    for client, path in ((browser("xiaofuge"), OFFER), (speaks_english, OFFER), (browser(), "/")):
        assert "X-Accel-Expires" not in client.get(path).headers
    assert "X-Accel-Expires" not in browser().get(f"{OFFER}x").headers  # there is none


def test_a_poll_accepts_the_weak_tag_of_a_compressing_proxy() -> None:
    offer_at(NOW)
    etag = browser().get(OFFER, {"live": ""})["ETag"]

    response = browser().get(OFFER, {"live": ""}, headers={"If-None-Match": f"W/{etag}"})

    assert response.status_code == 304


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OperationalError(2002, "away"), 503, "Back in a moment"),
        (ImproperlyConfigured("a bug"), 500, "Something went wrong"),
    ],
)
def test_the_error_page_needs_neither_templates_nor_database(
    error: Exception, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_at(NOW)

    def broken(*args: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(views, "offer_asked", broken)
    client = browser(raise_request_exception=False)

    response = client.get(OFFER)

    assert (response.status_code, words in response.content.decode()) == (status, True)
    assert response.headers.get("Retry-After") == ("10" if status == 503 else None)
    assert "{%" not in response.content.decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/t/zzzzzzzzzz", 404), ("/o/s01/c02/1", 404), ("/out/expired", 403), ("/nowhere", 404)],
)
def test_a_problem_leads_to_the_shop_that_the_visitor_came_from(path: str, status: int) -> None:
    """It leads nobody to the start page, which is for operators."""
    offer_at(NOW)

    known, guest = browser(ME).get(path), browser().get(path)

    assert (known.status_code, guest.status_code) == (status, status)
    assert '<a class="main" href="/o/s01/c01">Offers of 小书店</a>' in known.content.decode()
    assert 'class="main"' not in guest.content.decode()


def test_a_problem_of_a_known_shopper_does_not_speak_of_a_guest() -> None:
    offer_at(NOW)

    page = browser(ME).get("/o/s01/c01/none").content.decode()

    assert "You are wa***g of 小书店." in page
    assert "as a guest" not in page


@pytest.mark.parametrize(
    ("referer", "ways"),
    [
        ("", []),
        ("https://evil.example/form", []),
        (
            "http://testserver/o/s01/c01",
            ['href="http://testserver/o/s01/c01">Load the form again</a>'],
        ),
    ],
)
def test_a_form_without_its_cookie_explains_what_to_do(referer: str, ways: list[str]) -> None:
    headers = {"Accept-Language": "en", "Referer": referer}
    response = Client(enforce_csrf_checks=True, headers=headers).post("/h/s01/c01/leave")

    assert response.status_code == 403
    assert "Allow cookies for this site" in response.content.decode()
    assert re.findall(r'<a class="main" (.*)</div>', response.content.decode()) == ways


# --- The demo ---------------------------------------------------------------------------------


@pytest.fixture
def _demo(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    path = tmp_path / "demo.json"
    path.write_text('{"user": "demo"}')
    monkeypatch.setattr(start, "DEMO_FILE", path)
    settings.DEMO = True


@pytest.mark.usefixtures("_demo")
def test_the_demos_shoppers_are_handed_over_from_this_machine_only(settings: Any) -> None:
    offer_at(NOW)
    client = browser()

    page = client.get("/").content.decode()
    link = client.get("/as/xiaofuge")
    entered = client.get(link["Location"])

    assert 'href="/as/xiaofuge"' in page
    assert f'href="/o/s01/c01/{GOODS}"' in page
    assert (link.status_code, entered.status_code, entered["Location"]) == (302, 303, OFFER)
    assert "You are xi***e" in client.get(OFFER).content.decode()
    assert client.get("/as/somebody").status_code == 404
    assert client.get("/as/xiaofuge", REMOTE_ADDR="10.0.0.1").status_code == 404
    settings.DEMO = False
    assert client.get("/as/xiaofuge").status_code == 404


def test_a_day_later_a_moment_has_its_date(look: Look) -> None:
    offer_at(NOW, end_at=NOW - timedelta(days=1), start_at=NOW - timedelta(days=3))

    assert "Ended at 30 Apr, 12:00" in look(Scene(OFFER, "", ""))
