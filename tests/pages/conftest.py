"""Browsers of shoppers whom the mall has handed over, and of guests."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.http import HttpResponse
from django.test import Client

from groupbuy import channels
from pages.shopper import sign_in
from tests.factories import NOW
from tests.pages.scenes import Scene


@pytest.fixture
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def browser(user_id: str = "", *, language: str = "en", **options: Any) -> Client:
    """A browser with the cookie of a hand-over to s01/c01."""
    client = Client(headers={"Accept-Language": language}, **options)
    channel = channels.find("s01", "c01")
    if user_id and channel:
        response = HttpResponse()
        sign_in(response, channel, user_id)
        client.cookies.update(response.cookies)
    return client


@pytest.fixture
def look() -> Callable[..., str]:
    """The page of a scene, as text."""

    def looked(at: Scene, *, language: str = "en", **query: str) -> str:
        response = browser(at.user_id, language=language).get(at.path, query or None)
        assert response.status_code == 200, response
        return response.content.decode()

    return looked


@pytest.fixture
def time_goes(_now: None) -> Iterator[Callable[[timedelta], None]]:
    """Let this much time pass in this test."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield lambda passed: traveller.shift(passed)
