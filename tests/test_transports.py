"""HTTP callbacks against a real endpoint on loopback. Source: docs/contract.md, section 3."""

import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from groupbuy.hosts import allowed_addresses, is_allowed
from groupbuy.models import Channel, new_webhook_secret
from tests import checks
from tests.factories import make_channel, make_promise
from tests.sink import Request, Sink, reply
from trade.models import NotifyTask
from trade.notify import transports
from trade.notify.transports import Result

pytestmark = pytest.mark.django_db


class Endpoint:
    """A mall's callback URL, with answers chosen by the test; it records the requests."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"success"
        self.headers: dict[str, str] = {}
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.sink = Sink(self._answer)
        self.url = f"{self.sink.url}/notify"

    def _answer(self, request: Request) -> bytes:
        self.received.append((request.headers, request.body))
        self.paths.append(request.path)
        return reply(self.status, self.body, **self.headers)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.sink.stop()


def send(target: str, **fields: Any) -> int | None:
    return checks.send(make_promise(target=target, **fields))


def failure(target: str, **fields: Any) -> Result:
    return checks.failure(make_promise(target=target, **fields))


def test_the_payload_arrives_verbatim_and_signed(endpoint: Endpoint) -> None:
    assert send(endpoint.url) == 200

    [(headers, body)] = endpoint.received
    task = NotifyTask.objects.get()
    assert body == task.payload.encode()
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == task.key
    Webhook(task.channel.webhook_secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(task.channel.webhook_secret).verify(body + b" ", headers)


def test_while_a_secret_is_rotated_both_signatures_are_sent(endpoint: Endpoint) -> None:
    old, new = new_webhook_secret(), new_webhook_secret()
    channel = make_channel(webhook_secret=new, previous_webhook_secret=old)

    send(endpoint.url, channel=channel)

    [(headers, body)] = endpoint.received
    for secret in (old, new):
        Webhook(secret).verify(body, headers)


@pytest.mark.parametrize("body", [b"success", b"", b" success\n"])
@pytest.mark.parametrize("status", [200, 201])
def test_success_is_2xx_with_success_or_nothing(
    endpoint: Endpoint, status: int, body: bytes
) -> None:
    endpoint.status, endpoint.body = status, body

    assert send(endpoint.url) == status


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"error"), (200, b"SUCCESS!"), (200, b"x" * 100_000), (404, b"success"), (500, b"")],
)
def test_everything_else_is_a_failed_attempt(endpoint: Endpoint, status: int, body: bytes) -> None:
    endpoint.status, endpoint.body = status, body

    error = failure(endpoint.url)

    assert (error.status_code, error.final, error.retry_after) == (status, False, 0)


def test_retry_after_and_gone_are_reported(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.headers = 410, {"Retry-After": "120"}

    error = failure(endpoint.url)

    assert (error.final, error.retry_after) == (True, 120)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("9" * 5000, 0),
        ("soon", 0),
        ("-5", 0),
        ("0", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", 0),
    ],
)
def test_an_unreadable_retry_after_is_ignored(
    endpoint: Endpoint, header: str, seconds: int
) -> None:
    endpoint.status, endpoint.headers = 503, {"Retry-After": header}

    assert failure(endpoint.url).retry_after == seconds


def test_retry_after_may_be_a_date(endpoint: Endpoint) -> None:
    now = timezone.now()
    later = format_datetime(now + timedelta(seconds=300), usegmt=True)
    endpoint.status, endpoint.headers = 503, {"Retry-After": later}

    with time_machine.travel(now, tick=False):
        assert 299 <= failure(endpoint.url).retry_after <= 300  # a date has no part of a second


def test_a_slow_look_up_counts(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    resolve = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.2)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(transports, "TIMEOUT", 0.1)

    assert failure(endpoint.url).error == "no complete answer within 0.1 s"
    assert endpoint.received == []


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.headers = 302, {"Location": endpoint.url}

    assert failure(endpoint.url).status_code == 302
    assert len(endpoint.received) == 1


def test_a_closed_port_is_a_failed_attempt() -> None:
    assert failure("http://127.0.0.1:9/").error.endswith("Connection refused")


def test_a_url_beyond_ascii_is_called(endpoint: Endpoint) -> None:
    assert send(f"{endpoint.url}/回调?no=1%2F2&x=ä") == 200

    assert endpoint.paths == ["/notify/%E5%9B%9E%E8%B0%83?no=1%2F2&x=%C3%A4"]


def test_a_host_removed_from_the_allow_list_gets_no_more_callbacks(endpoint: Endpoint) -> None:
    channel = make_channel(callback_hosts="mall.example.com")

    assert "callback hosts" in failure(endpoint.url, channel=channel).error
    assert endpoint.received == []


def test_a_refund_without_a_url_fails_for_good_until_there_is_one(endpoint: Endpoint) -> None:
    channel = make_channel(refund_notify_url="")
    assert failure("", channel=channel).final

    Channel.objects.update(refund_notify_url=endpoint.url)
    assert checks.send(NotifyTask.objects.get()) == 200


PUBLIC, PRIVATE = "93.184.216.34", "10.1.2.3"


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "address",
    [
        PRIVATE,
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "64:ff9b::a01:203",
        "2002:a01:203::1",
    ],
)
def test_private_addresses_are_not_called(
    monkeypatch: pytest.MonkeyPatch, settings: Any, address: str
) -> None:
    settings.CALLBACK_NETWORKS = []
    resolve_to(monkeypatch, address)

    with pytest.raises(OSError, match="no address that may be called"):
        allowed_addresses("mall.example.com", 443)


def test_a_private_network_may_be_opened_by_setting(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.CALLBACK_NETWORKS = [ip_network("10.1.0.0/16")]
    resolve_to(monkeypatch, "192.168.0.1", PRIVATE)

    assert allowed_addresses("mall.internal", 80) == [PRIVATE]


def test_a_mall_whose_first_address_is_down_is_called_at_the_next(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")  # nothing listens at the first one
    url = endpoint.url.replace("127.0.0.1", "mall.example.com")

    assert send(url, channel=make_channel(callback_hosts="http://mall.example.com")) == 200
    assert len(endpoint.received) == 1


def test_the_checked_address_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, settings: Any, endpoint: Endpoint
) -> None:
    """A name that resolves to another address after the check (DNS rebinding) gains nothing."""
    answers = iter([PRIVATE, "127.0.0.1"])
    settings.CALLBACK_NETWORKS = []
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, *args, **kwargs: [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))
        ],
    )
    url = endpoint.url.replace("127.0.0.1", "mall.example.com")

    error = failure(url, channel=make_channel(callback_hosts="http://mall.example.com"))

    assert "no address that may be called" in error.error
    assert endpoint.received == []


def test_the_hosts_name_stays_in_the_request(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    url = endpoint.url.replace("127.0.0.1", "mall.example.com")

    assert send(url, channel=make_channel(callback_hosts="http://mall.example.com")) == 200
    assert endpoint.received[0][0]["host"].startswith("mall.example.com:")


@pytest.mark.parametrize(
    ("url", "hosts", "allowed"),
    [
        ("https://mall.example.com/x", "mall.example.com", True),
        ("https://MALL.example.com/x", "mall.example.com", True),
        ("https://mall.example.com:8443/x", "mall.example.com", True),
        ("http://mall.example.com/x", "mall.example.com", False),
        ("http://mall.example.com/x", "http://mall.example.com", True),
        ("https://mall.example.com/x", "http://mall.example.com", False),
        ("https://mall.example.com:8443/x", "mall.example.com:443", False),
        ("https://mall.example.com/x", "mall.example.com:443", True),
        ("https://evil.example/x", "other.example\nevil.example", True),
        ("https://mall.example.com.evil.example/x", "mall.example.com", False),
        ("https://mall.example.com@evil.example/x", "mall.example.com", False),
        ("https://user:pw@mall.example.com/x", "mall.example.com", False),
        ("http://[::1]:80/x", "http://[::1]", True),
        ("http://pay_mall:8092/x", "http://pay_mall:8092", True),
        ("ftp://mall.example.com/x", "mall.example.com", False),
        ("https:///x", "mall.example.com", False),
        ("https://mall.example.com:0x50/x", "mall.example.com", False),
        ("//mall.example.com/x", "mall.example.com", False),
        ("https://mall.example.com/x", "", False),
    ],
)
def test_the_allow_list(url: str, hosts: str, allowed: bool) -> None:
    assert is_allowed(url, hosts) is allowed
