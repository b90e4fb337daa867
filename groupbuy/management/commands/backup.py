"""Back up (备份) the database while the platform runs."""

import os
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection


class Command(BaseCommand):
    help = "Write the database, as it is at one moment, to FILE. Readable by its owner only."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if file.exists():
            raise CommandError(f"{file} exists already.")
        os.umask(0o077)
        part = file.with_name(f"{file.name}.{os.getpid()}.part")  # a file without .part is complete
        part.unlink(missing_ok=True)
        try:
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("VACUUM INTO %s", [str(part)])
            else:
                with part.open("wb") as output:
                    run_client(
                        ["mariadb-dump", "--single-transaction", "--quick", "--hex-blob",
                         "--no-tablespaces"], stdout=output,
                    )  # fmt: skip
            part.rename(file)
        finally:
            part.unlink(missing_ok=True)
        self.stdout.write(f"{file}: {file.stat().st_size} bytes")


def run_client(command: list[str], **streams: Any) -> None:
    """Run a program of MariaDB on this database. Raises CommandError."""
    database = connection.settings_dict
    address = [f"--host={database['HOST']}", f"--port={database['PORT'] or 3306}"]
    who = [f"--user={database['USER']}", "--default-character-set=utf8mb4"]
    # TLS if the server has it, as the connections of Django. Clients from 11.4 on require it.
    who.append("--skip-ssl-verify-server-cert")
    environment = os.environ | {"MYSQL_PWD": database["PASSWORD"]}
    program, *arguments = command
    try:
        subprocess.run(  # noqa: S603  ours
            [program, *address, *who, *arguments, database["NAME"]],
            env=environment, check=True, **streams,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as exc:
        raise CommandError(f"{program} failed: {exc}") from exc
