"""Metrics of several processes: one that dies, restarts or forks changes no counter."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from groupbuy import metric_files

ROOT = Path(__file__).parent.parent
SALES = ("sales_total", "us")


class Counting:
    """A process that shares its metrics in the directory."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "tests.counting_process", str(directory)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=ROOT, **pipes)
        self.do("0")

    def do(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return str(self._process.stdout.readline())

    def read(self) -> dict[tuple[str, str], float]:
        """The sums of all processes, by name and label."""
        found = ast.literal_eval(self.do("read"))
        return {(name, labels.get("by", "")): value for name, labels, value in found}

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Counting]]:
    started: list[Counting] = []

    def start() -> Counting:
        started.append(Counting(tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_one_process_answers_for_all(start: Callable[[], Counting]) -> None:
    first, second = start(), start()
    first.do("2")
    second.do("3")

    assert first.read() == second.read() == {SALES: 5, ("alive", ""): 2}


def test_a_killed_process_leaves_its_counters_and_no_live_gauge(
    start: Callable[[], Counting],
) -> None:
    first, second = start(), start()
    second.do("3")
    second.kill()

    assert first.read() == {SALES: 3, ("alive", ""): 1}


def test_a_restarted_process_counts_on(start: Callable[[], Counting], tmp_path: Path) -> None:
    first = start()
    for restart in range(1, 4):
        second = start()
        second.do("3")
        assert first.read() == {SALES: 3 * restart, ("alive", ""): 2}
        second.kill()

    assert len(list(tmp_path.glob("counter_*.db"))) == 2


def test_a_forked_child_counts_nothing(start: Callable[[], Counting]) -> None:
    first = start()
    first.do("2")
    first.do("fork")
    first.do("3")

    assert first.read() == {SALES: 5, ("alive", ""): 1}


def test_a_start_after_all_have_ended_begins_at_zero(
    start: Callable[[], Counting], tmp_path: Path
) -> None:
    ended = start()
    ended.do("2")
    ended.kill()
    (tmp_path / "counter_7.db").write_bytes(b"cut off by a power failure")

    assert start().read() == {SALES: 0, ("alive", ""): 1}


def test_the_files_of_every_kind_are_written_in_full_at_the_start(
    start: Callable[[], Counting], tmp_path: Path
) -> None:
    """A page without a block would be a SIGBUS on a full disk. Mutation: no _allocate()."""
    start().do("2")

    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.db")}
    assert sizes == {f"{kind}_0.db": metric_files.SIZE for kind in metric_files.KINDS}
    blocks = {path.stat().st_blocks * 512 for path in tmp_path.glob("*.db")}
    assert min(blocks) >= metric_files.SIZE


def test_every_mode_of_a_gauge_has_its_file() -> None:
    sources = [*ROOT.glob("groupbuy/*.py"), *ROOT.glob("trade/**/*.py")]
    found = re.findall(r'multiprocess_mode="(\w+)"', "".join(p.read_text("utf-8") for p in sources))

    assert set(found) == set(metric_files.MODES)


@pytest.mark.parametrize("fault", ["a file in its place", "no space"])
def test_without_its_files_a_process_counts_for_itself(fault: str, tmp_path: Path) -> None:
    directory, limit = tmp_path / "metrics", "unlimited"
    if fault == "no space":
        limit = "100"  # blocks of 512 or 1024 bytes that a file may have
    else:
        directory.touch()
    code = (
        "import logging, sys; from pathlib import Path; logging.basicConfig()\n"
        "from groupbuy import metric_files; metric_files.share(Path(sys.argv[1]))\n"
        "from prometheus_client import Counter, REGISTRY; Counter('sales', '.').inc(2)\n"
        "print(metric_files.collect(), REGISTRY.get_sample_value('sales_total'))"
    )
    command = f'ulimit -f {limit}; exec "$0" -c "$1" "$2"'
    run = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, code, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stdout) == (0, "None 2.0\n"), run.stderr
    assert "This process shares no metrics" in run.stderr
