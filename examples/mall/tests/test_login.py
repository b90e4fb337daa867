"""Log in: tickets, WeChat's portal, and a browser that is remembered."""

import re
from datetime import timedelta
from typing import Any

import pytest
import requests
import time_machine
from django.http import HttpResponse
from django.test import Client
from django.test.utils import override_script_prefix
from django.utils import timezone

from mall import login, wechat
from mall.models import Device, Goods, Shopper, Ticket

PORTAL = "/api/v1/weixin/portal/receive"
TICKET, CHECK = "/api/v1/login/weixin_qrcode_ticket", "/api/v1/login/check_login"
pytestmark = pytest.mark.django_db


def signed(**changes: str) -> str:
    timestamp = str(int(timezone.now().timestamp()))
    query = {"timestamp": timestamp, "nonce": "n", "openid": "somebody-else"}
    query["signature"] = wechat.signature(timestamp, "n")
    return "?" + "&".join(f"{name}={value}" for name, value in (query | changes).items())


def scanned(ticket: str, user_id: str = "xiaofuge", **changes: str) -> int:
    body = wechat.scan_message(ticket, user_id)
    return Client().post(PORTAL + signed(**changes), body, content_type="text/xml").status_code


def new_ticket(client: Client) -> str:
    answer = client.get(TICKET).json()
    assert (answer["code"], answer["info"]) == ("0000", "成功")
    return str(answer["data"])


def check(client: Client, ticket: str) -> tuple[str, str | None]:
    answer = client.get(CHECK, {"ticket": ticket}).json()
    return answer["code"], answer["data"]


def test_a_scan_logs_in_the_browser_that_shows_the_code() -> None:
    client = Client()
    ticket = new_ticket(client)
    assert re.fullmatch(r"[\w-]{32}", ticket)
    assert check(client, ticket) == ("0003", None)
    session = client.session.session_key
    assert scanned(ticket) == 200
    assert check(client, ticket) == ("0000", "xiaofuge")
    assert client.session["shopper"] == Shopper.objects.get().pk
    assert client.session.session_key != session  # nobody knows it from before
    assert check(client, ticket) == ("0003", None)  # a ticket logs in once


def test_below_a_path_login_and_logout_lead_to_the_mall(goods: Goods, shopper: Shopper) -> None:
    """nginx sends "/" of a common host to the mall, but a login should not depend on that."""
    client = Client()
    with override_script_prefix("/mall/"):
        ticket = new_ticket(client)
        scanned(ticket)
        entered = client.post("/login/check", {"ticket": ticket})
        left = client.post("/logout")
        ordered = client.post("/checkout", {"action": "alone", "goodsId": goods.pk})
        far = client.get("/orders", {"x": "y" * 1000})
    assert (entered["Location"], left["Location"]) == ("/mall/", "/mall/")
    assert ordered["Location"] == (
        "/mall/login?next=%2Fmall%2Fcheckout%3Faction%3Dalone%26goodsId%3D9890001"
    )
    assert far["Location"] == "/mall/login?next=%2Fmall%2F"


def test_a_ticket_works_only_in_its_own_browser() -> None:
    owner, other = Client(), Client()
    ticket = new_ticket(owner)
    scanned(ticket)
    assert check(other, ticket) == ("0003", None)
    assert check(owner, ticket) == ("0000", "xiaofuge")


def test_the_codes_of_two_tabs_are_valid_at_once() -> None:
    client = Client()
    tickets = [new_ticket(client) for _ in range(2)]
    assert [check(client, each) for each in tickets] == [("0003", None)] * 2
    scanned(tickets[0])
    assert check(client, tickets[0]) == ("0000", "xiaofuge")


def test_the_first_scan_counts() -> None:
    client = Client()
    ticket = new_ticket(client)
    scanned(ticket)
    scanned(ticket, "liergou")
    assert check(client, ticket) == ("0000", "xiaofuge")


def test_a_ticket_is_valid_for_three_minutes() -> None:
    client = Client()
    with time_machine.travel(timezone.now() - timedelta(minutes=3, seconds=1)):
        ticket = new_ticket(client)
    scanned(ticket)
    assert Ticket.objects.get().shopper is None
    assert check(client, ticket) == ("0003", None)


