"""mall.js and mall.css in a browser: rendered pages, with answers and a clock of the test's."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from mall import wechat
from mall.models import Goods
from tests.conftest import Place
from tests.platform import Platform

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
STATIC = Path(__file__).parent.parent / "static"
pytestmark = pytest.mark.django_db
Show = Callable[..., Any]


@pytest.fixture(scope="module")  # its event loop must not outlive these tests
def chromium() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium here: apt-get install chromium")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright has a loop in this thread
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    """Opens an answer of the mall; every request of its script gets the given JSON."""
    opened = []

    def open_page(answer: HttpResponse, polled: Any = None, **options: Any) -> Any:
        def serve(route: Any) -> None:
            path = route.request.url.removeprefix("http://mall.test/")
            if path.startswith("static/"):
                route.fulfill(path=STATIC / path.removeprefix("static/"))
            elif path == "page":
                route.fulfill(body=answer.content, headers=dict(answer.items()))
            elif route.request.resource_type == "image":
                route.fulfill(path=STATIC / "mall.svg")
            elif polled is not None:
                page.polls.append(path)
                route.fulfill(json=polled)

        page = chromium.new_page(**options)
        opened.append(page)
        page.polls = []
        page.clock.install()
        page.route("**/*", serve)
        page.goto("http://mall.test/page")
        return page

    yield open_page
    for page in opened:
        page.close()


def test_the_time_left_is_written_once_a_second(browser: Client, place: Place, show: Show) -> None:
    page = show(browser.get(f"/orders/{place().number}"))
    page.evaluate(
        """() => {
            window.writes = 0;
            const watch = new MutationObserver((list) => { window.writes += list.length; });
            watch.observe(document.querySelector("[data-until]"), { childList: true });
        }"""
    )
    page.clock.run_for(4000)
    assert 3 <= page.evaluate("window.writes") <= 5  # the script looks twice a second


def test_a_long_wait_for_alipay_says_so(visitor: Client, place: Place, show: Show) -> None:
    answer = visitor.get("/paid", {"out_trade_no": place().number})
    page = show(answer, {"state": "waiting"})
    late = page.get_by_role("status").get_by_text("This takes longer than usual.")
    for pause in (2, 3, 5, 8, 10):
        expect(late).to_be_hidden()
        with page.expect_response("**/paid/state**"):
            page.clock.run_for(pause * 1000)
    expect(late).to_be_visible()


def test_a_form_is_sent_once_until_it_may_be_sent_again(
    browser: Client, goods: Goods, show: Show
) -> None:
    page = show(browser.get("/checkout", {"action": "alone", "goodsId": goods.pk}))
    page.evaluate(
        """() => document.addEventListener("submit", (event) => {
            window.sent = (window.sent || 0) + !event.defaultPrevented;
            event.preventDefault();  // loading is stopped
        })"""
    )
    order = page.get_by_role("button", name="Order for ¥100.00")
    for sent in (1, 2):
        order.click()
        expect(order).to_have_attribute("aria-busy", "true")
        order.click()
        assert page.evaluate("window.sent") == sent
        page.clock.run_for(15_000)
        expect(order).not_to_have_attribute("aria-busy", "true")


def test_a_code_is_polled_at_a_steady_pace_and_hidden_when_it_has_expired(
    visitor: Client, show: Show, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WECHAT_APP_ID = "wx"
    monkeypatch.setattr(wechat, "draw", lambda *_: "drawn")
    answered = {"state": "waiting", "next": "/"}
    page = show(visitor.get("/login"), answered)
    for _ in range(6):
        with page.expect_response("**/login/check"):
            page.clock.run_for(3000)
    expect(page.locator(".code")).to_be_visible()
    expect(page.get_by_text("press and hold")).to_be_hidden()
    phone = show(visitor.get("/login"), has_touch=True, is_mobile=True)
    expect(phone.get_by_text("press and hold")).to_be_visible()

    answered["state"] = "expired"
    page.clock.run_for(3000)

    expect(page.get_by_role("link", name="A new code")).to_be_visible()
    expect(page.locator(".code")).to_be_hidden()
    page.clock.run_for(30_000)
    assert len(page.polls) == 7


def test_nothing_lies_below_a_notch(visitor: Client, goods: Goods, show: Show) -> None:
    page = show(visitor.get("/"), viewport={"width": 844, "height": 390})
    insets = {"left": 47, "right": 47, "bottom": 21}
    page.context.new_cdp_session(page).send(
        "Emulation.setSafeAreaInsetsOverride", {"insets": insets}
    )
    for part in (".top", "main", ".foot"):
        style = page.locator(part).evaluate(
            "(each) => [getComputedStyle(each).paddingLeft, getComputedStyle(each).paddingRight]"
        )
        assert style == ["47px", "47px"]
    assert page.locator(".foot").evaluate("(it) => getComputedStyle(it).paddingBottom") == "37px"


def test_a_picture_is_rounded_as_its_frame(
    visitor: Client, goods: Goods, platform: Platform, show: Show
) -> None:
    svg = (STATIC.parent / "../../static/goods/9890001.svg").read_text("utf-8")
    corner = re.search(r'<rect width="400" height="400" rx="(\d+)"', svg)
    frame = show(visitor.get("/goods/9890001")).locator(".two .picture")
    radius = frame.evaluate("(each) => getComputedStyle(each).borderRadius")
    assert corner is not None
    assert radius == f"{int(corner[1]) / 4:g}%"
