"""Live pages: they stay current, count down correctly, and do not poll while hidden."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Response, Route, expect

from activity.models import Activity, Sku
from tests import factories
from tests.browser.conftest import cookies_of
from tests.pages.scenes import (
    ME,
    MINUTE,
    NAMES,
    OFFER,
    SCENES,
    code_of,
    offer_at,
    team_at,
    wall,
)
from trade.models import Order, Team

pytestmark = pytest.mark.django_db(transaction=True)
Phone = Callable[..., Page]
HEADLINE = "[data-headline]"
MOVES = """
Object.defineProperty(navigator, "share", { value: %s });
window.moves = 0;
new PerformanceObserver((list) => list.getEntries().forEach((each) => (moves += each.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
NOTHING_NEW = """() => {
  window.asked = [];
  window.fetch = async () => {
    asked.push(Date.now());
    return new Response(null, { status: 304, headers: { "X-Now": String(Date.now()) } });
  };
}"""

NO_ANSWER = """() => {
  delete AbortSignal.timeout;
  window.asked = 0;
  window.fetch = (url, { signal } = {}) => {
    asked += 1;
    return new Promise((_, fail) => signal?.addEventListener("abort", () => fail(signal.reason)));
  };
}"""


def pay(user_id: str) -> None:
    now = timezone.now()
    factories.settle(user_id, now=now, paid_at=now)


def test_three_shoppers_watch_their_team_fill_up(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now, ME)
    first = phone(ME)
    first.goto(f"/t/{code_of(team, ME)}")
    expect(first.locator(HEADLINE)).to_have_text("Your seat is held: now pay for it")

    pay(ME)
    expect(first.locator(HEADLINE)).to_have_text("2 more people needed")
    invitation = first.locator("#link").input_value()

    second, third = phone(NAMES[1]), phone(NAMES[2])
    for friend in (second, third):
        friend.goto(invitation)
        expect(friend.get_by_role("link", name="Join: ¥80")).to_be_visible()
    factories.lock(NAMES[1], now=timezone.now(), team_id=str(team.pk))
    expect(second.locator(HEADLINE)).to_have_text("Your seat is held: now pay for it")
    expect(third.locator(HEADLINE)).to_have_text("1 more person needed")
    expect(first.locator(".tally")).to_have_text("1 of 3 paid · 1 paying")
    pay(NAMES[1])
    factories.lock(NAMES[2], now=timezone.now(), team_id=str(team.pk))
    expect(first.locator(HEADLINE)).to_have_text("All seats are taken, 1 still to be paid")

    pay(NAMES[2])

    for page in (first, second, third):
        expect(page.locator(HEADLINE)).to_have_text("Your team is complete")
    expect(first.locator("#said")).to_have_text("Your team is complete")
    assert Team.objects.get(pk=team.pk).status == Team.Status.COMPLETE


def test_the_whole_way_without_scripts(phone: Phone, till: Callable[[], str]) -> None:
    now = timezone.now()
    offer_at(now)
    checkout = till()
    page = phone(ME, java_script_enabled=False)
    page.goto(OFFER)
    assert page.locator("noscript").count() == 1
    page.get_by_role("link", name="Open a team: ¥80").click()
    page.wait_for_url(f"{checkout}?action=open&goodsId=9890001&activityId=100123")

    team = team_at(timezone.now(), ME)
    page.goto(OFFER)
    page.get_by_role("link", name="Pay ¥80").click()
    page.wait_for_url(f"{checkout}?action=pay&**")
    pay(ME)

    page.goto("/my/s01/c01")
    page.get_by_role("link", name="Invite").click()
    expect(page.locator(HEADLINE)).to_have_text("2 more people needed")
    expect(page.locator("#link")).to_have_value(f"{page.url}")
    expect(page.locator("button[data-copy]")).to_be_hidden()
    friend = phone(java_script_enabled=False)
    friend.goto(page.url)
    friend.get_by_role("link", name="Join: ¥80").click()
    friend.wait_for_url(f"{checkout}?action=join&**teamId={team.pk}")


def test_a_phone_that_slept_five_minutes_counts_right(phone: Phone) -> None:
    at = SCENES["team_joinable"](timezone.now())
    page = phone()
    stop_clock(page)
    page.route("**/*live=1*", lambda route: route.abort())
    page.goto(at.path)
    before = seconds(page)

    page.clock.fast_forward("05:00")

    assert before - seconds(page) == 300


@pytest.mark.parametrize("wrong", [timedelta(hours=-1), timedelta(hours=1)])
def test_the_countdown_is_right_on_a_phone_whose_clock_is_wrong(
    phone: Phone, wrong: timedelta
) -> None:
    at = SCENES["team_joinable"](timezone.now())
    page = phone()
    stop_clock(page, wrong)
    page.goto(at.path)
    until = page.locator(".clock [data-until]").get_attribute("data-until")
    served = page.locator("[data-now]").get_attribute("data-now")

    page.clock.run_for(1000)

    assert seconds(page) == (int(str(until)) - int(str(served)) - 1000) // 1000


def test_a_hidden_page_does_not_poll_and_is_fresh_when_shown_again(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now - MINUTE, NAMES[1], paid=1)
    page = phone()
    stop_clock(page)
    page.goto(f"/t/{code_of(team, NAMES[1])}")
    polls: list[str] = []
    page.on(
        "request", lambda request: polls.append(request.url) if "live=1" in request.url else None
    )
    with page.expect_response("**/*live=1*"):
        page.clock.run_for(3500)
    assert len(polls) == 1

    hide(page, hidden=True)
    page.clock.run_for(60_000)
    assert len(polls) == 1

    factories.lock(NAMES[2], now=timezone.now(), team_id=str(team.pk))
    hide(page, hidden=False)
    page.clock.run_for(100)
    expect(page.locator(HEADLINE)).to_have_text("1 more person needed")


def test_the_list_of_orders_is_loaded_again_when_a_time_to_pay_is_over(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now, hold_minutes=5)
    team_at(now - timedelta(minutes=4, seconds=30), NAMES[1], ME, paid=1)
    page = phone(ME)
    stop_clock(page)
    page.goto("/my/s01/c01")
    expect(page.locator(".how")).to_contain_text("To be paid")
    Order.objects.update(pay_deadline=now - MINUTE)  # the server's clock moves, too

    page.clock.run_for(33_000)

    expect(page.locator(".how")).to_have_text("Not paid, seat free again")
    loads = count_loads(page)
    page.clock.run_for(60_000)
    assert loads == []


@pytest.mark.parametrize(("away", "words"), [(20, "To be paid"), (40, "Waiting for the team")])
def test_the_list_of_orders_is_loaded_again_after_a_while_in_the_background(
    phone: Phone, away: int, words: str
) -> None:
    now = timezone.now()
    offer_at(now)
    team_at(now, ME)
    page = phone(ME)
    stop_clock(page)
    page.goto("/my/s01/c01")
    expect(page.locator(".how")).to_contain_text("To be paid")
    pay(ME)
    hide(page, hidden=True)
    page.clock.run_for(1000 * away)
    loads = count_loads(page)

    hide(page, hidden=False)
    page.clock.run_for(100)

    expect(page.locator(".how")).to_contain_text(words)
    assert len(loads) == (1 if away > 30 else 0)


@pytest.mark.parametrize("name", ["offer_open", "team_joinable"])
def test_a_page_that_is_watched_turns_grey_when_the_goods_are_sold_out(
    phone: Phone, name: str
) -> None:
    page = phone()
    page.goto(SCENES[name](timezone.now()).path)
    picture, price = page.locator(".picture"), page.locator(".price strong")
    red = price.evaluate("each => getComputedStyle(each).color")
    expect(picture).to_have_css("filter", "none")

    Sku.objects.update(sold_out=True)

    expect(page.locator(HEADLINE)).to_have_text("Sold out")
    expect(picture).to_have_css("filter", "grayscale(1)")
    expect(picture.locator("img")).to_have_css("opacity", "1")  # else the letter below shows
    expect(price).not_to_have_css("color", red)


@pytest.mark.parametrize("name", ["offer_open", "team_joinable"])
def test_a_page_that_is_watched_loses_all_traces_of_an_offer_that_is_hidden(
    phone: Phone, name: str
) -> None:
    page = phone()
    page.goto(SCENES[name](timezone.now()).path)
    rules = page.get_by_role("heading", name="The rules")
    expect(rules).to_be_visible()

    Activity.objects.update(restrict_visible=True)

    expect(page.locator(HEADLINE)).to_have_text("Sold by 小书店")
    expect(rules).to_have_count(0)
    assert "team" not in page.title()
    Activity.objects.update(restrict_visible=False)
    expect(rules).to_be_visible()


def test_a_picture_that_does_not_load_leaves_a_letter(phone: Phone) -> None:
    wall(timezone.now())
    page = phone()
    page.route("**/goods/**", lambda route: route.abort())
    for path in ("/o/s01/c01", OFFER):
        page.goto(path)
        expect(page.locator(".picture img")).to_be_hidden()
        expect(page.locator(".picture span")).to_have_text("手")


@pytest.mark.parametrize("share", [True, False])
def test_nothing_moves_while_a_page_loads(share: bool, phone: Phone) -> None:
    """The script arrives late; its buttons have their place by then."""
    at = SCENES["order_my_team_forming"](timezone.now())
    page = phone(at.user_id)
    page.add_init_script(MOVES % ("async () => {}" if share else "undefined"))
    held: list[Route] = []
    page.route("**/live.js", lambda route: held.append(route))
    page.goto(at.path, wait_until="commit")
    expect(page.locator("#link")).to_be_visible()
    page.wait_for_timeout(300)  # painted without the script

    held[0].continue_()
    expect(page.get_by_role("button", name="Copy the link")).to_be_visible()
    page.wait_for_timeout(300)

    assert page.evaluate("moves") < 0.01
    assert page.get_by_role("button", name="Invite").is_visible() is share


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Not up to date: this is how it stood at %s."),
        ("zh-CN", "暂时无法更新，以下是 %s 的情况"),
    ],
)
def test_a_page_that_is_not_up_to_date_says_of_when_it_is(
    phone: Phone, language: str, text: str
) -> None:
    """In the server's time, on a phone in another zone whose clock is an hour slow."""
    at = SCENES["team_joinable"](timezone.now())
    page = phone(language=language, timezone_id="America/New_York")
    stop_clock(page, timedelta(hours=-1))
    page.goto(at.path)
    served = int(str(page.locator("[data-now]").get_attribute("data-now"))) / 1000
    page.route("**/*live=1*", lambda route: route.fulfill(status=503, body="away"))
    stale = page.get_by_role("status").and_(page.locator("#stale"))
    expect(stale).to_be_hidden()

    for _ in range(2):
        with page.expect_response("**/*live=1*"):
            page.clock.run_for(10_000)

    at_the_server = timezone.localtime(datetime.fromtimestamp(served, UTC))
    expect(stale).to_have_text(text % f"{at_the_server:%H:%M}")
    page.unroute("**/*live=1*")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.clock.run_for(100)
    expect(stale).to_be_hidden()


def test_an_order_that_is_no_longer_ones_own_leads_to_its_team(phone: Phone) -> None:
    """Somebody else has been handed over to this browser in another tab."""
    at = SCENES["order_my_team_forming"](timezone.now())
    page = phone(ME)
    page.goto(at.path)
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()

    page.context.add_cookies(cookies_of(NAMES[3], page.evaluate("location.origin")))

    expect(page.get_by_role("heading", name="What happened")).to_have_count(0)
    expect(page.locator("#stale")).to_be_hidden()
    assert urlsplit(page.url).path == at.path.removesuffix("/order")


def test_a_poll_without_an_answer_is_given_up_in_an_old_browser(phone: Phone) -> None:
    at = SCENES["team_joinable"](timezone.now())
    page = phone()
    stop_clock(page)
    page.goto(at.path)
    page.evaluate(NO_ANSWER)

    page.clock.run_for(60_000)

    assert page.evaluate("asked") >= 3
    expect(page.locator("#stale")).to_be_visible()


def test_a_page_that_waits_for_a_payment_polls_less_and_less_often(phone: Phone) -> None:
    at = SCENES["order_being_confirmed"](timezone.now())
    page = phone(ME)
    stop_clock(page)
    page.goto(at.path)
    later = page.locator("[data-later]")
    expect(later).to_be_hidden()
    page.evaluate(NOTHING_NEW)

    page.clock.run_for(90_000)

    asked = page.evaluate("asked")
    waits = [round((b - a) / 1000) for a, b in pairwise(asked)]
    assert waits == [3, 5, 8, 30, 30]
    expect(later).to_contain_text("You may close this page")
    expect(page.locator("#said")).to_have_text(later.inner_text())


def test_a_page_that_waits_for_a_payment_shows_it(phone: Phone) -> None:
    at = SCENES["order_being_confirmed"](timezone.now())
    page = phone(ME)
    page.goto(at.path)

    pay(ME)

    expect(page.locator(HEADLINE)).to_have_text("1 more person needed")
    expect(page.locator("#said")).to_have_text("1 more person needed")


def test_a_first_visit_loads_less_than_100_kb_from_this_site_alone(phone: Phone) -> None:
    at = SCENES["offer_open_with_teams"](timezone.now())
    page = phone(at.user_id)
    loaded: list[Response] = []
    page.on("response", lambda answer: loaded.append(answer))

    page.goto(at.path)
    page.wait_for_load_state("networkidle")

    assert {urlsplit(answer.url).netloc for answer in loaded} == {urlsplit(page.url).netloc}
    assert sum(len(answer.body()) for answer in loaded) < 100_000
    names = {answer.url.rpartition("/")[2].partition("?")[0] for answer in loaded}
    assert names >= {"pages.css", "live.js", "9890001.svg"}


def test_the_link_of_the_team_is_copied(phone: Phone) -> None:
    at = SCENES["my_team_forming"](timezone.now())
    page = phone(ME, permissions=["clipboard-read", "clipboard-write"])
    page.goto(at.path)

    page.get_by_role("button", name="Copy the link").click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url


@pytest.mark.parametrize("copies", [True, False])
def test_a_link_that_cannot_be_copied_is_selected_instead(phone: Phone, copies: bool) -> None:
    at = SCENES["my_team_forming"](timezone.now())
    page = phone(ME)
    page.add_init_script(
        "navigator.clipboard.writeText = async () => { throw new Error(); };"
        f"document.execCommand = () => {'true' if copies else 'false'};"
    )
    page.goto(at.path)
    button = page.locator("button[data-copy]")

    button.click()

    page.wait_for_function("getSelection().toString() === link.value")
    expect(button).to_have_text("Copied" if copies else "Copy the link")


@pytest.mark.parametrize(
    ("error", "label"), [("AbortError", "Copy the link"), ("NotAllowedError", "Copied")]
)
def test_a_link_that_cannot_be_shared_is_copied(phone: Phone, error: str, label: str) -> None:
    at = SCENES["my_team_forming"](timezone.now())
    page = phone(ME, permissions=["clipboard-read", "clipboard-write"])
    page.add_init_script(
        f"navigator.share = async () => {{ throw new DOMException('', '{error}'); }};"
    )
    page.goto(at.path)

    page.get_by_role("button", name="Invite").click()

    page.wait_for_timeout(300)
    expect(page.locator("button[data-copy]")).to_have_text(label)


def test_the_label_returns_after_two_taps(phone: Phone) -> None:
    at = SCENES["my_team_forming"](timezone.now())
    page = phone(ME, permissions=["clipboard-read", "clipboard-write"])
    stop_clock(page)
    page.goto(at.path)
    button = page.locator("button[data-copy]")

    for _ in range(2):
        button.click()
        expect(button).to_have_text("Copied")
        page.clock.fast_forward(500)

    page.clock.fast_forward(3000)
    assert button.inner_text() == "Copy the link"


def test_focus_stays_where_it_was_when_the_page_changes(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now - MINUTE, NAMES[1], paid=1)
    page = phone()
    page.goto(f"/t/{code_of(team, NAMES[1])}")
    page.get_by_role("link", name="Join: ¥80").focus()

    factories.lock(NAMES[2], now=timezone.now(), team_id=str(team.pk))

    expect(page.locator(HEADLINE)).to_have_text("1 more person needed")
    expect(page.get_by_role("link", name="Join: ¥80")).to_be_focused()


def test_focus_falls_on_the_headline_when_its_control_is_gone(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now - MINUTE, NAMES[1], paid=1)
    page = phone()
    page.goto(OFFER)
    page.locator(".join").focus()

    for name in NAMES[2:4]:
        factories.lock(name, now=timezone.now(), team_id=str(team.pk))

    expect(page.locator(".join")).to_have_count(0)
    expect(page.locator(HEADLINE)).to_be_focused()


def test_focus_stays_on_a_button_that_needs_scripts_and_the_page_does_not_scroll(
    phone: Phone,
) -> None:
    at = SCENES["my_team_forming"](timezone.now())
    page = phone(ME)
    page.goto(at.path)
    button = page.get_by_role("button", name="Copy the link")
    button.focus()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    before = page.evaluate("scrollY")

    pay(NAMES[1])

    expect(page.locator(".tally")).to_have_text("2 of 3 paid")
    expect(button).to_be_focused()
    assert page.evaluate("scrollY") == before > 0


def test_unfolded_teams_stay_unfolded_when_the_page_changes(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    teams = [team_at(now - MINUTE, f"shopper{n}") for n in range(5)]
    page = phone()
    page.goto(OFFER)
    last = page.locator("details .join")
    expect(last).to_be_hidden()
    page.locator("summary").click()
    expect(last).to_be_visible()

    factories.lock(ME, now=timezone.now(), team_id=str(teams[4].pk))

    expect(page.get_by_text("1 more needed")).to_be_visible()
    expect(last).to_be_visible()
    expect(page.locator("summary")).to_be_focused()


def stop_clock(page: Page, wrong: timedelta = timedelta()) -> None:
    """Let the page's time stand still, so that only run_for() and fast_forward() move it."""
    now = timezone.now() + wrong
    page.clock.install(time=now - MINUTE)
    page.clock.pause_at(now)


def count_loads(page: Page) -> list[str]:
    """A list to which each request of a page is added from now on."""
    loads: list[str] = []
    page.on(
        "request", lambda each: loads.append(each.url) if each.is_navigation_request() else None
    )
    return loads


def seconds(page: Page) -> int:
    """The seconds left on the panel's countdown."""
    text = page.locator(".clock time").inner_text()
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
