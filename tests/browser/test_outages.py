"""The pages while Redis, the worker or the database is down, on a stack of their own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from groupbuy_client import Client, Pages
from tests.sink import SUCCESS, Sink
from tests.stack import EMBEDDED, ROOT, Processes, Services, direct_session, free_port, web, worker

pytestmark = pytest.mark.chaos
BOOK, ACTIVITY = "9890001", 100123  # of the demo, in teams of three
HEADLINE = "[data-headline]"
SECRET = (
    "from groupbuy.models import Channel;"
    " print(Channel.objects.get(source='s01', channel='c01').page_secret)"
)


class Platform:
    """MariaDB, Redis, a web server and a worker; the mall's side of a purchase."""

    def __init__(self, directory: Path, callbacks: str) -> None:
        self.services = Services(directory / "services", "mariadb", "redis")
        self.port, self.callbacks = free_port(), callbacks
        variables = self.services.environment()
        self.environment = EMBEDDED | variables | {
            "VAR_DIR": str(directory),
            "CELERY_BROKER_URL": variables["REDIS_URL"],
            "AMQP_URL": "",
            "DEBUG": "false",
            "SECRET_KEY": "outages",
            "CALLBACK_NETWORKS": "127.0.0.0/8",
            "LOG_LEVEL": "CRITICAL",
        }  # fmt: skip
        commands = {"web": web(self.port, workers=1), "worker": worker()}
        self.processes = Processes(commands, self.environment, directory / "processes.log")

    def prepare(self) -> None:
        shutil.copytree(ROOT / "static", Path(self.environment["VAR_DIR"]) / "static")
        self._manage("migrate")
        self._manage("seed_demo", "--refund-url", self.callbacks)
        [key] = re.findall(r"gbm_\S+", self._manage("create_api_key", "s01", "c01"))
        url, secret = (
            f"http://127.0.0.1:{self.port}",
            self._manage("shell", "-v", "0", "-c", SECRET),
        )
        self.mall = Client(url, key, source="s01", channel="c01", session=direct_session)
        self.pages = Pages(url, secret.strip(), source="s01", channel="c01")

    def buy(self, user_id: str, team_id: str | None = None) -> str:
        """Lock and pay a seat; return its team's id. The order's number is the shopper's id."""
        order = {"user_id": user_id, "out_trade_no": user_id}
        seat = self.mall.lock(
            **order,
            goods_id=BOOK,
            activity_id=ACTIVITY,
            team_id=team_id,
            notify_url=self.callbacks,
        )
        self.mall.settle(**order, paid_at=datetime.now(UTC))
        return seat.team_id

    def _manage(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def callbacks() -> Iterator[str]:
    """The mall's URL. Its event loop has its own thread, as Playwright has one in this thread."""
    with ThreadPoolExecutor(1) as thread:
        mall = thread.submit(Sink, lambda request: SUCCESS).result()
        yield mall.url
        thread.submit(mall.stop).result()


@pytest.fixture(scope="module")
def platform(
    chromium: Browser, callbacks: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("outages"), callbacks)
    try:
        if platform.services.start():
            pytest.skip("MariaDB and Redis could not be installed")
        platform.prepare()
        with platform.processes.running():
            platform.processes.wait_until_up(platform.port)
            yield platform
    finally:
        platform.services.stop()


@pytest.fixture
def handed_over(chromium: Browser, platform: Platform) -> Iterator[Callable[[str], Page]]:
    """Open the page of a shopper's order by the mall's hand-over, in a new browser."""
    contexts = []

    def opened(user_id: str) -> Page:
        contexts.append(chromium.new_context(locale="en"))
        page = contexts[-1].new_page()
        page.goto(platform.pages.handover_url(user_id, platform.pages.order_path(user_id)))
        return page

    yield opened
    for context in contexts:
        context.close()


@contextmanager
def away(platform: Platform, name: str) -> Iterator[None]:
    """Crash a service for the block, then start it again."""
    platform.services.crash(name)
    try:
        yield
    finally:
        platform.services.restart(name)


def headline(page: Page, text: str) -> None:
    expect(page.locator(HEADLINE)).to_have_text(text)


def test_without_redis_shoppers_see_their_team_and_are_handed_over(
    chromium: Browser, platform: Platform, handed_over: Callable[[str], Page]
) -> None:
    team = platform.buy("anna")
    watched = handed_over("anna")
    watched.get_by_role("link", name="See the team").click()
    headline(watched, "2 more people needed")
    invitation = watched.locator("#link").input_value()

    with away(platform, "redis"):
        platform.buy("ben", team)

        headline(watched, "1 more person needed")
        friend = handed_over("ben")
        headline(friend, "1 more person needed")
        with chromium.new_page(locale="en") as guest:
            guest.goto(invitation)
            expect(guest.get_by_role("link", name="Join: ¥80")).to_be_visible()

    platform.buy("carl", team)
    headline(watched, "Your team is complete")


def test_without_the_worker_a_team_completes_and_a_refund_is_promised(
    platform: Platform, handed_over: Callable[[str], Page]
) -> None:
    team = platform.buy("dora")
    page = handed_over("dora")
    headline(page, "2 more people needed")
    platform.processes.crash("worker")

    for friend in ("emil", "fred"):
        platform.buy(friend, team)
    headline(page, "Your team is complete")
    platform.mall.refund(user_id="dora", out_trade_no="dora")

    headline(page, "Your order was cancelled")
    history = page.locator(".history")
    expect(history).to_contain_text("your refund was ordered")
    expect(history).not_to_contain_text("The shop was told to return your money")
    platform.processes.revive()
    expect(history).to_contain_text("The shop was told to return your money")


def test_without_the_database_pages_are_503_until_it_is_back(
    platform: Platform, handed_over: Callable[[str], Page]
) -> None:
    team = platform.buy("gina")
    page = handed_over("gina")
    other = page.context.new_page()
    other.goto(page.url)

    with away(platform, "mariadb"):
        expect(page.locator("#stale")).to_contain_text("Not up to date: this is how it stood at")
        headline(page, "2 more people needed")
        answer = other.reload()
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
        expect(other.get_by_role("heading", name="Back in a moment")).to_be_visible()
        expect(other.get_by_text("Your orders are safe")).to_be_visible()

    platform.buy("hugo", team)
    other.get_by_role("link", name="Try again").click()
    headline(other, "1 more person needed")
    headline(page, "1 more person needed")
    expect(page.locator("#stale")).to_be_hidden()
