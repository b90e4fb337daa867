"""Pages of the console on a phone and on a desktop, in both languages and both colour schemes."""

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from groupbuy.history import log_act
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.screenshots import make_forecast
from tests.browser.test_every_page import CONTRAST
from tests.factories import lock, make_activity, make_channel, make_promise, settle
from trade.models import NotifyTask, Order

pytestmark = pytest.mark.django_db(transaction=True)
Open = Callable[..., Page]


@pytest.fixture
def signed_in(phone: Open, live_server: Any, problems: list[str]) -> Open:
    """Open a page of the console as a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    session = client.cookies["sessionid"].value

    def open_one(path: str, **options: Any) -> Page:
        page = phone(**options)
        cookie: Any = {"name": "sessionid", "value": session, "url": live_server.url}
        page.context.add_cookies([cookie])
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return page

    return open_one


@pytest.fixture
def problems() -> list[str]:
    """The browser's error messages, such as for a script that the headers forbid."""
    return []


def trade() -> dict[str, str]:
    """Make some rows; return the paths of their pages."""
    now = timezone.now()
    end = now + timedelta(days=1)
    activity = make_activity(start_at=now - timedelta(hours=1), end_at=end)
    order = lock("a-shopper-with-a-long-name", now=now, out_trade_no="Mall-Order-2026-0000000001")
    settle(order.user_id, now=now, paid_at=now, out_trade_no=order.out_trade_no)
    url = "https://mall.example.com/a/long/path/of/a/callback/of/this/mall"
    error = "answered 503 Service Unavailable after 10 seconds of waiting"
    state = NotifyTask.State.GIVEN_UP
    given_up = {"state": state, "last_error": error, "next_attempt_at": None}
    promise = make_promise(f"team_success-{order.team_id}", target=url, **given_up)
    group, _new = Group.objects.get_or_create(name="viewer")
    return {
        "order": f"trade/order/{order.pk}/change/",
        "orders": "trade/order/",
        "nothing": "trade/order/?q=nothing",
        "team": f"trade/team/{order.team_id}/change/",
        "teams": "trade/team/",
        "found": "trade/order/find/?q=a",
        "notification": f"trade/notifytask/{promise.pk}/change/",
        "notifications": "trade/notifytask/",
        "activity": f"activity/activity/{activity.pk}/change/",
        "activity in English": f"activity/activity/{activity.pk}/change/",
        "copy": f"activity/activity/{activity.pk}/copy/",
        "calendar": "activity/activity/calendar/",
        "preview": f"preview/{activity.pk}/{activity.offers.get().pk}/?user_id={order.user_id}",
        "import": "activity/sku/import/",
        "exports": "exports/",
        "user": f"auth/user/{User.objects.get().pk}/change/",
        "group": f"auth/group/{group.pk}/change/",
        "channel": f"groupbuy/channel/{make_channel().pk}/change/",
        "switches": "groupbuy/switch/",
    }


