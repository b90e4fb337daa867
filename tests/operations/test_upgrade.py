"""An upgrade from the previous release, with its data and under load (docs/deployment.md)."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.edge import Edge
from tests.operations.shoppers import Shoppers
from tests.stack import ROOT, Processes, Services, worker

pytestmark = pytest.mark.operations
RELEASE_BEFORE = "84dbbd1"  # a commit; the next release is tested from this one
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The code of the previous release."""
    command = ["git", "archive", RELEASE_BEFORE]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {RELEASE_BEFORE} is not here: {archive.stderr.decode()}")
    code = tmp_path / "old"
    code.mkdir()
    command = ["tar", "-x", "-C", str(code)]
    subprocess.run(command, input=archive.stdout, check=True)
    return code


@pytest.fixture
def edge(old: Path, tmp_path: Path, _nginx: None) -> Iterator[Edge]:
    """The previous release on MariaDB and Redis, with thirty days of trade, behind nginx."""
    pytest.importorskip("MySQLdb", reason="no mysqlclient")
    services = Services(tmp_path / "services", "mariadb", "redis", flush=False)
    if services.start():
        pytest.skip(f"no MariaDB or Redis: see {tmp_path}/services/services.log")
    current = tmp_path / "current"
    current.symlink_to(old)
    names = ("DATABASE_URL", "REDIS_URL")
    variables = {name: services.environment()[name] for name in names}
    edge = Edge(
        tmp_path / "root",
        code=current,
        CELERY_BROKER_URL=variables["REDIS_URL"],
        CALLBACK_NETWORKS="127.0.0.0/8",
        **variables,
    )
    try:
        with edge.platform(), edge.nginx():
            edge.manage("seed_demo", "--history", NOWHERE)
            yield edge
    finally:
        services.stop()


def test_an_upgrade_under_load_fails_no_request(edge: Edge, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    workers = Processes({"w": f"cd {edge.code} && {worker()}"}, edge.environment, log)
    shoppers = Shoppers(edge, edge.client(pauses=()))  # a mall that repeats nothing
    with workers.running(), shoppers.buying():
        (tmp_path / "next").symlink_to(ROOT)
        (tmp_path / "next").rename(edge.code)
        edge.manage("migrate", "--verbosity", "0")
        shoppers.wait_for_more()  # served by the old code, on the new tables
        for name in ("a", "b"):
            assert edge.webs.restart(name) == 0
            edge.wait_until_up(name)
            shoppers.wait_for_more()
        workers.restart("w")
        shoppers.wait_for_more()

    assert shoppers.failures == []
    edge.manage("migrate", "--check")  # exits with 1 if a migration is missing
    edge.manage("check_invariants")  # exits with 1 if a rule is broken
