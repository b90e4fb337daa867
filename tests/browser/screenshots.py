"""make screenshots: the pages as docs/ shows them, and the demo's drawings as posters read them.

No test: its name keeps it out of the suite.
"""

from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import DESKTOP, PHONE
from tests.pages.scenes import OTHERS, SCENES, Scene

ROOT = Path(__file__).parents[2]
SHOTS, GOODS = ROOT / "docs" / "screenshots", ROOT / "static" / "goods"
pytestmark = pytest.mark.django_db(transaction=True)


def demo(now: datetime) -> Scene:
    url = "http://127.0.0.1/notify"
    call_command("seed_demo", refund_url=url, teams=url, verbosity=0)
    return Scene("/o/s01/c01", "", "")


SHOWN = {
    "wall": demo,
    "offer": SCENES["offer_open_with_teams"],
    "team": SCENES["my_team_forming"],
    "poster": OTHERS["poster"],
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


@pytest.mark.parametrize("drawing", sorted(GOODS.glob("*.svg")), ids=lambda path: path.stem)
def test_draw(drawing: Path, phone: Callable[..., Page]) -> None:
    """A WebP beside each SVG, which Pillow cannot read; its corners are square."""
    page = phone(viewport={"width": 640, "height": 640})
    style = "<style>* { margin: 0 } svg { width: 640px; height: 640px; display: block }</style>"
    page.set_content(style + drawing.read_text("utf-8").replace('rx="36"', "", 1))
    image = Image.open(BytesIO(page.screenshot()))
    image.save(drawing.with_suffix(".webp"), quality=86, method=6)
