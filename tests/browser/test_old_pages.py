"""The calls of three generations of old static pages (P1, P2, P3) against platform and mall.

old_pages.html makes exactly their calls. It is served once from the origin of both, as behind a
reverse proxy, and once from another origin, which both allow by CORS.
"""

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from tests.stack import EMBEDDED, ROOT, direct_session, embedded, wait_for

HTML = Path(__file__).with_name("old_pages.html").read_bytes()
SAME, OTHER = "same origin", "other origin"
Open = Callable[..., Page]


class Front(ThreadingHTTPServer):
    """Serves the page, and forwards to platform and mall as a reverse proxy does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.platform = self.mall = ""
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self._lead_on()
        else:
            self._answer(200, "text/html; charset=utf-8", HTML)

    def do_POST(self) -> None:
        self._lead_on()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _lead_on(self) -> None:
        to = self.server.platform if self.path.startswith("/api/v1/gbm/") else self.server.mall
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: self.headers[name] for name in ("Content-Type", "Cookie", "Origin")}
        answer = direct_session().request(
            self.command, to + self.path, data=body, headers=kept, timeout=30
        )
        self._answer(answer.status_code, answer.headers["Content-Type"], answer.content)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def front(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy before the whole stack. The channel needs no key, as P1 has none."""
    var_dir, front = tmp_path_factory.mktemp("stack"), Front()
    allowed = {"CORS_ALLOWED_ORIGINS": front.url, "MALL_CORS_ORIGINS": front.url}
    change = (
        "channel = Channel.objects.get(source='s01', channel='c01');"
        " channel.allow_without_key = True; channel.save()"
    )
    with embedded(var_dir, allowed) as (front.platform, found):
        front.mall = found["mall"]
        subprocess.run(
            [ROOT / ".venv/bin/python", ROOT / "manage.py", "shell", "-v", "0", "-c", change],
            env=os.environ | EMBEDDED | {"VAR_DIR": str(var_dir)},
            check=True,
        )
        yield front
    front.shutdown()
    front.server_close()


@pytest.fixture
def old_page(chromium: Browser, front: Front) -> Iterator[Open]:
    """Open the page, in a browser of its own unless one is given.

    From the same origin the page calls paths; from another one, the URLs of platform and mall.
    """
    contexts = []

    def opened(origin: str, page: Page | None = None) -> Page:
        if page is None:
            contexts.append(chromium.new_context(locale="zh-CN"))
            page = contexts[-1].new_page()
        same = origin == SAME
        query = "" if same else f"platform={front.platform}&mall={front.mall}"
        page.goto(f"{front.url}/old_pages.html?{query}")
        return page

    yield opened
    for context in contexts:
        context.close()


def call(page: Page, name: str, *arguments: Any) -> Any:
    return page.evaluate(f"values => {name}(...values)", list(arguments))


def scan(page: Page, mall: str, ticket: str, user_id: str) -> None:
    """Send WeChat's message after the shopper's phone has scanned the code."""
    phone = page.context.new_page()
    phone.goto(f"{mall}/phone?ticket={ticket}")
    phone.locator("input:not([type=hidden])").fill(user_id)
    phone.locator("form.line button").click()
    expect(phone.get_by_text(user_id)).to_be_visible()
    phone.close()


def pay(page: Page) -> None:
    """Submit the mall's payment form, and confirm at Alipay."""
    call(page, "submitForm")
    page.get_by_role("button", name="Pay").click()
    expect(page).to_have_url(re.compile("/paid"))


def wait_for_status(page: Page, user_id: str, status: str) -> dict[str, Any]:
    """Wait until the shopper's only order has this status; return it."""

    def has_status() -> bool:
        orders = call(page, "orderList", user_id, None)["orders"]
        return [order["status"] for order in orders] == [status]

    wait_for(has_status, f"{status} of {user_id}'s order")
    [order] = call(page, "orderList", user_id, None)["orders"]
    return dict(order)


