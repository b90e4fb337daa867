"""Every state in both languages: fits a phone and a desktop, accessible, and without an error."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page

from groupbuy.models import Channel
from tests.browser.conftest import DESKTOP, PHONE
from tests.pages.scenes import OTHERS, SCENES

pytestmark = pytest.mark.django_db(transaction=True)
# As the guidelines for web content (WCAG 2.2 AA) ask, and axe's own advice.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
SMALL = """() => [...document.querySelectorAll("main a, main button, header a, header button")]
  .filter(each => each.offsetParent && !each.closest("p:not(.also):not(.next)"))
  .map(each => [each.textContent.trim(), each.getBoundingClientRect().height])
  .filter(([, height]) => height < 44)"""


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
        for size in (PHONE, DESKTOP):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            assert page.evaluate(SMALL) == []
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
    page.emulate_media(color_scheme="dark")
    found = Axe().run(page, options={"runOnly": {"type": "rule", "values": ["color-contrast"]}})
    assert found.violations_count == 0, found.generate_report()
    assert errors == []


def test_the_way_out_of_wechat_fits_and_is_accessible(phone: Callable[..., Page]) -> None:
    at = SCENES["my_seat_unpaid"](timezone.now())
    Channel.objects.update(pays_outside_wechat=True)
    page = phone(at.user_id, user_agent="Mozilla/5.0 MicroMessenger/8.0.50")

    page.goto(at.path)
    page.get_by_role("link", name="Pay ¥80").click()

    page.get_by_role("button", name="Copy the link").wait_for()
    assert page.locator("#link").input_value() == page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(SMALL) == []
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


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
