"""Phones and desktops: Debian's Chromium, driven by Playwright, against a live server."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from groupbuy import channels
from groupbuy.models import Channel
from pages.shopper import sign_in

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

expect.set_options(timeout=120_000)  # machines are busy
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright has a loop in this thread


@pytest.fixture(scope="package")  # its event loop must not outlive these tests
def chromium() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium here: apt-get install chromium")
    if settings.DATABASES["default"]["ENGINE"].endswith("mysql"):
        pytest.skip("browsers look at the pages on SQLite; MariaDB shows them nothing else")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def phone(chromium: Browser, live_server: Any) -> Iterator[Callable[..., Page]]:
    """Open a browser of its own, as a shopper whom s01/c01 has handed over, or as nobody."""
    opened: list[BrowserContext] = []

    def open_one(user_id: str = "", *, language: str = "en", **options: Any) -> Page:
        options = {"viewport": PHONE, "locale": language, "base_url": live_server.url} | options
        context = chromium.new_context(**options)
        opened.append(context)
        if user_id:
            context.add_cookies(cookies_of(user_id, live_server.url))
        page = context.new_page()
        page.set_default_timeout(120_000)
        return page

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture
def till(live_server: Any) -> Callable[[], str]:
    """Give the channel a checkout URL that exists here; returns it."""

    def opened() -> str:
        Channel.objects.update(checkout_url=f"{live_server.url}/o/s01/c01")
        return f"{live_server.url}/o/s01/c01"

    return opened


def cookies_of(user_id: str, url: str) -> list[Any]:
    response = HttpResponse()
    channel = channels.find("s01", "c01")
    assert channel is not None
    sign_in(response, channel, user_id)
    return [
        {"name": name, "value": morsel.value, "url": url, "httpOnly": True, "sameSite": "Lax"}
        for name, morsel in response.cookies.items()
    ]
