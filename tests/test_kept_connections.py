"""Connections to malls are kept for some seconds; no send takes longer than the time limit."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest

from tests import checks
from tests.factories import make_channel, make_promise
from trade.notify import connections, transports
from trade.notify.transports import Result

pytestmark = pytest.mark.django_db
HOSTS = "http://127.0.0.1 https://mall.example.com https://other.example.com"
CERTIFICATE = Path(__file__).parent / "mall.pem"  # of mall.example.com, with its key
SUCCESS = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess"
LATE = 120  # seconds that a mall waits for what the test does next
Conversation = Callable[[socket.socket], None]


class Mall:
    """A server that passes its first connection to the first of these functions, and so on."""

    def __init__(self, *conversations: Conversation, tls: bool = False) -> None:
        self.conversations = conversations
        self.accepted = 0
        self.left = threading.Event()  # set when the test is over
        self.context: ssl.SSLContext | None = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(CERTIFICATE)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def _accept(self) -> None:
        for conversation in self.conversations:
            with suppress(OSError):
                connection, _address = self.listener.accept()
                self.accepted += 1
                threading.Thread(
                    target=self._talk, args=[conversation, connection], daemon=True
                ).start()

    def _talk(self, conversation: Conversation, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            conversation(connection)


@pytest.fixture
def mall() -> Iterator[Callable[..., Mall]]:
    malls: list[Mall] = []

    def open_mall(*conversations: Conversation, tls: bool = False) -> Mall:
        malls.append(Mall(*conversations, tls=tls))
        return malls[-1]

    yield open_mall
    for each in malls:
        each.left.set()
        each.listener.close()


def answer(connection: socket.socket, text: bytes = SUCCESS) -> None:
    """Read one request and answer it."""
    request = b""
    while not request.endswith(b"}"):
        received = connection.recv(4096)
        if not received:
            raise ConnectionError
        request += received
    connection.sendall(text)


def answer_all(connection: socket.socket) -> None:
    while True:
        answer(connection)


def send(url: str, key: str) -> int | None:
    channel = make_channel(callback_hosts=HOSTS)
    return checks.send(make_promise(key, channel=channel, target=url))


def failure(url: str) -> Result:
    channel = make_channel(callback_hosts=HOSTS)
    return checks.failure(make_promise("failing", channel=channel, target=url))


@pytest.fixture(autouse=True)
def _in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine closes no connection and ends no send."""
    monkeypatch.setattr(connections, "KEEP", 600)
    monkeypatch.setattr(transports, "TIMEOUT", 60)


def test_a_connection_serves_several_sends(mall: Any) -> None:
    opened = mall(answer_all)

    assert [send(opened.url, str(n)) for n in range(3)] == [200, 200, 200]

    assert opened.accepted == 1


def test_an_old_connection_is_replaced_and_its_address_checked(
    mall: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    opened = mall(answer_all, answer_all)
    send(opened.url, "1")
    monkeypatch.setattr(connections, "KEEP", 0)

    send(opened.url, "2")

    assert opened.accepted == 2
    settings.CALLBACK_NETWORKS = []
    assert "no address that may be called" in failure(opened.url).error


def test_a_kept_connection_that_the_mall_has_closed_is_replaced(mall: Any) -> None:
    closed = threading.Event()

    def answer_one(connection: socket.socket) -> None:
        answer(connection)
        connection.close()
        closed.set()

    opened = mall(answer_one, answer_all)
    send(opened.url, "1")
    assert closed.wait(LATE)

    assert send(opened.url, "2") == 200
    assert opened.accepted == 2


def test_a_kept_connection_that_the_mall_closes_on_the_next_request_is_replaced(
    mall: Any,
) -> None:
    def answer_one(connection: socket.socket) -> None:
        answer(connection)
        answer(connection, b"")  # nothing, and closes

    opened = mall(answer_one, answer_all)
    send(opened.url, "1")

    assert send(opened.url, "2") == 200
    assert opened.accepted == 2


def test_a_new_connection_that_the_mall_closes_is_a_failed_attempt(mall: Any) -> None:
    opened = mall(lambda connection: answer(connection, b""), answer_all)

    assert "RemoteDisconnected" in failure(opened.url).error
    assert opened.accepted == 1


def test_bytes_that_a_mall_sends_without_a_request_are_no_answer(mall: Any) -> None:
    answered, said = threading.Event(), threading.Event()

    def complain(connection: socket.socket) -> None:
        answer(connection)
        answered.wait(LATE)
        connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        said.set()
        answer_all(connection)

    opened = mall(complain, answer_all)
    send(opened.url, "1")
    answered.set()
    assert said.wait(LATE)

    assert send(opened.url, "2") == 200
    assert opened.accepted == 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nsuccess",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nsuccess",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nsuccess" + b" " * 1993,
    ],
)
def test_a_connection_that_cannot_be_kept_is_not(mall: Any, text: bytes) -> None:
    opened = mall(lambda connection: answer(connection, text), answer_all)
    send(opened.url, "1")

    assert send(opened.url, "2") == 200
    assert opened.accepted == 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsuccess\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + SUCCESS,
    ],
)
def test_answers_after_which_a_connection_is_kept(mall: Any, text: bytes) -> None:
    def answer_twice(connection: socket.socket) -> None:
        answer(connection, text)
        answer(connection, text)

    opened = mall(answer_twice)

    assert send(opened.url, "1") == send(opened.url, "2")
    assert opened.accepted == 1


