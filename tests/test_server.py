"""The web server of the Procfile over raw sockets: slow, truncated, broken and long requests."""

import json
import os
import select
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from django.db import connection

from groupbuy.bodies import MAX_BODY, MAX_UPLOAD
from tests.stack import EMBEDDED, ROOT, Processes, free_port, queue_length, wait_for, web

pytestmark = pytest.mark.skipif(
    connection.vendor == "mysql", reason="has a database of its own: run once"
)
THREADS = 4
LOCK = "/api/v1/gbm/trade/lock_market_pay_order"
ORDER = "/api/v1/gbm/trade/orders"
PATIENCE = 300  # seconds until a test fails; nothing here takes as long


class Server:
    """One process of the Procfile's web server, on SQLite, without Redis."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self.directory, self.port, self.key = directory, free_port(), ""
        self.environment = EMBEDDED | {
            "VAR_DIR": str(directory),
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "CELERY_BROKER_URL": "memory://",
            "SECRET_KEY": "tests",
            "LOG_LEVEL": "ERROR",
            **variables,
        }
        command = {"web": web(self.port, workers=1, threads=THREADS)}
        self.processes = Processes(command, self.environment, directory / "web.log")

    @contextmanager
    def running(self) -> Iterator[None]:
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo")
        self.key = self.manage("create_api_key", "s01", "c01").split()[-1]
        with self.processes.running():
            self.processes.wait_until_up(self.port)
            yield

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        environment = os.environ | self.environment
        return subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def connect(self, sent: bytes = b"") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        line.sendall(sent)
        return line

    def head(self, method: str = "POST", path: str = LOCK, **headers: Any) -> bytes:
        fields = {
            "Host": "127.0.0.1",
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Connection": "close",
            **{name.replace("__", "-"): value for name, value in headers.items()},
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        return "\r\n".join([*lines, "", ""]).encode()

    def send(self, request: bytes, *, and_no_more: bool = False) -> tuple[int, bytes]:
        """Send bytes; return the answer's status and body."""
        with self.connect(request) as line:
            if and_no_more:
                line.shutdown(socket.SHUT_WR)
            return parse(read_to_end(line))

    def post(self, body: bytes, path: str = LOCK, **headers: Any) -> tuple[int, bytes]:
        return self.send(self.head(path=path, Content__Length=len(body), **headers) + body)

    def peak_memory(self) -> int:
        """The most bytes that the processes of the server have held, summed."""
        kib = 0
        for each in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if each.environ().get("VAR_DIR") == str(self.directory):
                    status = Path(f"/proc/{each.pid}/status").read_text()
                    kib += int(status.split("VmHWM:")[1].split()[0])
        return kib * 1024

    def rows(self) -> int:
        """The number of teams and orders."""
        counts = "SELECT (SELECT COUNT(*) FROM trade_team) + (SELECT COUNT(*) FROM trade_order)"
        with closing(sqlite3.connect(self.directory / "db.sqlite3")) as database:
            number: int = database.execute(counts).fetchone()[0]
        return number


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    with server.running():
        yield server


def read_to_end(line: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    received = b""
    with suppress(ConnectionError):
        while part := line.recv(65536):
            received += part
    return received


def answered(lines: list[socket.socket]) -> list[socket.socket]:
    return select.select(lines, [], [], 0)[0]


def parse(answer: bytes) -> tuple[int, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def lock_body(number: str) -> bytes:
    config = {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1:9/"}
    shopper = {"userId": number, "source": "s01", "channel": "c01", "goodsId": "9890001"}
    order = {"activityId": 100123, "outTradeNo": number, "notifyConfigVO": config}
    return json.dumps(shopper | order).encode()


def code(answer: tuple[int, bytes]) -> tuple[int, str]:
    """The status and the envelope's code of an answer; fails unless the answer is just that."""
    status, body = answer
    envelope = json.loads(body)
    assert set(envelope) == {"code", "info", "data"}
    return status, envelope["code"]


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part)


def drip(lines: list[tuple[socket.socket, bytes]]) -> None:
    """Send a piece on each of these connections every half second, until all are closed."""
    while lines:
        for line, piece in [*lines]:
            try:
                line.sendall(piece)
            except OSError:
                lines.remove((line, piece))
        time.sleep(0.5)


def test_a_slow_request_is_cut_and_holds_no_thread(server: Server) -> None:
    body = server.head(Content__Length=5000) + b"{"
    chunked = server.head(Transfer__Encoding="chunked")
    upload = server.head(path="/admin/login/", Content__Length=MAX_UPLOAD)
    head = server.head()[:-2]
    with_answer = [server.connect(sent) for sent in (body, body, chunked, chunked) * 50]
    without = [server.connect(sent) for sent in (b"", b"P", head, head)]
    upload_line = server.connect(upload)
    dripping = [(line, b"{") for line in with_answer[1::4]]
    dripping += [(line, chunk(b"{")) for line in with_answer[3::4]]
    dripping += [(without[3], b"X: y\r\n"), (upload_line, b"x")]
    dripper = Thread(target=drip, args=(dripping,))
    dripper.start()

    for number in range(5):
        assert code(server.post(lock_body(f"fast-{number}"))) == (200, "0000")

    for line in with_answer:
        assert code(parse(read_to_end(line))) == (408, "0004")
    for line in without:
        assert read_to_end(line) == b""
    assert parse(read_to_end(upload_line))[0] == 408
    dripper.join(PATIENCE)
    for line in (*with_answer, *without, upload_line):
        line.close()


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Content__Length": "{more}"}, "{body}"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}3\r\n"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}zz\r\n\r\n0\r\n\r\n"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}-1\r\n\r\n0\r\n\r\n"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}fffffffffffffffffff\r\n\r\n"),
        ({"Transfer__Encoding": "chunked"}, "{chunk}0"),
    ],
)
def test_a_body_that_is_cut_off_or_broken_does_nothing(
    server: Server, headers: dict[str, str], sent: str
) -> None:
    body = lock_body("cut").decode()
    values = {"more": len(body) + 1, "body": body, "chunk": chunk(body.encode()).decode()}
    head = server.head(**{name: value.format(**values) for name, value in headers.items()})
    before = server.rows()

    answer = server.send(head + sent.format(**values).encode(), and_no_more=True)

    assert code(answer) == (400, "0002")
    assert server.rows() == before


