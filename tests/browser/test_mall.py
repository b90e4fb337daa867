"""The whole stack of `make run`: shoppers log in, buy in the mall and get their money back."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.purchases import Stack, box, confirm, headline, order, pay, place, to_alipay
from tests.browser.test_every_page import RULES
from tests.browser.test_live import hide
from tests.stack import embedded, wait_for

BOOK, CUPS, ORANGES = "9890001", "9890003", "9890004"  # three, three and five in a team
TARGET = 3
Open = Callable[[str], Page]


@pytest.fixture(scope="module")
def stack(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    var_dir = tmp_path_factory.mktemp("stack")
    with embedded(var_dir) as (platform, found):
        yield Stack(var_dir, platform, found)


@pytest.fixture(autouse=True)
def _knobs(stack: Stack) -> Iterator[None]:
    yield
    stack.knobs()


@pytest.fixture
def shopper(chromium: Browser, stack: Stack) -> Iterator[Open]:
    """A browser whose shopper has logged in with the pretend phone."""
    contexts = []

    def log_in(name: str) -> Page:
        context = chromium.new_context(locale="en", base_url=stack.mall)
        contexts.append(context)
        page = context.new_page()
        page.goto("/login?next=/orders")
        with context.expect_page() as opened:
            page.get_by_role("link", name="Open the pretend phone").click()
        phone = opened.value
        phone.get_by_label("Another name").fill(name)
        phone.get_by_role("button", name="Scan").click()
        expect(phone.get_by_text(f"{name} has scanned the code.")).to_be_visible()
        phone.close()
        expect(page.get_by_role("heading", name="My orders")).to_be_visible()
        return page

    yield log_in
    for context in contexts:
        context.close()


def test_three_shoppers_buy_one_team_and_one_gives_back(stack: Stack, shopper: Open) -> None:
    leader = shopper("leader")
    leader.goto(f"/goods/{BOOK}")
    leader.get_by_role("link", name="Open a team").click()
    numbers = [place(leader)]
    pay(leader)
    headline(leader, "Paid")
    leader.get_by_role("link", name="See your team and invite").click()
    expect(leader).to_have_url(re.compile(f"^{stack.platform}/"))  # handed over
    link = leader.get_by_label("Your team's link").input_value()

    for number in range(2, TARGET + 1):
        friend = shopper(f"friend{number}")
        friend.goto(link)
        friend.get_by_role("link", name=re.compile("^Join: ¥80")).click()
        numbers.append(place(friend))
        pay(friend)
    headline(friend, "Sent to you")
    leader.goto(f"{stack.mall}/orders/{numbers[0]}")
    headline(leader, "Sent to you")

    friend.get_by_text("Cancel this order").click()
    friend.get_by_role("button", name="Cancel the order").click()
    headline(friend, "Your money is back")
    kept = {number: ["80.00"] for number in numbers}
    assert stack.books(*numbers) == kept | {numbers[-1]: ["80.00", "-80.00"]}
    assert box(friend) == ["Your money is back", "Your order is cancelled",
                           "Your team is complete", "You have joined a team"]  # fmt: skip
    assert box(leader) == ["Your team is complete", "You have opened a team"]


def test_a_team_fails_and_all_three_see_their_money_come_back(stack: Stack, shopper: Open) -> None:
    pages = [shopper(f"hopeful{number}") for number in range(3)]
    numbers = [order(pages[0], f"action=open&goodsId={ORANGES}")]
    pay(pages[0])
    pages[0].get_by_role("link", name="See your team and invite").click()
    link = pages[0].get_by_label("Your team's link").input_value()
    for page in pages[1:]:
        page.goto(link)
        page.get_by_role("link", name=re.compile("^Join: ¥1.99")).click()
        numbers.append(place(page))
        pay(page)
    pages[0].goto(f"{stack.mall}/orders/{numbers[0]}")
    for page in pages:
        expect(page.get_by_text("Your team is not full yet.")).to_be_visible()

    stack.end_team(numbers[0])

    for page in pages:
        headline(page, "Your money is back")
    assert stack.books(*numbers) == {number: ["1.99", "-1.99"] for number in numbers}
    end = ["Your money is back", "Your team was not filled in time"]
    assert box(pages[0]) == [*end, "You have opened a team"]
    assert box(pages[1]) == box(pages[2]) == [*end, "You have joined a team"]
    for page, number in zip(pages, numbers, strict=True):  # and on the platform's page
        page.goto(f"{stack.mall}/orders/{number}")
        page.get_by_role("link", name="Your team on the offer's pages").click()
        expect(page.get_by_text("refunded ¥1.99 at")).to_be_visible(timeout=120_000)


def test_the_payment_page_is_still_open_when_the_hold_is_gone(stack: Stack, shopper: Open) -> None:
    page = shopper("slow")
    number = order(page, f"action=open&goodsId={ORANGES}")
    waiting = page.context.new_page()
    waiting.goto(page.url)
    to_alipay(page)

    stack.end_hold(number)
    headline(waiting, "Closed")
    confirm(page)

    expect(page.get_by_text("交易已关闭")).to_be_visible()
    page.get_by_role("link", name="Back").click()
    headline(page, "This order is closed")
    assert stack.books(number) == {number: []}
    assert box(page) == ["Your order is cancelled"]


def test_a_payment_found_after_the_team_has_ended(stack: Stack, shopper: Open) -> None:
    """Alipay has the payment, its notification is lost, and the shopper does not return."""
    stack.knobs(lose="on")
    page = shopper("late")
    number = order(page, f"action=open&goodsId={ORANGES}")
    waiting = page.context.new_page()
    waiting.goto(page.url)
    to_alipay(page)
    page.request.post(page.url, max_redirects=0)

    stack.end_team(number)

    headline(waiting, "Your money is back")
    assert stack.books(number) == {number: ["1.99", "-1.99"]}


def test_two_tabs_pay_one_order_once(stack: Stack, shopper: Open) -> None:
    first = shopper("twice")
    second = first.context.new_page()
    for tab in (first, second):
        tab.goto(f"/checkout?action=alone&goodsId={CUPS}")
    numbers = {place(first), place(second)}
    for tab in (first, second):
        to_alipay(tab)
    confirm(first)
    headline(first, "Your payment has arrived")
    confirm(second)
    expect(second.get_by_text("已付款 · paid")).to_be_visible()
    second.get_by_role("link", name="Back").click()
    headline(second, "Your payment has arrived")

    [number] = numbers
    assert stack.books(number) == {number: ["128.00"]}


def test_back_from_the_payment_page(stack: Stack, shopper: Open) -> None:
    page = shopper("hesitant")
    number = order(page, f"action=alone&goodsId={CUPS}")
    to_alipay(page)
    page.go_back()
    to_alipay(page)
    page.get_by_role("link", name="Back without paying").click()
    headline(page, "We are waiting for Alipay")
    page.get_by_role("link", name="To your order").click()
    pay(page)
    headline(page, "Sent to you")
    page.go_back()
    page.go_back()  # to the payment page, where nothing more is to be paid
    expect(page.get_by_text("已付款 · paid")).to_be_visible()

    assert stack.books(number) == {number: ["128.00"]}


def test_a_lost_notification_delays_nothing(stack: Stack, shopper: Open) -> None:
    """The return page makes the loop query Alipay."""
    stack.knobs(lose="on")
    page = shopper("alone")
    number = order(page, f"action=alone&goodsId={CUPS}")
    pay(page)
    headline(page, "Sent to you")
    assert (stack.books(number), stack.verdicts(number)) == ({number: ["128.00"]}, [])


def test_a_late_notification_changes_nothing(stack: Stack, shopper: Open) -> None:
    """The return page causes a query of Alipay before, unless the machine is very slow."""
    stack.knobs(delay=5)
    page = shopper("patient")
    number = order(page, f"action=alone&goodsId={CUPS}")
    pay(page)
    headline(page, "Sent to you")
    wait_for(lambda: stack.verdicts(number), "the notification")
    assert stack.verdicts(number) in (["repeated"], ["paid"])
    assert stack.books(number) == {number: ["128.00"]}


def test_a_repeated_notification_changes_nothing(stack: Stack, shopper: Open) -> None:
    stack.knobs(repeat=2)
    page = shopper("repeated")
    number = order(page, f"action=alone&goodsId={CUPS}")
    pay(page)
    headline(page, "Sent to you")
    wait_for(lambda: stack.verdicts(number), "the notification")
    assert stack.verdicts(number) in (["paid"], ["repeated"])  # copies have the same id
    assert stack.books(number) == {number: ["128.00"]}


@pytest.mark.parametrize(
    ("falsify", "verdict"),
    [("amount", "other amount"), ("app_id", "other app"), ("order", "unknown order")],
)
def test_a_notification_that_does_not_match_is_stored_without_effect(
    stack: Stack, shopper: Open, falsify: str, verdict: str
) -> None:
    stack.knobs(falsify=falsify)
    page = shopper(f"false-{falsify}")
    number = order(page, f"action=alone&goodsId={CUPS}")
    pay(page)
    headline(page, "Sent to you")  # Alipay was asked
    wait_for(lambda: stack.verdicts(number), "the notification")
    assert stack.verdicts(number) == [verdict]
    assert stack.books(number) == {number: ["128.00"]}


def test_a_notification_with_another_signature_leaves_no_trace(stack: Stack, shopper: Open) -> None:
    stack.knobs(falsify="signature")
    page = shopper("forged")
    number = order(page, f"action=alone&goodsId={CUPS}")
    pay(page)
    headline(page, "Sent to you")  # Alipay was asked
    wait_for(
        lambda: stack.is_logged("refused a notification to Alipay's endpoint"), "the forged one"
    )
    assert (stack.books(number), stack.verdicts(number)) == ({number: ["128.00"]}, [])


def test_the_checkout_of_the_platforms_pages_leads_here(stack: Stack, shopper: Open) -> None:
    page = shopper("visitor")
    page.goto(f"{stack.platform}/o/s01/c01/{CUPS}")
    page.get_by_role("link", name="Open a team").first.click()
    expect(page).to_have_url(re.compile(f"^{stack.mall}/checkout"))
    headline(page, "Checkout")


def test_a_known_browser_logs_in_on_its_way_to_the_platform(stack: Stack, shopper: Open) -> None:
    """The form of the login is redirected to another origin: CSP has to allow it in Chromium."""
    page = shopper("known")
    number = order(page, f"action=open&goodsId={CUPS}")
    page.context.clear_cookies(name=re.compile("_session$"))
    page.goto(f"/go/order/{number}")

    page.get_by_role("button", name="Go on as known").click()

    expect(page).to_have_url(re.compile(f"^{stack.platform}/t/"))


def test_an_order_of_somebody_who_has_logged_out_leads_to_the_login(shopper: Open) -> None:
    page = shopper("leaver")
    order(page, f"action=alone&goodsId={CUPS}")
    other = page.context.new_page()
    other.goto("/orders")

    other.get_by_role("button", name="Log out").click()

    headline(page, "Log in")


def test_a_login_is_asked_for_once_at_a_time(chromium: Browser, stack: Stack) -> None:
    """Of two answers, the later one would take the session of the first away."""
    with chromium.new_page(locale="en", base_url=stack.mall) as page:
        asked: list[Route] = []
        page.route("**/login/check", lambda route: asked.append(route))
        with page.expect_request("**/login/check"):
            page.goto("/login?next=/orders")

        for hidden in (True, False):
            hide(page, hidden=hidden)
        page.wait_for_timeout(1000)

        assert len(asked) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_is_accessible(stack: Stack, shopper: Open, scheme: Any) -> None:
    page = shopper(f"reader-{scheme}".ljust(64, "x"))
    page.emulate_media(color_scheme=scheme)
    number = order(page, f"action=open&goodsId={ORANGES}")
    query = f"action=open&goodsId={CUPS}"
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    paths = ["/", f"/goods/{BOOK}", f"/checkout?{query}", f"/orders/{number}", "/orders",
             "/messages", f"/paid?out_trade_no={number}", "/login", "/phone?ticket=x"]  # fmt: skip
    for language in ("zh-hans", "en"):
        page.set_extra_http_headers({"Accept-Language": language})
        for path in paths:
            page.goto(path)
            for size in (PHONE, DESKTOP):
                page.set_viewport_size(size)  # type: ignore[arg-type]
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            found = Axe().run(page, options=RULES)
            assert found.violations_count == 0, path + found.generate_report()
    assert errors == []
