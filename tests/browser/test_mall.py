"""The whole stack of `make run`: shoppers log in, buy in the mall and get their money back."""

import json
import re
from collections.abc import Callable, Iterator
from urllib.request import ProxyHandler, build_opener

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.stack import embedded

BOOK, TARGET = "9890001", 3
Open = Callable[[str], Page]


@pytest.fixture(scope="module")
def stack(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of platform, mall and pretend Alipay."""
    with embedded(tmp_path_factory.mktemp("stack")) as (platform, found):
        yield {"platform": platform, "mall": found["mall"], "alipay": found["alipay"]}


@pytest.fixture
def shopper(chromium: Browser, stack: dict[str, str]) -> Iterator[Open]:
    """A browser whose shopper has logged in with the pretend phone."""
    contexts = []

    def log_in(name: str) -> Page:
        context = chromium.new_context(locale="en", base_url=stack["mall"])
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


def pay(page: Page, price: str) -> str:
    """Pay at the checkout and wait for the order's page. Returns the order's number."""
    page.get_by_role("button", name=f"Order for ¥{price}").click()
    number = page.url.rsplit("/", 1)[-1]
    page.get_by_role("button", name=f"Pay ¥{price} with Alipay").click()
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_role("heading", name="Your payment has arrived")).to_be_visible()
    page.get_by_role("link", name="To your order").click()
    return number


def headline(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1, name=text)).to_be_visible()


def books(stack: dict[str, str]) -> dict[str, dict[str, str]]:
    """Amounts that the pretend Alipay took and returned, by order."""
    opener = build_opener(ProxyHandler({}))
    with opener.open(f"{stack['alipay']}/books") as answer:
        found = json.load(answer)
    paid = {row["trade_no"]: row for row in found["paid"]}
    return {
        "paid": {row["out_trade_no"]: row["amount"] for row in found["paid"]},
        "returned": {
            paid[row["trade_no"]]["out_trade_no"]: row["amount"] for row in found["returned"]
        },
    }


def test_three_shoppers_buy_one_team_and_one_gives_back(
    stack: dict[str, str], shopper: Open
) -> None:
    leader = shopper("leader")
    leader.goto(f"/goods/{BOOK}")
    leader.get_by_role("link", name="Open a team").click()
    numbers = [pay(leader, "80.00")]
    headline(leader, "Paid")
    leader.get_by_role("link", name="See your team and invite").click()
    expect(leader).to_have_url(re.compile(f"^{stack['platform']}/"))  # handed over
    link = leader.get_by_label("Your team's link").input_value()

    for number in range(2, TARGET + 1):
        friend = shopper(f"friend{number}")
        friend.goto(link)
        friend.get_by_role("link", name=re.compile("^Join: ¥80")).click()
        numbers.append(pay(friend, "80.00"))
    headline(friend, "Sent to you")
    leader.goto(f"{stack['mall']}/orders/{numbers[0]}")
    headline(leader, "Sent to you")

    friend.get_by_text("Give this order back").click()
    friend.get_by_role("button", name="Give it back").click()
    headline(friend, "Your money is back")
    assert books(stack) == {
        "paid": dict.fromkeys(numbers, "80.00"),
        "returned": {numbers[-1]: "80.00"},
    }
    friend.goto("/messages")
    kinds = friend.locator("main li b").all_inner_texts()
    assert kinds == ["Your money is back", "Your order is cancelled", "Your team is complete",
                     "You have joined a team"]  # fmt: skip


def test_alone_paid_without_a_notification(stack: dict[str, str], shopper: Open) -> None:
    """The return page has Alipay asked, so a lost notification delays nothing."""
    build_opener(ProxyHandler({})).open(f"{stack['alipay']}/knobs", b"lose=on").close()
    page = shopper("alone")
    page.goto("/checkout?action=alone&goodsId=9890003")
    number = pay(page, "128.00")
    headline(page, "Sent to you")
    assert books(stack)["paid"][number] == "128.00"


def test_the_checkout_of_the_platforms_pages_leads_here(
    stack: dict[str, str], shopper: Open
) -> None:
    page = shopper("visitor")
    page.goto(f"{stack['platform']}/o/s01/c01/9890003")
    page.get_by_role("link", name="Open a team").first.click()
    expect(page).to_have_url(re.compile(f"^{stack['mall']}/checkout"))
    headline(page, "Checkout")