NAMES = (
    *("order", "orders", "nothing", "team", "teams", "found", "notification", "notifications"),
    *("activity", "activity in English", "group", "channel", "switches", "user"),
    *("copy", "calendar", "preview", "import", "exports"),
)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_into_its_width(
    name: str, size: Any, signed_in: Open, problems: list[str]
) -> None:
    language = "en" if "English" in name else "zh-CN"
    page = signed_in(f"/admin/{trade()[name]}", viewport=size, language=language)

    wide = page.evaluate(
        "[...document.querySelectorAll('main *, #main *')].filter(e => e.scrollWidth > "
        "e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
        " && !e.matches('[role=region][tabindex]'))"
        ".map(e => `${e.tagName} ${e.className}`.slice(0, 80))"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert wide == []
    assert problems == []


ON_A_PHONE = {  # the cells of a row, without its checkbox
    "orders": ["out_trade_no", "user_id", "shown_status", "pay_price", "created_at"],
    "teams": ["id", "activity", "shown_status", "seats", "expires_at"],
    "notifications": ["key", "shown_event", "shown_state", "shown_error"],
}


@pytest.mark.parametrize("name", ON_A_PHONE)
def test_a_row_of_a_list_is_short_on_a_phone(name: str, signed_in: Open) -> None:
    page = signed_in(f"/admin/{trade()[name]}")
    [row] = page.locator("tr.data-row").all()
    shown = row.locator("[class*='field-']:visible").evaluate_all(
        "cells => cells.map(cell => cell.className.match(/field-(\\w+)/)[1])"
    )

    box = row.bounding_box()
    assert box is not None
    assert box["height"] < 120
    assert shown == ON_A_PHONE[name]


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_all_columns_of_a_forecast_are_seen_on_a_phone(signed_in: Open, language: str) -> None:
    make_activity(pk=100124, goods_id="9890002")
    forecast = make_forecast(timezone.now())
    page = signed_in(f"/admin/trade/forecast/{forecast.pk}/change/", language=language)

    widths = page.evaluate(
        "(box => [box.scrollWidth, box.clientWidth])(document.querySelector('.forecast-scroll'))"
    )
    assert widths[0] <= widths[1]


@pytest.mark.parametrize(("size", "shown"), [(PHONE, "flex"), (DESKTOP, "none")])
def test_the_history_names_its_columns_once(size: Any, shown: str, signed_in: Open) -> None:
    activity = make_activity()
    log_act(activity, "publish", "", user_id=User.objects.get().pk)
    page = signed_in(f"/admin/activity/activity/{activity.pk}/history/", viewport=size)

    label = "getComputedStyle(document.querySelector('td[data-label]'), '::before').display"
    assert page.evaluate(label) == shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(scheme: str, signed_in: Open) -> None:
    paths = {"": ""} | trade()
    page = signed_in("/admin/", viewport=DESKTOP, color_scheme=scheme)

    for name in ("", "order", "orders", "team", "activity", "notifications", "calendar"):
        page.goto(f"/admin/{paths[name]}")
        found = Axe().run(page, options=CONTRAST)
        assert found.violations_count == 0, found.generate_report()


def lightness(colour: str) -> float:
    """L* of rgb(…), 0 to 100."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return float(116 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 16)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/admin/activity/activity/calendar/", "/admin/"])
def test_no_two_parts_of_a_picture_differ_by_hue_alone(
    path: str, scheme: str, signed_in: Open
) -> None:
    trade()
    page = signed_in(path, viewport=DESKTOP, color_scheme=scheme)

    fills = "all => all.map(list => [...list.querySelectorAll('rect')].map("
    legends = page.locator(".legend").evaluate_all(fills + "e => getComputedStyle(e).fill))")
    assert sum(len(legend) > 1 for legend in legends) > (0 if "calendar" in path else 5)
    for legend in legends:
        assert len({*legend}) == len(legend)  # hatching: url("#…")
        solid = sorted(lightness(each) for each in legend if each.startswith("rgb"))
        assert all(darker + 12 < lighter for darker, lighter in pairwise(solid))


def test_a_long_name_is_whole_beside_the_buttons(signed_in: Open) -> None:
    activity = make_activity(name="A campaign whose name takes about half of the header's width")
    page = signed_in(f"/admin/activity/activity/{activity.pk}/change/", viewport=DESKTOP)

    cut = "parts => parts.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    assert page.locator("h1, h1 *").evaluate_all(cut) == []
    assert page.locator("h1").inner_text().endswith(activity.name)
    assert page.get_by_role("link", name="Pause").is_visible()


@pytest.mark.parametrize(
    ("name", "part"),
    [("", ".business nav a"), ("activity", ".campaign a"), ("orders", ".export button")],
)
def test_targets_are_large_on_a_phone(name: str, part: str, signed_in: Open) -> None:
    page = signed_in(f"/admin/{({'': ''} | trade())[name]}")

    heights = "all => all.map(each => each.getBoundingClientRect().height)"
    assert min(page.locator(part).evaluate_all(heights)) >= 44


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_the_name_of_a_row_has_the_title_bar_of_a_phone(signed_in: Open, language: str) -> None:
    page = signed_in(f"/admin/{trade()['activity']}", language=language)

    assert page.locator("h1 > :visible").count() == 1
    assert page.locator("#header-inner a:has-text('arrow_back')").is_visible()


def test_save_comes_before_delete_on_a_phone(signed_in: Open) -> None:
    page = signed_in(f"/admin/{trade()['activity']}")
    [save, delete] = (
        page.locator(selector).bounding_box()
        for selector in ("button[name=_save]", "#submit-row a[href$='/delete/']")
    )

    assert save is not None
    assert delete is not None
    assert save["y"] < delete["y"]


def test_the_search_box_leads_to_the_order(signed_in: Open) -> None:
    trade()
    page = signed_in("/admin/trade/team/", viewport=DESKTOP)
    box = page.get_by_label("Order, team, shopper, goods, notification")
    box.fill(Order.objects.get().out_trade_no)
    box.press("Enter")
    page.wait_for_url(f"**/trade/order/{Order.objects.get().pk}/change/")
