"""Journeys of operators through the console, in both languages.

With the variable SCREENSHOTS, as make screenshots sets it, they leave pictures for docs/.
"""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.translation import gettext, override
from playwright.sync_api import Page, expect

from activity.discounts import Plan
from activity.models import Activity, Offer, Sku
from tests.browser.conftest import DESKTOP
from tests.factories import lock, make_activity, make_channel, make_promise, settle
from trade import expire
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db(transaction=True)
LANGUAGES = {"en": "en", "zh-CN": "zh-hans"}
SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"


class Desk:
    """The console of one operator; tests name texts in English, it finds them in its language."""

    def __init__(self, page: Page, language: str) -> None:
        self.page, self._language = page, language

    def say(self, text: str) -> str:
        with override(LANGUAGES[self._language]):
            return gettext(text)

    def open(self, path: str) -> None:
        self.page.goto(f"/admin/{path}")

    def follow(self, text: str) -> None:
        self.page.locator("#main, main, header, body").get_by_role(
            "link", name=self.say(text), exact=True
        ).first.click()

    def press(self, text: str) -> None:
        self.page.get_by_role("button", name=self.say(text), exact=True).first.click()

    def sees(self, text: str) -> None:
        expect(self.page.locator("body")).to_contain_text(self.say(text))

    def find(self, term: str) -> None:
        box = self.page.locator("input[name=q]").first
        box.fill(term)
        box.press("Enter")

    def save(self) -> None:
        self.page.locator("[name=_save]").first.click()

    def add_beside(self, field: str, **values: str) -> None:
        """Add what a field refers to, in the window that the menu beside the field opens."""
        self.page.locator(f"[data-id=related-widget-wrapper-{field}] [x-on\\:click]").click()
        with self.page.expect_popup() as opened:
            self.page.locator(f"#add_id_{field}").click()
        window = opened.value
        for name, value in values.items():
            box = window.locator(f"[name={name}]")
            box.select_option(value) if name == "plan" else box.fill(value)
        with window.expect_event("close"):
            window.locator("[name=_save]").first.click()

    def keep(self, name: str) -> None:
        if "SCREENSHOTS" in os.environ:
            self.page.wait_for_load_state("networkidle")
            self.page.screenshot(path=SHOTS / f"journey-{name}-{self._language[:2]}-1280.png")


@pytest.fixture(params=LANGUAGES)
def desk_of(request: Any, phone: Callable[..., Page], live_server: Any) -> Callable[[User], Desk]:
    """Open the desk of a user."""

    def sit_down(user: User) -> Desk:
        client = Client()
        client.force_login(user)
        page = phone(language=request.param, viewport=DESKTOP)
        session = client.cookies["sessionid"].value
        cookie: Any = {"name": "sessionid", "value": session, "url": live_server.url}
        page.context.add_cookies([cookie])
        return Desk(page, request.param)

    return sit_down


@pytest.fixture
def desk(desk_of: Callable[[User], Desk]) -> Desk:
    return desk_of(User.objects.create_superuser("operator"))


def test_launch_a_campaign_from_nothing(desk: Desk) -> None:
    channel, page = make_channel(), desk.page
    desk.open("activity/activity/add/")
    page.locator("[name=name]").fill("Tea in teams")
    desk.add_beside("discount", name="20 less", expression="20", plan=Plan.MINUS)
    now = timezone.localtime()
    for name, moment in (("start_at", now), ("end_at", now + timedelta(days=7))):
        page.locator(f"[name={name}_0]").fill(f"{moment:%Y-%m-%d}")
        page.locator(f"[name={name}_1]").fill(f"{moment:%H:%M:%S}")
    page.locator("[name=target_count]").fill("2")
    page.locator("[name=valid_minutes]").fill("60")
    page.locator("[name=offers-0-channel]").select_option(str(channel.pk))
    desk.add_beside("offers-0-sku", goods_id="77001", name="Tea", original_price="100")
    desk.save()
    page.wait_for_url("**/change/")
    expect(page.locator("body")).to_contain_text("100.00 → 80.00")
    desk.follow("Publish")
    desk.page.wait_for_url("**/publish/")
    desk.keep("publish")
    page.locator("main button[type=submit], .tool button[type=submit]").last.click()
    page.wait_for_url("**/change/")

    assert Activity.objects.get().status == Activity.Status.IN_EFFECT
    assert Offer.objects.get().channel == channel
    page.goto("/o/s01/c01/77001")
    expect(page.locator("body")).to_contain_text("¥80")


