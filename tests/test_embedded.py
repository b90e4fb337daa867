"""The embedded stack: no variable set, from a fresh checkout, for this machine only."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from celery import Celery
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from groupbuy.embedded import loopback_only
from tests.racing import LATE
from tests.stack import free_port

ROOT = Path(__file__).parent.parent
PATIENCE = 300  # seconds until a test fails; nothing here takes as long


def manage(*arguments: str) -> tuple[int, list[str]]:
    """The exit code, and the lines of both outputs."""
    ended = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines()


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.0.0.1", 403), ("", 403)],
)
def test_other_machines_get_no_answer(address: str, status: int) -> None:
    def answer(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("a page with DEBUG")

    request = RequestFactory().get("/", REMOTE_ADDR=address)

    response = loopback_only(answer)(request)

    assert response.status_code == status
    assert (b"DEBUG" in response.content) == (status == 200)


@pytest.mark.usefixtures("var_dir")
@pytest.mark.parametrize("command", [["create_api_key", "s01", "c01"], ["check_invariants"]])
def test_commands_say_that_the_database_is_not_migrated(command: list[str]) -> None:
    code, lines = manage(*command)

    assert code == 1
    assert len(lines) == 1
    assert lines[0].endswith(" migrations are not applied: run python manage.py migrate")


def test_commands_say_that_the_database_is_away(
    var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "tests")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{var_dir.parent}")  # a directory

    assert manage("check_invariants") == (
        1,
        ["The database does not answer: unable to open database file"],
    )


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=LATE).ok
    except requests.ConnectionError:
        return False


class Stack:
    """`manage.py run` of a VAR_DIR too long for a socket, on a free port."""

    def __init__(self, var_dir: Path) -> None:
        self.port, mall, alipay = free_port(), free_port(), free_port()
        ports = {"PORT": self.port, "MALL_PORT": mall, "ALIPAY_PORT": alipay}
        self.mall_port = mall
        self.log = var_dir.parent / "run.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "run"],
                cwd=var_dir.parent,  # from any directory
                env=os.environ | {name: str(port) for name, port in ports.items()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text("utf-8")
        return answers(f"http://127.0.0.1:{self.port}/")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def stack(var_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    long_dir = var_dir / ("long" * 30)
    monkeypatch.setenv("VAR_DIR", str(long_dir))
    monkeypatch.setenv("WEB_WORKERS", "1")
    monkeypatch.setenv("HISTORY", "false")  # tests/test_history.py plays it
    var_dir.mkdir()
    stack = Stack(long_dir)
    try:
        wait_for(stack.is_up, "the start page")
        yield stack
    finally:
        stack.stop()


def test_the_whole_stack_runs_with_no_variable_set(stack: Stack) -> None:
    var_dir = Path(os.environ["VAR_DIR"])
    code, [url] = manage(
        "shell", "-v", "0", "-c", "from django.conf import settings; print(settings.REDIS_URL)"
    )
    redis_socket = Path(url.removeprefix("unix://"))
    worker = Celery(broker=url.replace("unix:", "redis+socket:"))
    wait_for(lambda: bool(worker.control.ping(timeout=1)), "the worker, through that Redis")

    code, [key] = manage("create_api_key", "s01", "c01")
    assert (code, key[:4]) == (0, "gbm_")
    demo = json.loads((var_dir / "demo.json").read_text("utf-8"))
    assert demo["api_key"] in requests.get(f"http://127.0.0.1:{stack.port}/", timeout=LATE).text
    code, lines = manage("check_invariants")
    assert code == 0
    assert all(line.startswith("ok") for line in lines)
    mall = f"http://127.0.0.1:{stack.mall_port}/"
    assert f'href="{mall}"' in requests.get(f"http://127.0.0.1:{stack.port}/", timeout=LATE).text
    wait_for(lambda: answers(mall), "the mall")
    assert "拼团" in requests.get(mall, timeout=LATE).text

    code, [line] = manage("run")  # it would take the socket away
    assert code == 1
    assert line.startswith(f"CommandError: Another stack runs in VAR_DIR={var_dir}. ")

    assert stack.stop() == 130
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{stack.port}/", timeout=LATE)
    assert not redis_socket.exists()
    redis_socket.parent.rmdir()  # it was empty


@pytest.mark.parametrize("name", ["PORT", "MALL_PORT", "ALIPAY_PORT"])
def test_a_taken_port_is_named(var_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("PORT", "MALL_PORT", "ALIPAY_PORT"):
        monkeypatch.setenv(each, str(free_port()))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv(name, str(port))
        code, [line] = manage("run")

    assert code == 1
    assert line.startswith(f"CommandError: {name}={port} cannot be used (Address already in use). ")
    assert not (var_dir / "db.sqlite3").exists()  # nothing was begun