@pytest.mark.parametrize("ticket", ["", "unknown", "x" * 500])
def test_an_unknown_ticket_logs_nobody_in(ticket: str) -> None:
    assert check(Client(), ticket) == ("0003", None)
    assert scanned(ticket) == 200


def test_wechats_own_ticket_arrives_with_spaces_for_plus() -> None:
    client = Client()
    ticket = new_ticket(client)
    Ticket.objects.update(wechat_ticket="gQ+a+b==")
    scanned(ticket)
    assert client.get(f"{CHECK}?ticket=gQ+a+b==").json()["data"] == "xiaofuge"


def test_the_portal_echoes_wechats_challenge() -> None:
    answer = Client().get(f"{PORTAL}{signed()}&echostr=12345")
    assert (answer.status_code, answer.content) == (200, b"12345")


@pytest.mark.parametrize(
    "change",
    [
        {"signature": ""},
        {"signature": "0" * 40},
        {"nonce": "other"},
        {"timestamp": "1700000000"},
        {"timestamp": "x"},
        {"timestamp": "9" * 300},
    ],
)
def test_the_portal_refuses_unsigned_messages(change: dict[str, str]) -> None:
    client = Client()
    ticket = new_ticket(client)
    assert scanned(ticket, **change) == 403
    assert client.get(f"{PORTAL}{signed(**change)}&echostr=1").content == b"false"
    assert (Ticket.objects.get().shopper, Shopper.objects.count()) == (None, 0)


def test_an_old_message_is_a_replay() -> None:
    client = Client()
    ticket = new_ticket(client)
    old = str(int(timezone.now().timestamp()) - 601)
    assert scanned(ticket, timestamp=old, signature=wechat.signature(old, "n")) == 403


def test_without_a_token_nothing_is_signed(settings: Any) -> None:
    settings.WECHAT_TOKEN = ""
    assert scanned("x", signature=wechat.signature("1", "n")) == 403


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><Event>&b;</Event></xml>'


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"<xml>", b'<?xml version="1.0" encoding="none"?><xml/>', BOMB]
)
def test_a_body_that_is_not_a_message_is_refused(body: bytes) -> None:
    answer = Client().post(PORTAL + signed(), body, content_type="text/xml")
    assert answer.status_code == 400


def test_a_new_follower_scans_too() -> None:
    client = Client()
    ticket = new_ticket(client)
    body = wechat.scan_message(f"qrscene_{ticket}", "xiaofuge").replace(b"SCAN", b"subscribe")
    Client().post(PORTAL + signed(), body, content_type="text/xml")
    assert check(client, ticket) == ("0000", "xiaofuge")


@pytest.mark.parametrize(
    ("was", "becomes"), [(b"SCAN", b"CLICK"), (b"event", b"text"), (b"xiaofuge", b"x" * 65)]
)
def test_other_messages_change_nothing(was: bytes, becomes: bytes) -> None:
    client = Client()
    body = wechat.scan_message(new_ticket(client), "xiaofuge").replace(was, becomes)
    answer = Client().post(PORTAL + signed(), body, content_type="text/xml")
    assert (answer.content, Shopper.objects.count()) == (b"success", 0)


def test_a_browser_logs_in_again_by_its_secret(settings: Any) -> None:
    client = Client()
    ticket = new_ticket(client)
    scanned(ticket)
    check(client, ticket)
    cookie = client.cookies[settings.DEVICE_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert cookie.value not in Device.objects.get().digest  # a copy of the table opens nothing

    del client.cookies[settings.SESSION_COOKIE_NAME]
    assert client.post("/login/again", {"next": "/orders"})["Location"] == "/orders"
    assert client.session["shopper"] == Shopper.objects.get().pk
    session = client.cookies[settings.SESSION_COOKIE_NAME]
    assert (session["httponly"], session["samesite"]) == (True, "Lax")

    client.post("/logout")
    assert client.post("/login/again").headers["Location"] == "/login?next=%2F"
    assert Device.objects.count() == 0


@pytest.mark.parametrize("secret", ["", "x", "../"])
def test_another_secret_logs_nobody_in(shopper: Shopper, settings: Any, secret: str) -> None:
    client = Client()
    login.remember(HttpResponse(), shopper)
    client.cookies[settings.DEVICE_COOKIE_NAME] = secret
    assert client.post("/login/again").headers["Location"] == "/login?next=%2F"
    assert "shopper" not in client.session


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "x", "/\\evil"])
def test_a_login_leads_to_no_other_site(back: str) -> None:
    client = Client(headers={"Accept": "application/json"})
    ticket = new_ticket(client)
    scanned(ticket)
    answer = client.post("/login/check", {"ticket": ticket, "next": back}).json()
    assert answer == {"state": "done", "next": "/"}


