"""Sweeps run while the broker is down, and a worker connects to the broker again."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery
from celery.beat import SchedulingError
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu import pools

import activity.tasks  # noqa: F401
import pages.tasks  # noqa: F401
import tag.tasks  # noqa: F401
import trade.tasks  # noqa: F401  all register the tasks of the schedule
from groupbuy import sweeps
from groupbuy.celery import app
from tests.factories import lock, make_activity, make_promise, settle
from trade.models import NotifyAttempt, Order, Team

ROOT = Path(__file__).parent.parent
NO_SERVICES = 3
PATIENCE = 300  # seconds until a test fails; nothing here takes as long
Reason, Status = Order.CloseReason, Order.Status


def make_overdue_hold() -> Order:
    """A hold past its pay_deadline, in a team that still has a day."""
    now = timezone.now()
    window = {"start_at": now - timedelta(days=1), "end_at": now + timedelta(days=1)}
    make_activity(1, goods_id="1", valid_minutes=24 * 60, **window)
    long_ago = now - timedelta(hours=2)
    return lock("slow", activity_id=1, goods_id="1", now=long_ago)


def make_overdue_team() -> Team:
    """A team whose time is up, in which one of three has paid."""
    now = timezone.now()
    window = {"start_at": now - timedelta(days=1), "end_at": now + timedelta(days=1)}
    make_activity(2, goods_id="2", **window)
    long_ago = now - timedelta(hours=2)
    order = lock("lonely", activity_id=2, goods_id="2", now=long_ago)
    settle("lonely", paid_at=long_ago, now=long_ago)
    return Team.objects.get(pk=order.team_id)


@pytest.mark.django_db(transaction=True)
def test_a_sweep_runs_without_the_broker() -> None:
    order = make_overdue_hold()

    sweeps.run("close overdue holds")

    order.refresh_from_db()
    assert (order.status, order.close_reason) == (Status.CLOSED, Reason.HOLD_TIMEOUT)


@pytest.mark.django_db(transaction=True)
def test_a_sweep_that_an_operator_has_disabled_does_not_run() -> None:
    order = make_overdue_hold()
    period = IntervalSchedule.objects.create(every=10, period=IntervalSchedule.SECONDS)
    name = "close overdue holds"
    PeriodicTask.objects.create(name=name, task="any", interval=period, enabled=False)

    sweeps.run(name)

    order.refresh_from_db()
    assert order.status == Status.LOCKED


@pytest.mark.django_db(transaction=True)
def test_a_sweep_leaves_no_connection_open() -> None:
    """After a restart of MariaDB the next run would fail on an open connection, unnoticed."""
    make_overdue_hold()

    def sweep() -> bool:
        sweeps.run("close overdue holds")
        return connection.connection is None

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(sweep).result() is True
    assert Order.objects.get().status == Status.CLOSED


def test_the_schedule_names_tasks_that_exist() -> None:
    app.loader.import_default_modules()  # as a worker does at its start
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)


def test_a_worker_retries_its_broker_for_ever() -> None:
    assert app.conf.broker_connection_max_retries is None


def test_beat_logs_one_line_for_a_message_that_it_could_not_send() -> None:
    error = SchedulingError("Couldn't apply scheduled task: refused")
    stacks = ["a stack"]
    record = logging.LogRecord(
        "celery.beat", logging.ERROR, "", 1, "Message Error: %s\n%s", (error, stacks),
        (SchedulingError, error, None),
    )  # fmt: skip

    assert sweeps.BriefErrors().filter(record)
    assert logging.Formatter().format(record) == "Couldn't apply scheduled task: refused"


class RabbitMQ:
    """A broker for one test, which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.pid_file = directory / "rabbitmq.pid"
        self.port = free_ports(3)  # for clients, for nodes, for epmd
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        ports = {"RABBITMQ_PORT": str(self.port), "SERVICES_DIR": str(directory)}
        self.environment = os.environ | ports

    def services(self, *arguments: str) -> int:
        command = [str(ROOT / "bin" / "services.sh"), *arguments]
        return subprocess.run(
            command, env=self.environment, stdout=subprocess.DEVNULL, check=False
        ).returncode

    def kill(self) -> None:
        pid = int(self.pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of RabbitMQ")

    def is_away(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    broker = RabbitMQ(tmp_path / "services")
    if broker.services("start", "rabbitmq") == NO_SERVICES:
        pytest.skip("RabbitMQ could not be installed")
    yield broker
    broker.services("stop")


@pytest.fixture
def worker(rabbitmq: RabbitMQ, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with beat on the test's database, as the Procfile starts it."""
    command = "--app groupbuy --quiet worker --beat --pool threads --loglevel WARNING"
    variables = {
        "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        "CELERY_BROKER_URL": rabbitmq.url,
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "celery", *command.split()],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
        )
    yield process
    process.terminate()
    process.wait(PATIENCE)


@pytest.mark.chaos
@pytest.mark.skipif(connection.vendor == "mysql", reason="the broker is what matters: run once")
@pytest.mark.django_db(transaction=True)
def test_sweeps_run_while_rabbitmq_is_down(
    rabbitmq: RabbitMQ, worker: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", rabbitmq.url)  # Celery reads it itself

    def answers() -> bool:
        assert worker.poll() is None, "the worker has ended"
        if rabbitmq.is_away():
            return False
        pools.reset()  # its connections were to the broker before
        return bool(Celery(set_as_current=False).control.ping(timeout=1))

    wait_for(answers, "the worker, through RabbitMQ")
    rabbitmq.kill()
    order, team = make_overdue_hold(), make_overdue_team()
    make_promise(next_attempt_at=timezone.now())

    wait_for(lambda: closed_as(order) == Reason.HOLD_TIMEOUT, "the end of the hold")
    wait_for(lambda: Team.objects.get(pk=team.pk).status == Team.Status.FAILED, "the team's end")
    wait_for(lambda: closed_as(team.orders.get()) == Reason.TEAM_ENDED, "the paid order's end")
    wait_for(lambda: NotifyAttempt.objects.filter(task__key="team_success-1").exists(), "a call")
    assert rabbitmq.is_away()

    rabbitmq.services("start", "rabbitmq")
    wait_for(answers, "the worker, through RabbitMQ again")


def closed_as(order: Order) -> str:
    order.refresh_from_db()
    return order.close_reason


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def free_ports(count: int) -> int:
    """The first of this many consecutive free ports."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first: int = probe.getsockname()[1]
        if all(is_free(port) for port in range(first, first + count)):
            return first


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True
