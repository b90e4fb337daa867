"""Metrics of several processes: what dies, starts again or forks changes no counter."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
        """By name and label."""
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
