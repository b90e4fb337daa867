"""A backup of a running database can be restored, and the copy is consistent."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests import factories
from tests.stack import EMBEDDED, ROOT

pytestmark = [pytest.mark.operations, pytest.mark.django_db(transaction=True)]
COPY = "groupbuy_restored"
COUNT = """
from trade.models import NotifyTask, Order, Team
print(*(model.objects.count() for model in (Team, Order, NotifyTask)))
"""


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    """DATABASE_URL of an empty database."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'restored.sqlite3'}"
        return
    settings = connection.settings_dict
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {COPY} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    try:
        user = f"{settings['USER']}:{settings['PASSWORD']}"
        yield f"mysql://{user}@{settings['HOST']}:{settings['PORT']}/{COPY}"
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {COPY}")


def manage(database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0", "SECRET_KEY": "x"}
    command = [sys.executable, "manage.py", *arguments]
    environment = os.environ | EMBEDDED | variables
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_a_backup_is_restored_whole(empty: str, tmp_path: Path) -> None:
    factories.make_activity(target_count=2)
    factories.make_team("u1", "u2", paid=2)
    backup = tmp_path / "backup"
    call_command("backup", str(backup))

    restored = manage(empty, "restore", str(backup))
    checked = manage(empty, "check_invariants")
    migrated = manage(empty, "migrate", "--check")
    counted = manage(empty, "shell", "--command", COUNT)

    assert (restored.returncode, migrated.returncode) == (0, 0), restored
    assert checked.returncode == 0, checked.stdout
    assert counted.stdout.split()[-3:] == ["1", "2", "1"]  # teams, orders, notifications
    assert backup.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(empty: str, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    call_command("backup", str(backup))

    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(backup))
    with pytest.raises(CommandError, match="has tables"):
        call_command("restore", str(backup))


def test_a_backup_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(part: Path, file: Path) -> None:
        assert part.stat().st_size
        raise OSError(f"cannot write {file}")

    monkeypatch.setattr(Path, "rename", fail)

    with pytest.raises(OSError, match="cannot write"):
        call_command("backup", str(tmp_path / "backup"))

    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_is_cut_off_is_refused(empty: str, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    call_command("backup", str(backup))
    whole = backup.read_bytes()

    for length in (0, len(whole) // 2):
        backup.write_bytes(whole[:length])
        restored = manage(empty, "restore", str(backup))
        assert restored.returncode == 1
        assert str(backup) in restored.stderr

    backup.write_bytes(whole)
    assert manage(empty, "restore", str(backup)).returncode == 0
