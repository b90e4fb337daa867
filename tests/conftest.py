"""What every test stands on: fresh copies, and no way out to the network."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from rest_framework.test import APIClient

from groupbuy import snapshots
from groupbuy.models import ApiKey
from tests import factories


@pytest.fixture(autouse=True)
def _fresh_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configuration is re-read each time, so that a test sees what it has just written."""
    monkeypatch.setattr(snapshots, "MAX_AGE", 0)
    yield
    snapshots.drop_all()


@pytest.fixture(autouse=True)
def _no_message_broker(settings: Any) -> None:
    """As in the embedded mode; tests/test_rabbitmq.py has it where there is one."""
    settings.AMQP_URL = ""


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        inside = self.family == socket.AF_UNIX or str(address[0]).startswith(("127.", "::1"))
        assert inside, f"a test tried to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def client() -> APIClient:
    """A browser or a mall without a key."""
    return APIClient()


@pytest.fixture
def mall() -> APIClient:
    """The back end of the mall s01/c01, with its key."""
    channel = factories.make_channel()
    key, text = ApiKey.issue(channel=channel, name="tests")
    key.save()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Requests in this thread leave the test's own connection open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
