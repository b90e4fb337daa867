"""Two web servers, two workers and beat on a MariaDB, a Redis and a RabbitMQ of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
DIR = ROOT / "var" / "chaos"
MARIADB, REDIS, RABBITMQ = 13906, 13980, 13973
WEB = (13911, 13912)
SERVICES = {
    "SERVICES_DIR": str(DIR / "services"),
    "MARIADB_PORT": str(MARIADB),
    "REDIS_SERVICE_PORT": str(REDIS),
    "RABBITMQ_PORT": str(RABBITMQ),
    "FLUSH": "on",  # a killed MariaDB must have what it has committed
}
ENVIRONMENT = {
    "SECRET_KEY": "chaos",
    "VAR_DIR": str(DIR),
    "DEBUG": "false",
    "DEMO": "false",
    "LOG_LEVEL": "WARNING",
    "CALLBACK_NETWORKS": "127.0.0.0/8",
    "DATABASE_URL": f"mysql://groupbuy:groupbuy@127.0.0.1:{MARIADB}/groupbuy",
    "REDIS_URL": f"redis://127.0.0.1:{REDIS}/0",
    "CELERY_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{RABBITMQ}//",
    "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{RABBITMQ}/%2F",
}
GRANIAN = "granian --interface wsgi --host 127.0.0.1 --workers 1 --blocking-threads 4 --no-ws"
GRANIAN += " --respawn-failed-workers --log-level warning groupbuy.wsgi:application --port"
CELERY = "celery --app groupbuy --quiet"
WORKER = f"{CELERY} worker --pool threads --concurrency 4 --without-mingle --without-gossip"
COMMANDS = {
    **{f"web {port}": f"{GRANIAN} {port}" for port in WEB},
    "worker 1": f"{WORKER} --loglevel WARNING --hostname one@%h",
    "worker 2": f"{WORKER} --loglevel WARNING --hostname two@%h",
    "beat": f"{CELERY} beat --loglevel WARNING",
}


class Stack:
    """The project's processes, kept alive as a supervisor would keep them."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.log: IO[bytes] = (DIR / "processes.log").open("ab")
        self.died = 0  # by themselves, not by us

    def start(self) -> None:
        for name in COMMANDS:
            self._start(name)
        for port in WEB:
            wait_for_port(port)

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self.log.close()

    def kill(self, name: str) -> None:
        """SIGKILL to the process and its children, and start it anew."""
        process = self.running[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._start(name)

    def revive(self) -> None:
        """Start again what has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                self.died += 1
                self._start(name)

    def _start(self, name: str) -> None:
        command, *arguments = COMMANDS[name].split()
        self.running[name] = subprocess.Popen(
            [str(Path(sys.executable).parent / command), *arguments],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )


def services(*arguments: str) -> int:
    """bin/services.sh with the suite's own ports and data."""
    command = [str(ROOT / "bin" / "services.sh"), *arguments]
    with (DIR / "services.log").open("ab") as log:
        run = subprocess.run(
            command, env=os.environ | SERVICES, stdout=log, stderr=log, check=False
        )
    return run.returncode


def crash(name: str) -> None:
    """SIGKILL to a service."""
    os.kill(_pid(name), signal.SIGKILL)


def restart(name: str) -> None:
    """Start a service that has crashed."""
    wait_until_gone(name)
    if services("start", name):
        raise RuntimeError(f"{name} does not start again, see services.log")


def flush_redis() -> None:
    with socket.create_connection(("127.0.0.1", REDIS), 2) as line:
        line.sendall(b"FLUSHALL\r\n")
        line.recv(64)


def wait_until_gone(name: str) -> None:
    wait_for(lambda: not Path(f"/proc/{_pid(name)}").exists(), f"the end of {name}")


def wait_for_port(port: int) -> None:
    wait_for(lambda: _listens(port), f"somebody to listen on {port}")


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pid(name: str) -> int:
    return int((DIR / "services" / f"{name}.pid").read_text())
