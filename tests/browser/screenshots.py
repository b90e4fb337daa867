"""make screenshots: pictures of pages and console for docs/, and the demo's drawings for posters.

Its name keeps it out of the test suite.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page

from activity.models import Offer
from tests.browser.conftest import DESKTOP, PHONE
from tests.pages.scenes import OTHERS, SCENES, Scene
from trade.figures import sums
from trade.forecast import report
from trade.models import Forecast, Order

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


def test_take_the_console(phone: Callable[..., Page], live_server: Any) -> None:
    """Take the console with thirty days of the demo's history."""
    now = timezone.now()
    url = "http://127.0.0.1:9/notify"
    call_command("seed_demo", refund_url=url, history=url, verbosity=0)
    sums.keep(clock=timezone.now)
    order = Order.objects.filter(status=Order.Status.CLOSED).exclude(paid_at=None).latest("pk")
    pages = {
        "console-home": "",
        "console-order": f"trade/order/{order.pk}/change/",
        "console-activity": f"activity/activity/{order.activity_id}/change/",
        "console-forecast": f"trade/forecast/{make_forecast(now).pk}/change/",
    }
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    cookie: Any = {
        "name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url,
    }  # fmt: skip
    for language, size in product(["en", "zh"], [PHONE, DESKTOP]):
        page = phone(language=language, viewport=size | {"height": 1000})
        page.context.add_cookies([cookie])
        for name, path in pages.items():
            page.goto(f"/admin/{path}")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=SHOTS / f"{name}-{language}-{size['width']}.png")


def make_forecast(now: datetime) -> Forecast:
    """Make a forecast from the last thirty days of coffee beans."""
    offer = Offer.objects.select_related("activity", "sku").get(
        sku__goods_id="9890002", channel__source="s01"
    )
    guesses = report.guesses(offer, now)
    start = now - timedelta(days=30)
    forecast = Forecast(offer=offer, created_at=start, days=30, unit_cost=Decimal(35), **guesses)
    report.fill(forecast)
    forecast.starts_at = start
    forecast.save()
    return forecast


@pytest.mark.parametrize("drawing", sorted(GOODS.glob("*.svg")), ids=lambda path: path.stem)
def test_draw(drawing: Path, phone: Callable[..., Page]) -> None:
    """Draw a WebP beside each SVG, which Pillow cannot read; its corners are square."""
    page = phone(viewport={"width": 640, "height": 640})
    style = "<style>* { margin: 0 } svg { width: 640px; height: 640px; display: block }</style>"
    page.set_content(style + drawing.read_text("utf-8").replace('rx="36"', "", 1))
    image = Image.open(BytesIO(page.screenshot()))
    image.save(drawing.with_suffix(".webp"), quality=86, method=6)