def test_the_state_of_the_login_page() -> None:
    client = Client(headers={"Accept": "application/json"})
    client.get("/login?next=/orders")
    ticket = client.session["tickets"][0]

    def state() -> dict[str, str]:
        given = {"ticket": ticket, "next": "/orders"}
        found: dict[str, str] = client.post("/login/check", given).json()
        return found

    assert state() == {"state": "waiting", "next": "/orders"}
    scanned(ticket)
    assert state() == {"state": "done", "next": "/orders"}
    assert state() == {"state": "expired", "next": "/orders"}


def test_without_wechat_the_login_page_shows_no_code(settings: Any) -> None:
    settings.DEMO = False

    page = Client(headers={"Accept-Language": "en"}).get("/login").content.decode()

    assert "WeChat is not set up here." in page
    assert "I have scanned it" not in page


def test_expired_logins_are_deleted(shopper: Shopper) -> None:
    now = timezone.now()
    client = Client()
    ticket = new_ticket(client)
    login.remember(HttpResponse(), shopper)
    login.forget(now=now + timedelta(minutes=5))
    assert (Ticket.objects.filter(ticket=ticket).count(), Device.objects.count()) == (1, 1)
    login.forget(now=now + timedelta(minutes=7))
    assert (Ticket.objects.count(), Device.objects.count()) == (0, 1)
    login.forget(now=now + timedelta(days=181))
    assert Device.objects.count() == 0


def test_the_pretend_phone_is_the_demos_only(settings: Any) -> None:
    client = Client(headers={"Accept-Language": "en"})
    ticket = new_ticket(client)
    assert client.get("/phone", {"ticket": ticket}).status_code == 404
    assert client.post("/phone", {"ticket": ticket, "user": "x"}).status_code == 404
    settings.DEMO = True
    assert "Whose phone scans the code?" in client.get("/phone").content.decode()
    page = client.post("/phone", {"ticket": ticket, "user": "xfg01"})
    assert "xfg01 has scanned the code" in page.content.decode()
    assert client.post("/phone", {"ticket": ticket, "user": ""}).status_code == 400
    again = client.post("/phone", {"ticket": ticket, "user": "xfg02"})
    assert "no longer valid" in again.content.decode()
    assert check(client, ticket) == ("0000", "xfg01")


def test_wechat_draws_the_code_if_it_is_set_up(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WECHAT_APP_ID = "wx1"
    asked: list[Any] = []

    class Answer:
        def __init__(self, fields: dict[str, str]) -> None:
            self.fields = fields

        def json(self) -> dict[str, str]:
            return self.fields

    def post(url: str, json: Any, timeout: float) -> Answer:
        asked.append((url, json))
        return Answer({"ticket": "gQ+1"} if "qrcode" in url else {"access_token": "T"})

    monkeypatch.setattr(requests, "post", post)
    assert new_ticket(Client()) == "gQ+1"
    url, code = asked[1]
    assert url == "https://api.weixin.qq.com/cgi-bin/qrcode/create?access_token=T"
    scene = Ticket.objects.get().ticket
    assert code == {"expire_seconds": 180, "action_name": "QR_STR_SCENE",
                    "action_info": {"scene": {"scene_str": scene}}}  # fmt: skip

    monkeypatch.setattr(requests, "post", lambda *args, **kwargs: Answer({"errcode": "1"}))
    assert Client().get(TICKET).status_code == 503
    assert Client().get("/login").status_code == 503
