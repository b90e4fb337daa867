"""One platform behind nginx for all tests of a module."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.edge import Edge, Mall
from tests.stack import ROOT


@pytest.fixture(scope="session")
def _nginx() -> None:
    install = [str(ROOT / "bin/services.sh"), "nginx"]
    if (run := subprocess.run(install, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"nginx cannot be installed: {run.stderr.strip()}")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, _nginx: None) -> Edge:
    """An nginx and its upstreams, not started yet."""
    return Edge(tmp_path_factory.mktemp("edge"))


@pytest.fixture
def lonely(tmp_path: Path, _nginx: None) -> Edge:
    """An nginx without a running upstream."""
    return Edge(tmp_path)


@pytest.fixture(scope="module")
def served(edge: Edge) -> Iterator[Edge]:
    """nginx, two web servers and the demo's goods."""
    with edge.platform(), edge.nginx():
        yield edge


@pytest.fixture(scope="module")
def mall(edge: Edge) -> Iterator[Mall]:
    with Mall(edge.root / "run/groupbuy-mall/web.sock") as mall:
        mall.start()
        yield mall
        mall.shutdown()
