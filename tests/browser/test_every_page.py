"""Every state in both languages: fits a phone and a desktop, accessible, and without an error."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from activity.models import Sku
from groupbuy.models import Channel
from groupbuy_client import Pages
from tests.browser.conftest import DESKTOP, PHONE
from tests.pages.scenes import ME, OTHERS, SCENES

pytestmark = pytest.mark.django_db(transaction=True)
# As the guidelines for web content (WCAG 2.2 AA) ask, and axe's own advice.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
SMALL = """() => [...document.querySelectorAll("main a, main button, header a, header button")]
  .filter(each => each.offsetParent && !each.closest("p:not(.also):not(.next)"))
  .map(each => [each.textContent.trim(), each.getBoundingClientRect().height])
  .filter(([, height]) => height < 44)"""

CUT_OFF = """(width) => [...document.querySelectorAll("main *, .foot *")]
  .filter(each => each.offsetParent && !each.closest(".unseen"))
  .filter(each => each.getBoundingClientRect().right > width)
  .map(each => each.textContent.trim())"""


def assert_it_fits_and_is_accessible(page: Page) -> None:
    """Assert it on a phone and a desktop, in both colour schemes."""
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate(SMALL) == []
    for scheme, options in (("light", RULES), ("dark", CONTRAST)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(page, options=options)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", [*SCENES, *OTHERS])
def test_a_page_fits_and_is_accessible(name: str, phone: Callable[..., Page]) -> None:
    at = (SCENES | OTHERS)[name](timezone.now())
    page = phone(at.user_id)
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    for language in ("zh-hans", "en"):
        page.set_extra_http_headers({"Accept-Language": language})
        page.goto(at.path)
        assert_it_fits_and_is_accessible(page)
    assert errors == []


def test_a_page_keeps_clear_of_a_notch(phone: Callable[..., Page]) -> None:
    at = SCENES["offer_open"](timezone.now())
    page = phone(viewport={"width": 844, "height": 390})
    page.goto(at.path)
    insets = {"insets": {"left": 47, "leftMax": 47, "right": 47, "rightMax": 47}}

    page.context.new_cdp_session(page).send("Emulation.setSafeAreaInsetsOverride", insets)

    for each in page.locator(".brand, .picture, .main, .foot p").all():
        box = each.bounding_box()
        assert box is not None
        assert 47 < box["x"] < box["x"] + box["width"] < 844 - 47


@pytest.mark.parametrize(("height", "position"), [(720, "static"), (900, "sticky")])
def test_a_column_stays_only_on_a_screen_that_can_show_all_of_it(
    height: int, position: str, phone: Callable[..., Page]
) -> None:
    at = SCENES["offer_open_with_teams"](timezone.now())
    page = phone(at.user_id, viewport={"width": 1280, "height": height})
    page.goto(at.path)

    expect(page.locator(".right")).to_have_css("position", position)


@pytest.mark.parametrize("touch", [False, True])
def test_a_poster_is_pressed_only_where_fingers_do_it(
    touch: bool, phone: Callable[..., Page]
) -> None:
    at = OTHERS["poster"](timezone.now())
    page = phone(at.user_id, is_mobile=touch, has_touch=touch)
    page.goto(at.path)

    assert page.get_by_text("Press and hold the picture").is_visible() is touch


def test_a_panel_shows_that_it_is_over(phone: Callable[..., Page]) -> None:
    at = SCENES["team_failed"](timezone.now())
    page = phone()
    look = (
        "each => [getComputedStyle(each).backgroundColor, getComputedStyle(each.children[0]).color]"
    )
    page.goto(at.path)
    over = page.eval_on_selector(".panel", look)
    page.goto("/o/s01/c01/9890001")

    assert set(over).isdisjoint(page.eval_on_selector(".panel", look))


@pytest.mark.parametrize("name", ["offer_open", "my_order_given_back", "order_my_seat_unpaid"])
def test_long_words_fit_a_phone(name: str, phone: Callable[..., Page]) -> None:
    at = SCENES[name](timezone.now())
    Sku.objects.update(name="w" * 128, description="d" * 200)
    Channel.objects.update(name="s" * 60)

    for page, path in ((phone(ME), at.path), (phone(ME), "/o/s01/c01"), (phone(), "/my/s01/c01")):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        cut = page.evaluate(CUT_OFF, PHONE["width"])
        assert cut == []


def test_the_highest_price_fits_its_tile_on_a_phone(phone: Callable[..., Page]) -> None:
    at = OTHERS["wall"](timezone.now())
    Sku.objects.update(original_price=Decimal("9999999999.99"))
    page = phone()
    page.goto(at.path)

    assert "9,999,999,999.99" in page.inner_text(".wall s").replace("¥", "")
    wide = "tiles => tiles.filter(tile => tile.scrollWidth > tile.clientWidth).length"
    assert page.eval_on_selector_all(".wall a", wide) == 0


@pytest.mark.parametrize(
    ("path", "status", "heading"),
    [
        ("/nowhere", 404, "Page not found"),
        ("/t/unknown", 404, "There is no such team"),
        ("/o/s01/c01/unknown", 404, "There is no such offer"),
        ("/my/s01/c01", 403, "Please come from the shop"),
        ("/h/s01/c01?userId=x", 403, "This link is not complete"),
        ("/o/s01/c01/9890001/buy/open", 409, "No team can be opened here now"),
        ("/o/s01/c01/9890001/buy/alone", 200, "How to buy"),
        ("/static/errors/429.html", 200, "A moment, please"),
        ("/static/errors/500.html", 200, "Something went wrong"),
        ("/static/errors/503.html", 200, "Back in a moment"),
    ],
)
def test_a_problem_fits_and_is_accessible(
    path: str, status: int, heading: str, phone: Callable[..., Page]
) -> None:
    SCENES["offer_without_checkout"](timezone.now())
    Sku.objects.update(sold_out=True)
    page = phone()

    answer = page.goto(path)

    assert answer is not None
    assert answer.status == status
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    assert_it_fits_and_is_accessible(page)


def test_a_link_from_another_site_asks_for_confirmation(phone: Callable[..., Page]) -> None:
    SCENES["offer_open"](timezone.now())
    channel = Channel.objects.get()
    page = phone()
    page.goto("/")
    pages = Pages(page.url, channel.page_secret, source="s01", channel="c01")

    page.goto(pages.handover_url(ME, pages.orders_path()), referer="https://evil.example.com/")

    expect(page.get_by_role("heading", name="Are you wa***g?")).to_be_visible()
    assert_it_fits_and_is_accessible(page)
    page.get_by_role("button", name="Yes, I am wa***g").click()
    expect(page.get_by_role("heading", name="My orders")).to_be_visible()


def test_the_way_out_of_wechat_fits_and_is_accessible(phone: Callable[..., Page]) -> None:
    at = SCENES["my_seat_unpaid"](timezone.now())
    Channel.objects.update(pays_outside_wechat=True)
    page = phone(at.user_id, user_agent="Mozilla/5.0 MicroMessenger/8.0.50")

    page.goto(at.path)
    page.get_by_role("link", name="Pay ¥80").click()

    page.get_by_role("button", name="Copy the link").wait_for()
    assert page.locator("#link").input_value() == page.url
    assert_it_fits_and_is_accessible(page)


def test_the_keyboard_goes_from_top_to_bottom(phone: Callable[..., Page]) -> None:
    at = SCENES["team_joinable"](timezone.now())
    page = phone(at.user_id)
    page.goto(at.path)
    reached = []

    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))

    assert reached[0] == "Skip to the content"
    assert reached.index("中文") < reached.index("Join: ¥80") < reached.index("Buy alone: ¥100")
