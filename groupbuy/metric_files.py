"""Metrics of several processes: each has a numbered slot, and its values are in the slot's files.

prometheus_client names the files after process ids, so they pile up with every restart. A slot is
held by a lock that the kernel releases when its process ends, however it ends. The next process to
start takes the slot over and continues the counts in its files, so no counter ever falls.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

logger = logging.getLogger(__name__)

LIVE = "gauge_live*_{}.db"  # gauges that mean something only while their process lives
MODES = ("livesum", "livemin", "max", "mostrecent")  # of gauges
KINDS = ("counter", "histogram", *(f"gauge_{mode}" for mode in MODES))  # of files
SIZE = 1024 * 1024  # bytes of a file, several times what all series take

_directory: Path | None = None
_slot: tuple[int, int] | None = None  # its number, and the descriptor that holds its lock


def share(directory: Path) -> None:
    """Keep the metrics of this process in the directory. Call before metrics are defined.

    A directory that cannot be used is a warning, and this process shares no metrics.
    """
    global _directory, _slot
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _slot = _claim(directory)
    except OSError as exc:
        logger.warning("This process shares no metrics: %s", exc)
        return
    _directory = directory
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    os.register_at_fork(after_in_child=_leave)
    values.ValueClass = values.MultiProcessValue(_number)


def collect() -> CollectorRegistry | None:
    """The metrics of all processes that share the directory; None: this one shares none."""
    if _directory is None:
        return None
    with _locked(_directory):
        for number in _dead(_directory):
            _remove(_directory, LIVE.format(number))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(_directory))
    return registry


def _number() -> int:
    """The slot of this process; prometheus_client calls this at each change of a value."""
    assert _slot is not None
    return _slot[0]


def _leave() -> None:
    """Make a forked child count nothing: the files are its parent's. Celery forks only beat."""
    for method in ("__init__", "inc", "set"):
        setattr(values.ValueClass, method, lambda *_arguments, **_named: None)
    if _slot is not None:
        os.close(_slot[1])  # or the slot would be held for as long as the child lives


def _claim(directory: Path) -> tuple[int, int]:
    with _locked(directory):
        if len(_dead(directory)) == len(_slots(directory)):
            _remove(directory, "*.db")  # nothing runs: a new start, perhaps of another version
        for number in count():
            held = _try_lock(directory / f"{number}.slot")
            if held is not None:
                _remove(directory, LIVE.format(number))
                _allocate(directory, number, held)
                return number, held
    raise AssertionError  # count() does not end


def _allocate(directory: Path, number: int, held: int) -> None:
    """Allocate the slot's files in full, because writing to a hole on a full disk is a SIGBUS."""
    try:
        for kind in KINDS:
            with (directory / f"{kind}_{number}.db").open("ab") as file:
                file.write(bytes(max(0, SIZE - file.tell())))
    except OSError:
        os.close(held)
        raise


def _slots(directory: Path) -> list[Path]:
    return list(directory.glob("*.slot"))


def _dead(directory: Path) -> list[int]:
    """The slots that no process holds."""
    found = []
    for path in _slots(directory):
        held = _try_lock(path)
        if held is not None:
            os.close(held)
            found.append(int(path.stem))
    return found


def _try_lock(path: Path) -> int | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the slots against other processes."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(directory: Path, pattern: str) -> None:
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):
            path.unlink()
