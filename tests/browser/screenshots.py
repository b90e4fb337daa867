"""make screenshots: the pages as docs/ shows them, in both languages and widths.

No test: its name keeps it out of the suite.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import Page

from tests.browser.conftest import DESKTOP, PHONE
from tests.pages.scenes import SCENES, Scene

SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
pytestmark = pytest.mark.django_db(transaction=True)


def demo(now: datetime) -> Scene:
    url = "http://127.0.0.1/notify"
    call_command("seed_demo", refund_url=url, teams=url, verbosity=0)
    return Scene("/o/s01/c01", "", "")


SHOWN = {
    "wall": demo,
    "offer": SCENES["offer_open_with_teams"],
    "team": SCENES["my_team_forming"],
    "order": SCENES["order_my_team_complete"],
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_take(name: str, language: str, phone: Callable[..., Page]) -> None:
    at = SHOWN[name](timezone.now())
    for size in (PHONE, DESKTOP):
        scheme = "dark" if (name, size) == ("order", DESKTOP) else "light"
        page = phone(at.user_id, language=language, viewport=size, color_scheme=scheme)
        page.goto(at.path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=SHOTS / f"{name}-{language}-{size['width']}.png")
