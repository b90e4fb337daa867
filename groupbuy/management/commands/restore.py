"""Restore (恢复) a backup into an empty database. What to do afterwards: docs/deployment.md."""

import sqlite3
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from groupbuy.management.commands.backup import run_client

END = b"-- Dump completed"  # how mariadb-dump ends a whole dump


class Command(BaseCommand):
    help = "Load FILE, which `backup` has written, into an empty database of the same kind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if not file.is_file():
            raise CommandError(f"{file} is not a file.")
        if not file.stat().st_size:
            raise CommandError(f"{file} is empty.")
        if connection.introspection.table_names():
            raise CommandError("The database has tables. Restore into an empty one.")
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            _copy(file, cast(sqlite3.Connection, connection.connection))
        else:
            with file.open("rb", buffering=0) as dump:
                dump.seek(max(0, file.stat().st_size - len(END) - 100))
                if END not in dump.read():
                    raise CommandError(f"{file} is cut off, or not a backup of MariaDB.")
                dump.seek(0)
                run_client(["mariadb"], stdin=dump)
        self.stdout.write("Restored. Now: manage.py migrate, and check_invariants.")


def _copy(source: Path, target: sqlite3.Connection) -> None:
    """Raises CommandError."""
    try:
        opened = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        opened.backup(target)
        opened.close()
    except sqlite3.Error as exc:
        raise CommandError(f"{source} cannot be read: {exc}.") from exc
