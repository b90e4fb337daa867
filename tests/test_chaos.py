"""The fault suite, short: nothing is lost, and a broken outbox is reported with its losses."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.chaos
NO_SERVICES = 3


def chaos(*arguments: str) -> tuple[int, str]:
    """Run it and return its exit code and what it printed."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        env=os.environ | {"PYTHONPATH": "clients/python/src"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode == NO_SERVICES:
        pytest.skip("MariaDB, Redis and RabbitMQ could not be installed")
    return run.returncode, run.stdout


def test_nothing_is_lost_whatever_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = chaos("--seconds", "50")

    with capsys.disabled():
        sys.stdout.write(f"\n{said}")
    assert (code, said.splitlines()[-1]) == (0, "Nothing was lost.")


def test_the_suite_reports_what_a_broken_outbox_loses() -> None:
    code, said = chaos("--seconds", "15", "--seed", "1", "--broken-outbox")

    assert code == 1
    for kind in ("completions lost", "closings lost", "money"):
        assert f"FOUND {kind}: " in said