def test_the_same_body_is_accepted_when_it_is_whole(server: Server) -> None:
    body = lock_body("whole")
    before = server.rows()

    answers = [
        server.post(body),
        server.send(server.head(Transfer__Encoding="chunked") + chunk(body) + chunk(b"")),
        server.send(server.head(Content__Length=len(body), Expect="100-continue") + body),
    ]

    assert code(answers[0]) == code(answers[1]) == (200, "0000")
    assert answers[2] == (100, answers[2][1])  # and then the answer
    assert code(parse(answers[2][1])) == (200, "0000")
    assert server.rows() == before + 2  # a team and an order


def test_a_long_body_is_refused(server: Server) -> None:
    body = b"[" * (MAX_BODY + 1)
    before = server.rows()

    answers = [
        server.post(body),
        server.send(server.head(Content__Length=10_000_000)),  # at once, before it is sent
        server.send(server.head(Transfer__Encoding="chunked") + chunk(body)),
    ]

    assert [code(answer) for answer in answers] == [(413, "0002")] * 3
    assert server.rows() == before


def test_files_for_the_console_may_be_long(server: Server) -> None:
    login = {"path": "/admin/login/", "Content__Type": "application/x-www-form-urlencoded"}

    assert server.post(b"username=" + b"x" * MAX_BODY, **login)[0] == 403  # has no CSRF token
    assert server.send(server.head(Content__Length=MAX_UPLOAD + 1, **login))[0] == 413


def test_long_bodies_share_a_bounded_memory(server: Server) -> None:
    megabyte, number = 2**20, 40
    most = MAX_UPLOAD // megabyte
    upload = server.head(
        path="/admin/login/",
        Content__Length=megabyte,
        Content__Type="application/x-www-form-urlencoded",
    )

    lines = [server.connect(upload) for _ in range(number)]
    for line in lines:
        with suppress(ConnectionError):  # it is refused already
            line.sendall(b"x" * (megabyte - 1))
    wait_for(lambda: len(answered(lines)) >= number - most, "refusals")
    for line in lines:
        with suppress(ConnectionError):
            line.sendall(b"x")
    statuses = [parse(read_to_end(line))[0] for line in lines]
    for line in lines:
        line.close()

    assert set(statuses) == {403, 503}
    assert statuses.count(403) <= most
    assert server.send(upload + b"x" * megabyte)[0] == 403


def test_a_file_is_sent_in_parts(server: Server) -> None:
    path = server.directory / "media" / f"{0:032x}.webp"
    path.parent.mkdir(exist_ok=True)
    size, before = 200 * 2**20, server.peak_memory()
    with path.open("wb") as file:
        file.truncate(size)

    with server.connect(server.head("GET", f"/media/{path.name}")) as line:
        received = sum(iter(lambda: len(line.recv(2**20)), 0))

    assert received > size
    assert server.peak_memory() - before < size / 4


@pytest.mark.parametrize(
    "number", ["%E8%AE%A2%E5%8D%95", "\u8ba2\u5355", "a%2Fb%252Fc", "%FF%FE", "%00", "%zz", "a+b"]
)
def test_any_path_has_an_answer(server: Server, number: str) -> None:
    assert code(server.send(server.head("GET", f"{ORDER}/{number}"))) == (200, "E0104")


def test_an_order_number_in_the_path_is_read_as_it_was_sent(server: Server) -> None:
    number = "\u8ba2\u5355/%2F 1"
    assert code(server.post(lock_body(number))) == (200, "0000")

    answer = server.send(server.head("GET", f"{ORDER}/{quote(number, safe='')}"))

    assert json.loads(answer[1])["data"]["outTradeNo"] == number


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "NONSENSE"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    status, body = server.send(server.head(method))

    assert status == 405
    assert method == "HEAD" or code((status, body)) == (405, "0002")


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_dash(server: Server) -> None:
    status, body = server.send(server.head(path="/api/nowhere", Accept_Language="en"))

    assert (status, json.loads(body)["info"]) == (404, "非法参数: 路径不存在")


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        ("GET /api/" + "x" * 65_536, "", 414),
        ("GET /api/", "X: " + "x" * 150_000, 431),
        ("GET /api/", "Content-Length: x", 400),
        ("GET /api/", "no colon", 400),
        ("nonsense", "", 400),
    ],
)
def test_a_request_that_the_server_itself_refuses_gets_no_page(
    server: Server, request_line: str, header: str, status: int
) -> None:
    request = f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n"

    assert server.send(request.encode()) == (status, b"")


def test_connections_wait_in_a_long_queue(server: Server) -> None:
    longest = int(Path("/proc/sys/net/core/somaxconn").read_text())

    assert queue_length(f"127.0.0.1:{server.port}") == min(4096, longest)
