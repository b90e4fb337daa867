"""The internal listener of real processes: one answers for all, and another one follows it."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from django.db import connection

from tests.stack import EMBEDDED, Processes, direct_session, free_port, wait_for, web

pytestmark = pytest.mark.skipif(
    connection.vendor == "mysql", reason="has a database of its own: run once"
)
WORKERS = 3
NOWHERE = 'gbm_http_requests_total{code="",endpoint="path_not_found",status="404"}'


class Stack:
    """A web server of several processes, without Redis and worker."""

    def __init__(self, directory: Path) -> None:
        self.port, self.internal = free_port(), free_port()
        self._session = direct_session()
        environment = EMBEDDED | {
            "VAR_DIR": str(directory),
            "METRICS_LISTEN": f"127.0.0.1:{self.internal}",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "CELERY_BROKER_URL": "memory://",
            "LOG_LEVEL": "ERROR",
        }
        command = {"web": web(self.port, workers=WORKERS, threads=1)}
        self.processes = Processes(command, environment, directory / "web.log")

    def ask(self, count: int) -> None:
        """Requests on connections of their own, so that any process may get them."""
        for _ in range(count):
            url = f"http://127.0.0.1:{self.port}/api/nowhere"
            self._session.get(url, headers={"Connection": "close"}, timeout=30)

    def metrics(self) -> dict[str, float]:
        """Empty while nobody answers."""
        url = f"http://127.0.0.1:{self.internal}/internal/metrics"
        try:
            text = self._session.get(url, timeout=30).text
        except requests.ConnectionError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def processes_alive(self) -> float:
        return self.metrics().get('gbm_processes{kind="web"}', 0)

    def listener(self) -> psutil.Process:
        """The process that has the internal address."""
        [found] = [
            process
            for process in psutil.Process().children(recursive=True)
            for each in process.net_connections("inet")
            if each.status == psutil.CONN_LISTEN and each.laddr.port == self.internal
        ]
        return found


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    with stack.processes.running():
        stack.processes.wait_until_up(stack.port)
        wait_for(lambda: stack.processes_alive() == WORKERS, "all processes")
        yield stack


def test_a_process_that_dies_loses_no_count(stack: Stack) -> None:
    stack.ask(30)
    assert stack.metrics()[NOWHERE] == 30

    listener = stack.listener()
    listener.kill()
    listener.wait(60)
    wait_for(lambda: stack.processes_alive() == WORKERS, "the process started again")
    stack.ask(12)

    assert stack.metrics()[NOWHERE] == 42
