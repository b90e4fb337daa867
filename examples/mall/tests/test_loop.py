"""The loop's process goes on while the database is away."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError

from mall import work
from mall.management.commands import work as command

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


def test_the_loop_goes_on_after_an_error_of_the_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps = list[int]()

    def fail_twice(**_times: Any) -> int:
        steps.append(len(steps))
        if len(steps) < 3:
            raise OperationalError("database is locked")
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(work, "daily", lambda **_times: None)
    monkeypatch.setattr(work, "work", fail_twice)
    monkeypatch.setattr(command, "EVERY", 0)

    call_command("work")

    assert steps == [0, 1, 2]
    assert caplog.messages == ["the loop goes on after: database is locked"] * 2


def test_a_single_run_says_that_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_times: Any) -> int:
        raise OperationalError("database is locked")

    monkeypatch.setattr(work, "work", fail)
    monkeypatch.setattr(work, "daily", lambda **_times: None)
    with pytest.raises(OperationalError):
        call_command("work", once=True)