HANGING = "no complete answer within 0.1 s"  # from malls that end no answer before the test is over
STARTS = [
    b"",
    b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\nX-Header: ",
    b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_a_mall_that_hangs_or_drips_is_given_up(
    mall: Any, monkeypatch: pytest.MonkeyPatch, start: bytes, tls: bool
) -> None:
    def drip(connection: socket.socket) -> None:
        answer(connection, start)
        while start and not opened.left.wait(0.02):
            connection.sendall(b"s")
        opened.left.wait(LATE)

    monkeypatch.setattr(transports, "TIMEOUT", 0.1)
    opened = mall(drip, tls=tls)
    url = trusted(opened, monkeypatch) if tls else opened.url

    assert failure(url).error == HANGING


def test_a_mall_that_drips_on_a_kept_connection_is_given_up(
    mall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip_later(connection: socket.socket) -> None:
        answer(connection)
        answer(connection, STARTS[3])
        while not opened.left.wait(0.02):
            connection.sendall(b"s")

    opened = mall(drip_later, answer_all)
    send(opened.url, "1")
    monkeypatch.setattr(transports, "TIMEOUT", 0.1)

    assert failure(opened.url).error == HANGING
    assert opened.accepted == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsuccess",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nsuccess",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nsuccess",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\nsuccess",
    ],
)
def test_an_answer_that_is_cut_off_or_unreadable_is_a_failed_attempt(
    mall: Any, text: bytes
) -> None:
    error = failure(mall(lambda connection: answer(connection, text)).url)

    assert (error.status_code, error.final) == (None, False)


def trusted(opened: Mall, monkeypatch: pytest.MonkeyPatch, host: str = "mall.example.com") -> str:
    """The mall's https URL; its certificate counts as that of a public authority."""
    monkeypatch.setattr(certifi, "where", lambda: str(CERTIFICATE))
    connections.tls_context.cache_clear()
    monkeypatch.setattr(connections, "allowed_addresses", lambda host, port: ["127.0.0.1"])
    return f"https://{host}:{opened.port}/"


@pytest.fixture(autouse=True)
def _real_authorities() -> Iterator[None]:
    yield
    connections.tls_context.cache_clear()


def test_a_tls_connection_is_kept_and_replaced(mall: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_two(connection: socket.socket) -> None:
        answer(connection)
        answer(connection)

    opened = mall(answer_two, answer_all, tls=True)
    url = trusted(opened, monkeypatch)

    assert [send(url, str(n)) for n in range(4)] == [200] * 4
    assert opened.accepted == 2


def test_a_certificate_of_another_host_is_refused(
    mall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = mall(answer_all, tls=True)
    url = trusted(opened, monkeypatch, host="other.example.com")

    assert "certificate is not valid for" in failure(url).error


def test_a_certificate_of_an_unknown_authority_is_refused(
    mall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = mall(answer_all, tls=True)
    url = trusted(opened, monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(connections, "allowed_addresses", lambda host, port: ["127.0.0.1"])
    connections.tls_context.cache_clear()

    assert "self-signed certificate" in failure(url).error
