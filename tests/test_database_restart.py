"""MariaDB is killed and started again, between two calls and in the middle of some: none fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from groupbuy_client import Client
from tests.factories import GOODS
from tests.stack import (
    EMBEDDED,
    ROOT,
    Processes,
    Services,
    direct_session,
    free_port,
    wait_for,
    web,
)

pytestmark = pytest.mark.chaos
NO_SERVICES = 3
ACTIVITY = 100123


class Platform:
    """A web server of four threads on a MariaDB of its own, and a mall that repeats nothing."""

    def __init__(self, directory: Path) -> None:
        self.database = Services(directory / "services", "mariadb")
        self.url = self.database.environment()["DATABASE_URL"]
        port = free_port()
        environment = EMBEDDED | {
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "tests.patient",
            "SECRET_KEY": "restarts",
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "VAR_DIR": str(directory),
        }
        self._environment = os.environ | environment
        self._port = port
        self._server = Processes({"web": web(port, workers=1)}, environment, directory / "web.log")

    @contextmanager
    def running(self) -> Iterator[None]:
        if self.database.start() == NO_SERVICES:
            pytest.skip("MariaDB could not be installed")
        try:
            self.manage("migrate", "--verbosity", "0")
            self.manage("seed_demo")
            key = self.manage("create_api_key", "s01", "c01").split()[-1]
            self.mall = Client(
                f"http://127.0.0.1:{self._port}",
                key,
                source="s01",
                channel="c01",
                timeout=300,
                pauses=(),
                session=direct_session,
            )
            with self._server.running():
                self._server.wait_until_up(self._port)
                yield
        finally:
            self.database.stop()

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        run = subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True
        )
        return run.stdout

    def connect(self) -> Any:
        import MySQLdb  # noqa: PLC0415  not installed where the tests run on SQLite only

        parts = urlsplit(self.url)
        return MySQLdb.connect(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            password=parts.password,
            database=parts.path[1:],
        )

    def waiting(self) -> int:
        """How many transactions wait for a row."""
        with closing(self.connect()) as other:
            other.query("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
            return int(other.store_result().num_rows())

    def restart(self) -> None:
        self.database.crash("mariadb")
        self.database.restart("mariadb")

    def lock(self, user: str, team: str = "") -> Any:
        return self.mall.lock(
            user_id=user,
            goods_id=GOODS,
            activity_id=ACTIVITY,
            out_trade_no=f"t-{user}",
            team_id=team,
            notify_url="http://127.0.0.1:9/callback",
        )


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    with platform.running():
        yield platform


def test_a_restart_between_two_calls_fails_none(platform: Platform) -> None:
    with ThreadPoolExecutor(8) as threads:
        teams = list(threads.map(platform.lock, "abcdefgh"))  # each thread has a connection
        platform.restart()
        seats = list(threads.map(platform.lock, "ijklmnop", [each.team_id for each in teams]))

    assert [seat.team_id for seat in seats] == [team.team_id for team in teams]
    assert platform.mall.order("t-a").team_id == teams[0].team_id


def test_a_restart_in_the_middle_of_calls_fails_none(platform: Platform) -> None:
    """All of them wait for the row of their team when the database dies."""
    team = platform.lock("a").team_id
    platform.lock("b", team)
    mall, paid_at = platform.mall, datetime.now(UTC)
    with closing(platform.connect()) as other, ThreadPoolExecutor(3) as threads:
        other.query("BEGIN")
        other.query("SELECT * FROM trade_team FOR UPDATE")
        other.store_result()
        joins = threads.submit(platform.lock, "c", team)
        pays = threads.submit(mall.settle, user_id="a", out_trade_no="t-a", paid_at=paid_at)
        leaves = threads.submit(mall.refund, user_id="b", out_trade_no="t-b")
        wait_for(lambda: platform.waiting() == 3, "calls that wait for the team")
        platform.restart()
        outcomes = joins.result().team_id, pays.result().team_id, leaves.result().code

    assert outcomes == (team, team, "success")
    found = mall.team(team)
    assert (found.lock_count, found.complete_count) == (2, 1)
