"""The embedded stack: no variable set, from a fresh checkout, for this machine only."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from groupbuy.embedded import loopback_only

ROOT = Path(__file__).parent.parent
PATIENCE = 60  # seconds


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