def test_find_out_why_a_customer_did_not_get_the_goods(desk: Desk) -> None:
    now = timezone.now()
    make_activity(start_at=now - timedelta(hours=1), end_at=now + timedelta(days=1))
    lock("customer", out_trade_no="Mall-77", now=now)
    settle("customer", out_trade_no="Mall-77", paid_at=now, now=now)
    Team.objects.update(expires_at=now - timedelta(hours=1))
    assert expire.end_overdue_teams(clock=timezone.now) == 1

    desk.open("")
    desk.find("Mall-77")

    desk.page.wait_for_url("**/trade/order/*/change/")
    desk.sees("closed, the money goes back")
    desk.sees("Why could somebody not join?")
    desk.keep("order")
    desk.follow("All orders of this shopper")
    expect(desk.page.locator("#result_list")).to_contain_text("Mall-77")


def test_a_mall_is_down(desk: Desk) -> None:
    make_activity()
    given_up = {"state": NotifyTask.State.GIVEN_UP, "next_attempt_at": None, "attempts": 8}
    an_hour_ago = timezone.now() - timedelta(hours=1)
    make_promise("n-1", endpoint="mall.example.com:https", created_at=an_hour_ago, **given_up)

    desk.open("")
    desk.page.locator("a[href*=replay]").first.click()
    desk.page.locator("[name=reason]").fill("the mall is back")
    desk.press("Count")
    expect(desk.page.get_by_role("button", name=desk.say("Send them again"))).to_be_visible()
    desk.keep("mall-down")
    desk.press("Send them again")

    desk.page.wait_for_url("**/trade/notifytask/")
    assert NotifyTask.objects.get().state == NotifyTask.State.NEW


def test_close_a_campaign_early(desk: Desk) -> None:
    now = timezone.now()
    activity = make_activity(start_at=now - timedelta(hours=1), end_at=now + timedelta(days=1))
    lock("a", now=now)
    settle("a", now=now, paid_at=now)

    desk.open(f"activity/activity/{activity.pk}/change/")
    desk.page.locator("a[href$='/close-now/']").first.click()
    expect(desk.page.locator("body")).to_contain_text(re.compile("¥80.00"))
    desk.page.locator("[name=reason]").fill("sold out")
    desk.keep("close")
    desk.press("Close the activity and give the money back now")
    desk.page.wait_for_url("**/change/")
    assert expire.fail_teams_of_closed(clock=timezone.now) == 1

    order = Order.objects.get()
    desk.open(f"trade/order/{order.pk}/change/")
    desk.sees("closed, the money goes back")
    activity.refresh_from_db()
    assert activity.status == Activity.Status.ABANDONED


def test_a_price_waits_for_a_second_person(
    desk: Desk, desk_of: Callable[[User], Desk], settings: Any
) -> None:
    settings.SECOND_PERSON = ["price"]
    make_activity()
    second = desk_of(User.objects.create_superuser("second"))

    desk.open(f"activity/sku/{Sku.objects.get().pk}/change/")
    desk.page.locator("[name=original_price]").fill("120")
    desk.page.locator("[name=reason]").fill("dearer coffee")
    desk.save()
    desk.sees("Nothing has changed yet: somebody else has to confirm it.")
    expect(desk.page.get_by_role("button", name=desk.say("Confirm"), exact=True)).to_have_count(0)
    assert Sku.objects.get().original_price == 100

    second.open("")
    second.page.locator("a[href*='groupbuy/proposal/?state=waiting']").first.click()
    second.page.locator("#result_list tbody a").first.click()
    expect(second.page.locator("body")).to_contain_text("dearer coffee")
    second.keep("second-person")
    second.press("Confirm")
    second.sees("The change was made.")
    assert Sku.objects.get().original_price == 120
