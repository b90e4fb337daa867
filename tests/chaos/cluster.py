"""Three nodes each of MariaDB (Galera), Redis (with Sentinel) and RabbitMQ, behind HAProxy.

They are processes on loopback, with the checks of deploy/haproxy. A node is killed and starts again
with what it had on disk, or it is cut off: it keeps its clients and loses its peers.
"""

import re
import signal
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tests.chaos import nodes
from tests.chaos.nodes import Node
from tests.stack import ROOT, free_port, wait_for

KINDS = {"mariadb": nodes.MariaDB, "redis": nodes.Redis, "rabbitmq": nodes.RabbitMQ}
LISTENERS = {"mariadb": 3306, "redis": 6379, "rabbitmq": 5672}


class Cluster:
    """The same interface as tests.stack.Services, for a cluster."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        ports = iter(range(first := free_port(40), first + 40))  # 3 * 3 nodes of 4, and HAProxy's
        self._proxy: subprocess.Popen[bytes] | None = None
        self._nodes: dict[str, Node] = {}
        for kind, make in KINDS.items():
            peers = list(islice(ports, 0, 12, 4))
            for index in range(3):
                name = f"{kind} {index + 1}"
                self._nodes[name] = make(directory / name.replace(" ", ""), index, peers)
        self._ports = {kind: next(ports) for kind in KINDS}
        self.names = tuple(self._nodes)

    def environment(self) -> dict[str, str]:
        at = {kind: f"127.0.0.1:{port}" for kind, port in self._ports.items()}
        return {
            "DATABASE_URL": f"mysql://groupbuy:groupbuy@{at['mariadb']}/groupbuy",
            "REDIS_URL": f"redis://{at['redis']}/0",
            "CELERY_BROKER_URL": f"amqp://guest:guest@{at['rabbitmq']}//",
            "AMQP_URL": f"amqp://guest:guest@{at['rabbitmq']}/%2F",
            "GALERA": "true",
            "QUORUM_QUEUES": "true",
        }

    def start(self) -> int:
        """Start all nodes; return 0, or 3 if packages are missing and cannot be installed."""
        command = [str(ROOT / "bin/services.sh"), "cluster"]
        if code := subprocess.run(command, check=False).returncode:
            return code
        for name, node in self._nodes.items():
            node.start(first=name.endswith("1"))
            wait_for(node.is_ready, f"{name}, see {node.log}", 120)
        nodes.make_database(self._nodes["mariadb 1"])
        self._start_proxy()
        return 0

    def stop(self) -> None:
        if self._proxy:
            self._proxy.terminate()
            self._proxy.wait(30)
        for node in reversed(self._nodes.values()):
            node.stop()
        nodes.stop_epmd()

    def crash(self, name: str) -> None:
        self._nodes[name].kill(signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Start a node that has crashed, and wait until it is a full member again."""
        self._nodes[name].start(first=False)
        wait_for(self._nodes[name].is_ready, f"{name} to be back, see {self._nodes[name].log}", 120)

    def faults(self) -> list[tuple[str, Callable[[], None], Callable[[], None]]]:
        """The partitions: each cuts one node of a kind off from its peers."""
        return [
            (f"{name} cut off", node.cut_off, lambda node=node, name=name: self._join(node, name))  # type: ignore[misc]
            for name, node in self._nodes.items()
        ]

    def _join(self, node: Node, name: str) -> None:
        node.join_again()
        wait_for(node.is_ready, f"{name} to join again, see {node.log}", 120)

    def _start_proxy(self) -> None:
        path = self._directory / "haproxy.cfg"
        path.write_text(self._configuration())
        with (self._directory / "haproxy.log").open("ab") as log:
            self._proxy = subprocess.Popen(
                ["haproxy", "-db", "-f", str(path)], stdout=log, stderr=log
            )
        for kind in KINDS:
            wait_for(lambda kind=kind: nodes.accepts(self._ports[kind]), f"HAProxy for {kind}")  # type: ignore[misc]

    def _configuration(self) -> str:
        """deploy/haproxy/groupbuy.cfg with the addresses of this cluster."""
        text = (ROOT / "deploy/haproxy/groupbuy.cfg").read_text("utf-8")
        check = "/etc/haproxy/galera-ready.sh"
        text = text.replace(check, str(ROOT / "deploy/haproxy/galera-ready.sh"))
        for kind, port in LISTENERS.items():
            text = text.replace(f"bind 127.0.0.1:{port}", f"bind 127.0.0.1:{self._ports[kind]}")
            for index in range(3):
                found = rf"server {kind}{index + 1} \S+"
                address = f"127.0.0.1:{self._nodes[f'{kind} {index + 1}'].port}"
                text, count = re.subn(found, f"server {kind}{index + 1} {address}", text)
                assert count == 1
        return text