def test_p1_locks_and_settles_from_the_browser(old_page: Open) -> None:
    page = old_page(SAME)
    opened = call(page, "lock", "p1-leader", None, "412345678901")
    assert (opened["code"], opened["info"]) == ("0000", "成功")
    team_id = opened["data"]["teamId"]

    joined = call(page, "lock", "p1-friend", team_id, "412345678902")
    settled = call(page, "settle", "p1-leader", "412345678901")
    twice = call(page, "lock", "p1-leader", team_id, "412345678903")

    assert (joined["code"], settled["code"]) == ("0000", "0000")
    assert twice["code"] == "E0103"
    shown = call(page, "index", "p1-leader")
    assert (shown["code"], shown["activityId"], shown["goodsId"]) == ("0000", 100123, "9890001")
    assert shown["prices"] == ["100", "20", "80"]
    [own] = [team for team in shown["teams"] if team["teamId"] == team_id]
    assert own == {
        "userId": "p1-leader",
        "teamId": team_id,
        "missing": 1,
        "clock": 3,
        "outTradeNo": "412345678901",
    }
    others = [team for team in call(page, "index", "stranger")["teams"] if team["outTradeNo"]]
    assert others == []


def test_p1_of_another_origin_may_only_query(old_page: Open) -> None:
    page = old_page(OTHER)

    assert call(page, "index", "p1-other")["prices"] == ["100", "20", "80"]
    for refused in (["lock", "p1-other", None, "5"], ["settle", "p1-other", "5"]):
        with pytest.raises(Error, match="Failed to fetch"):
            call(page, *refused)


@pytest.mark.parametrize("origin", [SAME, OTHER])
def test_p2_logs_in_and_buys_in_a_team(old_page: Open, front: Front, origin: str) -> None:
    user_id = f"p2-{origin[:4]}"
    page = old_page(origin)
    ticket = call(page, "ticket", "")
    assert call(page, "checkLogin", ticket, "") == "0003"
    scan(page, front.mall, ticket, user_id)
    assert call(page, "checkLogin", ticket, "") == "0000"
    assert call(page, "loginToken") == user_id

    activity = {"teamId": None, "activityId": call(page, "index", user_id)["activityId"]}
    assert call(page, "createPayOrder", user_id, activity) == {"code": "0000", "info": "成功"}
    assert page.locator("form").count() == 1
    assert page.locator("form script, form [name=submit]").count() == 0
    pay(page)

    old_page(origin, page)
    order = wait_for_status(page, user_id, "PAY_SUCCESS")
    assert (order["amount"], order["time"]) == ("80.00", True)
    [team] = [each for each in call(page, "index", user_id)["teams"] if each["userId"] == user_id]
    assert team["missing"] == 2


@pytest.mark.parametrize("origin", [SAME, OTHER])
def test_p3_buys_alone_and_gives_back(old_page: Open, front: Front, origin: str) -> None:
    user_id, fingerprint = f"p3-{origin[:4]}", "5F2C9A77B3E14D68A9B0C1D2E3F40516"
    page = old_page(origin)
    ticket = call(page, "ticket", fingerprint)
    assert call(page, "checkLogin", ticket, fingerprint) == "0003"
    scan(page, front.mall, ticket, user_id)
    assert call(page, "checkLogin", ticket, fingerprint) == "0000"

    assert call(page, "createPayOrder", user_id, None)["code"] == "0000"
    waiting = wait_for_status(page, user_id, "PAY_WAIT")
    assert waiting["amount"] == "100.00"
    assert call(page, "activePayNotify", waiting["orderId"])["code"] == "0000"
    pay(page)

    old_page(origin, page)
    paid = wait_for_status(page, user_id, "DEAL_DONE")
    assert paid["productName"] == "《手写MyBatis：渐进式源码实践》"
    refused = call(page, "refundOrder", user_id, "0")
    assert refused == {"done": False, "text": "订单不存在"}
    assert call(page, "refundOrder", user_id, paid["orderId"]) == {
        "done": True,
        "text": "退单已受理，款项原路退回",
    }
    wait_for_status(page, user_id, "CLOSE")
    assert call(page, "refundOrder", user_id, paid["orderId"])["text"] == "订单已关闭"
    page_one = call(page, "orderList", user_id, None)
    assert (page_one["hasMore"], len(page_one["orders"])) == (False, 1)
    assert call(page, "orderList", user_id, page_one["lastId"])["orders"] == []


def test_p3_with_a_traceless_login_is_a_separate_shopper(old_page: Open) -> None:
    """The page uses the fingerprint as the user id, which only a demo accepts."""
    page = old_page(SAME)
    user_id = "77AF01C2D3E4F5061728394A5B6C7D8E"

    assert call(page, "createPayOrder", user_id, None)["code"] == "0000"
    assert [order["status"] for order in call(page, "orderList", user_id, None)["orders"]] == [
        "PAY_WAIT"
    ]
    assert call(page, "orderList", "somebody else", None)["orders"] == []
