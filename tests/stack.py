"""Starts the project on free ports of loopback: for the demo, the fault suite and the benchmarks.

embedded()  the whole stack of `make run`
Services    MariaDB, Redis and RabbitMQ, by bin/services.sh
Processes   web servers and workers, by the Procfile
"""

import fcntl
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import requests

ROOT = Path(__file__).resolve().parent.parent
PROCFILE = dict(re.findall(r"^(\w+): (.+)$", (ROOT / "Procfile").read_text("utf-8"), re.M))
# Below the ports that the system gives to outgoing connections: the port of a service that has
# crashed is still free when it starts again.
PORTS = range(20_000, 32_000)
VARIABLES = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.M)
EMBEDDED = dict.fromkeys(VARIABLES, "")  # the defaults, not the caller's variables


@contextmanager
def embedded(
    var_dir: Path, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the stack of `make run`, with no variables but these; yield its address and credentials.

    The credentials include the addresses of the reference mall and of its pretend Alipay.
    """
    port, mall, alipay = free_port(), free_port(), free_port()
    ports = {"PORT": str(port), "MALL_PORT": str(mall), "ALIPAY_PORT": str(alipay)}
    environment = EMBEDDED | ports | {"VAR_DIR": str(var_dir), "HISTORY": "false"}
    environment |= dict(variables or {})
    stack = Processes({"stack": "exec bin/run.sh"}, environment, var_dir / "stack.log")
    with stack.running():
        for each in (port, mall, alipay):
            stack.wait_until_up(each)
        credentials = json.loads((var_dir / "demo.json").read_text("utf-8"))
        others = {"mall": f"http://127.0.0.1:{mall}", "alipay": f"http://127.0.0.1:{alipay}"}
        yield f"http://127.0.0.1:{port}", credentials | others


@contextmanager
def second_mall(var_dir: Path, platform: str) -> Iterator[dict[str, str]]:
    """Run a second reference mall beside that of embedded(): s03/c01, which sells subscriptions.

    Yields the addresses of the mall and of its own pretend Alipay.
    """
    port, alipay = free_port(), free_port()
    found = {"mall": f"http://127.0.0.1:{port}", "alipay": f"http://127.0.0.1:{alipay}"}
    environment = EMBEDDED | {
        "VAR_DIR": str(var_dir),
        "PYTHONPATH": str(ROOT / "clients/python/src"),
        "NO_PROXY": "127.0.0.1",
        "MALL_PORT": str(port),
        "ALIPAY_PORT": str(alipay),
        "MALL_DEMO": "on",
        "MALL_BELIEVE_USER_ID": "on",
        "MALL_VAR_DIR": str(var_dir / "mall2"),
        "MALL_URL": found["mall"],
        "MALL_PLATFORM_URL": platform,
        "MALL_SOURCE": "s03",
        "MALL_CHANNEL": "c01",
        "MALL_CREDENTIALS": str(var_dir / "demo-s03-c01.json"),
        "MALL_GOODS": str(ROOT / "examples/mall/mall/subscriptions.json"),
        "MALL_ALIPAY_GATEWAY": f"{found['alipay']}/gateway.do",
    }
    for command in (
        ["manage.py", "seed_demo", "--second-mall", found["mall"]],
        ["examples/mall/manage.py", "prepare"],
    ):
        subprocess.run(
            [ROOT / ".venv/bin/python", *command],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    commands = {name: PROCFILE[name] for name in ("mall", "mall_work", "alipay")}
    processes = Processes(commands, environment, var_dir / "mall2.log")
    with processes.running():
        for each in (port, alipay):
            processes.wait_until_up(each)
        yield found


class Services:
    """MariaDB, Redis and RabbitMQ with their data below a directory."""

    def __init__(
        self, directory: Path, *names: str, flush: bool = True, metrics_port: int = 0
    ) -> None:
        """flush: MariaDB writes every commit to the disk before it answers.

        metrics_port: the port on which RabbitMQ serves its metrics.
        """
        self.names = names or ("mariadb", "redis", "rabbitmq")
        self._directory = directory
        self._variables = {
            "SERVICES_DIR": str(directory),
            "MARIADB_PORT": str(free_port()),
            "REDIS_SERVICE_PORT": str(free_port()),
            "RABBITMQ_PORT": str(free_port(3)),
            "RABBITMQ_METRICS_PORT": str(metrics_port or ""),
            "FLUSH": "on" if flush else "off",
        }

    def environment(self) -> dict[str, str]:
        """The variables that point the project there."""
        command = [str(ROOT / "bin/services.sh"), "env"]
        variables = os.environ | self._variables
        run = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return dict(line.split("=", 1) for line in run.stdout.splitlines())

    def run(self, *arguments: str) -> int:
        """Run bin/services.sh; return its exit code."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [str(ROOT / "bin/services.sh"), *arguments]
        with (self._directory / "services.log").open("ab") as log:
            run = subprocess.run(
                command, env=os.environ | self._variables, stdout=log, stderr=log, check=False
            )
        return run.returncode

    def start(self) -> int:
        return self.run("start", *self.names)

    def stop(self) -> None:
        self.run("stop")

    def seconds(self) -> float:
        """Processor time that the services have used so far."""
        names = [name for name in self.names if (self._directory / f"{name}.pid").exists()]
        return processor_seconds({self._pid(name) for name in names})

    def crash(self, name: str) -> None:
        os.kill(self._pid(name), signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Start a service that has crashed."""
        wait_for(lambda: not Path(f"/proc/{self._pid(name)}").exists(), f"the end of {name}")
        if self.run("start", name):
            raise RuntimeError(f"{name} does not start again, see {self._directory}/services.log")

    def _pid(self, name: str) -> int:
        return int((self._directory / f"{name}.pid").read_text())


class Processes:
    """Commands that are kept alive as a supervisor would, each in a process group of its own."""

    def __init__(
        self, commands: Mapping[str, str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.commands = dict(commands)
        self.log = log
        self.died = 0  # processes that ended unasked
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore::UserWarning:celery.platforms",
            **environment,
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        (Path(self._environment["VAR_DIR"]) / "static").mkdir(parents=True, exist_ok=True)
        try:
            for name in self.commands:
                self._start(name)
            yield
        finally:
            self._stop()

    def wait_until_up(self, port: int) -> None:
        """Wait for a web server. Raises RuntimeError if a process has ended instead."""
        wait_for(lambda: self.ended() or _answers(port), f"an answer on port {port}")
        if ended := self.ended():
            raise RuntimeError(f"{', '.join(ended)} did not start, see {self.log}")

    def kill(self, name: str) -> None:
        """Send SIGKILL to the process and its children, and start it again."""
        self.crash(name)
        self._start(name)

    def crash(self, name: str) -> None:
        """Send SIGKILL to the process and its children; revive() starts it again."""
        process = self._running[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        os.killpg(self._running[name].pid, number)

    def restart(self, name: str) -> int:
        """Send SIGTERM to the process, and start it again after its end; return its exit code."""
        process = self._running[name]
        process.terminate()
        code = process.wait(60)
        self._start(name)
        return code

    def revive(self) -> None:
        """Start the processes again that have ended unasked."""
        for name in self.ended():
            self.died += 1
            self._start(name)

    def seconds(self) -> float:
        """Processor time that these processes and their children have used so far."""
        return processor_seconds({process.pid for process in self._running.values()})

    def ended(self) -> list[str]:
        """The names of the processes that have ended unasked."""
        return [name for name, each in self._running.items() if each.poll() is not None]

    def _start(self, name: str) -> None:
        with self.log.open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", self.commands[name]],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def queue_length(address: str) -> int:
    """The kernel's limit of connections waiting at this listening address or path."""
    command = ["/bin/sh", "-c", "ss -Hlntx"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [found] = [line.split() for line in listed.splitlines() if f" {address} " in line]
    return int(found[found.index("LISTEN") + 2])


def web(port: int, *, workers: int, threads: int = 4) -> str:
    """The Procfile's web server on this port."""
    variables = f"export PORT={port} WEB_WORKERS={workers} WEB_THREADS={threads}"
    return f"{variables}; {PROCFILE['web']}"


def worker(name: str = "celery", *, beat: bool = True) -> str:
    """The Procfile's worker; a further one has a name of its own and no beat."""
    command = PROCFILE["worker"] if beat else PROCFILE["worker"].replace(" --beat", "")
    return f"{command} --hostname {name}@%h"


def processor_seconds(ids: Set[int]) -> float:
    """Processor time so far of the living processes with these ids, or in sessions with them."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            if ids & {int(path.parent.name), int(fields[3])}:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def free_port(in_a_row: int = 1) -> int:
    """A free port of loopback; the following ones are free, too.

    No other process that asks here gets them while this one lives: tests that run side by side
    would otherwise start servers on one port.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        if all(_is_free(port + number) and _reserve(port + number) for number in range(in_a_row)):
            return port


@cache
def _reservations() -> int:
    """A file that all processes of this user share; a lock on its byte N reserves port N."""
    path = Path(gettempdir()) / f"groupbuy-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def wait_for(happened: Callable[[], object], what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} seconds for {what}")
        time.sleep(0.1)


def direct_session() -> requests.Session:
    """A session for loopback, which ignores the environment's proxies."""
    session = requests.Session()
    session.trust_env = False
    return session


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
