"""Shoppers who go back, open a page twice, tap twice, or follow a link that is no longer valid."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from playwright.sync_api import Page, expect

from groupbuy.models import Channel
from groupbuy_client import Pages
from tests import factories
from tests.browser.test_live import HEADLINE, pay
from tests.pages.scenes import ME, MINUTE, NAMES, OFFER, SCENES, code_of, offer_at, team_at
from trade.models import Order

pytestmark = pytest.mark.django_db(transaction=True)
Phone = Callable[..., Page]


@pytest.fixture
def mall(live_server: Any) -> Pages:
    """A client that makes the mall's hand-over links; the scene's offer exists."""
    offer_at(timezone.now())
    secret = Channel.objects.get().page_secret
    return Pages(live_server.url, secret, source="s01", channel="c01")


def test_the_back_button_leads_to_the_team_as_it_is_now(phone: Phone) -> None:
    offer_at(timezone.now())
    team = team_at(timezone.now(), ME)
    page = phone(ME)
    page.goto(f"/t/{code_of(team, ME)}")
    page.get_by_role("link", name="See my order").click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()

    pay(ME)
    page.go_back()

    expect(page.locator(HEADLINE)).to_have_text("2 more people needed")


def test_back_from_the_checkout_after_paying(phone: Phone, till: Callable[[], str]) -> None:
    offer_at(timezone.now())
    checkout = till()
    team_at(timezone.now(), ME)
    page = phone(ME)
    page.goto(OFFER)
    page.get_by_role("link", name="Pay ¥80").click()
    page.wait_for_url(f"{checkout}?action=pay&**")

    pay(ME)
    page.go_back()

    expect(page.locator(HEADLINE)).to_have_text("You are in: 2 payments to go")
    expect(page.get_by_role("link", name="Pay ¥80")).to_have_count(0)


def test_a_page_that_comes_back_from_the_history_polls_at_once(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now - MINUTE, NAMES[1], paid=1)
    page = phone()
    page.clock.install(time=now)
    page.goto(f"/t/{code_of(team, NAMES[1])}")
    factories.lock(NAMES[2], now=timezone.now(), team_id=str(team.pk))

    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.clock.run_for(100)

    expect(page.locator(HEADLINE)).to_have_text("1 more person needed")


@pytest.mark.parametrize("leaves", [False, True])
def test_the_list_of_orders_comes_back_as_it_is_now(phone: Phone, leaves: bool) -> None:
    offer_at(timezone.now())
    team_at(timezone.now(), ME)
    page = phone(ME)
    page.goto("/my/s01/c01")
    expect(page.locator(".how")).to_contain_text("To be paid")

    if leaves:
        page.context.clear_cookies()
    else:
        pay(ME)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

    if leaves:
        expect(page.get_by_role("heading", name="Please come from the shop")).to_be_visible()
    else:
        expect(page.locator(".how")).to_contain_text("Waiting for the team")


def test_two_tabs_show_the_same(phone: Phone) -> None:
    now = timezone.now()
    offer_at(now)
    team = team_at(now, ME)
    one = phone(ME)
    one.goto(f"/t/{code_of(team, ME)}")
    other = one.context.new_page()
    other.goto(f"/t/{code_of(team, ME)}/order")

    pay(ME)

    for page in (one, other):
        expect(page.locator(HEADLINE)).to_have_text("2 more people needed")


def test_a_form_is_sent_once(phone: Phone) -> None:
    at = SCENES["team_joinable"](timezone.now())
    page = phone()
    page.goto(at.path)

    prevented = page.evaluate(
        """() => {
          const form = document.querySelector("header form"), seen = [];
          form.addEventListener("submit", () => setTimeout(() => {}, 0));
          addEventListener("submit", (event) => {
            seen.push(event.defaultPrevented); event.preventDefault(); });
          form.requestSubmit(); form.requestSubmit();
          return seen;
        }"""
    )

    assert prevented == [False, True]


@pytest.mark.parametrize("name", ["Open a team: ¥80", "Buy alone: ¥100"])
def test_a_double_tap_leads_to_the_checkout_once(
    phone: Phone, till: Callable[[], str], name: str
) -> None:
    offer_at(timezone.now())
    checkout = till()
    page = phone(ME)
    page.goto(OFFER)

    page.get_by_role("link", name=name).dblclick()

    page.wait_for_url(f"{checkout}?action=**")
    assert Order.objects.count() == 0


def test_a_handover_tapped_twice_opens_the_page(phone: Phone, mall: Pages) -> None:
    link, page = mall.handover_url(ME, mall.orders_path()), phone()

    for _ in range(2):
        page.goto(link)

        expect(page.get_by_role("heading", name="My orders")).to_be_visible()
        assert page.url.endswith("/my/s01/c01")  # nothing of the link is left
    stranger = phone()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="This link was used before")).to_be_visible()


def test_an_expired_handover_leads_back_to_the_shop(phone: Phone, mall: Pages) -> None:
    with time_machine.travel(timezone.now() - timedelta(minutes=6)):
        link = mall.handover_url(ME, mall.orders_path())
    page = phone()

    answer = page.goto(link)

    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_role("heading", name="This link has expired")).to_be_visible()
    way = page.get_by_role("link", name="To 小书店")
    assert way.get_attribute("href") == "https://mall.example.com/"
    page.get_by_role("link", name="See all offers").click()
    expect(page.get_by_role("heading", name="Buy together")).to_be_visible()
    expect(page.get_by_text("You are looking around as a guest")).to_be_visible()
