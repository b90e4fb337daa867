"""Callbacks: their rate, and their delay after the completion, also beside a mall that hangs.

One Celery worker runs as the Procfile starts it, with Redis as its broker, and three malls in a
process of their own (malls.py); for callbacks by MQ also RabbitMQ. Completions are real: the last
order of a team is settled through the API. A delay is the time from the team's completed_at to the
arrival at the mall, by this machine's clock. It includes the commit, which waits for the disk as
the answer of the settlement does: the time of these calls stands beside it.
"""

import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pika
from django.db import connections
from django.db.models import Max, Min

from benchmarks import bulk, malls, rows
from benchmarks.bodies import SETTLE, settle_body
from benchmarks.stack import ENVIRONMENT, OUT, SERVICES, WEB_PORT, Row, row, server, worker
from tests.stack import ROOT
from trade.models import NotifyAttempt, NotifyTask, Team, Transport
from trade.notify import rabbitmq

WAITING, LONGEST = 5_000, 60  # promises, and seconds within which the worker must send them
THREADS = 8  # as many as the worker has
RATE, SECONDS, ROUNDS = 50, 10, 5  # completions a second at the healthy mall
SHARE = 5  # for this many completions there is one more at another mall, which answers or hangs
WARM_UP = 3  # seconds
HANGING = 6  # seconds after which no send to the hanging mall is under way any more
JOURNAL = OUT / "callbacks.txt"

Delays = list[float]
Round = tuple[Delays, Delays]  # of the callbacks, and of the settlement calls


def measure(key: str) -> list[Row]:
    print("callbacks …", flush=True)
    with mall():
        plain, waiting, by_mq = _posts_per_second(), _waiting_per_second(), _waiting_by_mq()
        bulk.clear()
        with server(), worker():
            _delays(key, seconds=WARM_UP, beside=malls.SECOND)
            rounds = [
                (_delays(key, beside=malls.SECOND), _delays(key, beside=malls.DEAD))
                for _ in range(ROUNDS)
            ]
    return [
        row("waiting callbacks sent by HTTP / bare POSTs", waiting, "/s", waiting / plain),
        row("waiting callbacks sent by HTTP / 600 a second", waiting, "/s", waiting / 600, 1.0),
        row("waiting callbacks sent by MQ / 1,500 a second", by_mq, "/s", by_mq / 1500, 1.0),
        *_table(rounds),
    ]


def _table(rounds: list[tuple[Round, Round]]) -> list[Row]:
    delays = [delay for (well, _calls), _hanging in rounds for delay in well]
    p99 = [(_p99(well), _p99(hanging)) for (well, _), (hanging, _) in rounds]
    calls = [_p99(calls) for (_well, calls), _hanging in rounds]
    to_calls = statistics.median(call / well for call, (well, _) in zip(calls, p99, strict=True))
    ratio = statistics.median(well / hanging for well, hanging in p99)
    median = 1000 * statistics.median(delays)
    well_p99 = 1000 * statistics.median(well for well, _hanging in p99)
    name = f"completion to callback, {RATE} a second"
    return [
        row(f"{name}, median / 11 ms", median, "ms", 11 / median, 1),
        row(f"{name}, p99 / 22 ms", well_p99, "ms", 22 / well_p99, 1),
        row(
            "p99 of these settlement calls / of the callbacks",
            1000 * statistics.median(calls),
            "ms",
            to_calls,
        ),
        row(
            "p99 delay with one mall hanging; all healthy / one hanging",
            1000 * statistics.median(hanging for _well, hanging in p99),
            "ms",
            ratio,
            0.83,
        ),
    ]


def _p99(delays: Delays) -> float:
    return statistics.quantiles(delays, n=100)[98]


@contextmanager
def mall() -> Iterator[None]:
    """Run the malls of malls.py."""
    command = [sys.executable, "-m", "benchmarks.malls", str(JOURNAL), *map(str, malls.PORTS)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: _listens(malls.PORTS[0]), 10, "the mall did not start")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def arrivals() -> dict[str, float]:
    """The first arrival of each webhook-id, in order of time."""
    arrivals: dict[str, float] = {}
    for line in JOURNAL.read_text().splitlines():
        moment, key = line.split()
        arrivals.setdefault(key, float(moment))
    return arrivals


def wait_until(is_so: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(otherwise)
        time.sleep(0.5)


def _posts_per_second() -> float:
    """Bare POSTs a second, by as many threads as the worker has, without a database."""
    host = urlsplit(malls.HEALTHY)

    def post(numbers: range) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", host.port or 80, timeout=5)
        for number in numbers:
            body = json.dumps({"teamId": str(number), "outTradeNoList": ["a", "b", "c"]})
            headers = {"webhook-id": f"bare-{number}", "Content-Type": "application/json"}
            connection.request("POST", host.path, body, headers)
            assert connection.getresponse().read() == b"success"
        connection.close()

    started = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, [range(n, WAITING, THREADS) for n in range(THREADS)]))
    return WAITING / (time.monotonic() - started)


def _waiting_per_second(**environment: str) -> float:
    """Waiting promises sent a second by a new worker, from first attempt to last delivery."""
    bulk.clear()
    promises = {"name": "waiting", "target": malls.HEALTHY, "state": "0", "due": "NOW(6)"}
    bulk.load(bulk.PROMISE, WAITING, **promises)
    if environment:
        mq = {"transport": Transport.MQ, "target": "topic.team_success", "endpoint": "RabbitMQ"}
        NotifyTask.objects.update(**mq)
    bulk.analyze()
    waiting = NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED)
    with worker(**environment):
        wait_until(lambda: not waiting.exists(), LONGEST, "callbacks are missing")
    first = NotifyAttempt.objects.aggregate(at=Min("started_at"))["at"]
    last = NotifyTask.objects.aggregate(at=Max("delivered_at"))["at"]
    connections.close_all()
    seconds: float = (last - first).total_seconds()
    return WAITING / seconds


def _waiting_by_mq() -> float:
    """Callbacks a second that RabbitMQ confirms, to a queue without a consumer."""
    if SERVICES.run("start", "rabbitmq"):
        sys.exit(f"RabbitMQ does not start; see {OUT}/services/services.log")
    url = ENVIRONMENT["AMQP_URL"]
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        rabbitmq.declare_exchange(channel)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, rabbitmq.EXCHANGE, "topic.team_success")
        return _waiting_per_second(AMQP_URL=url)


def _delays(key: str, *, seconds: int = SECONDS, beside: str) -> Round:
    """Seconds from completion to callback at the healthy mall, while `beside` is called, too."""
    teams = rows.make_teams(RATE * seconds, 3, paid=2, notify_url=malls.HEALTHY)
    plan = [(n / RATE, members[2]) for n, (_id, members) in enumerate(teams)]
    others = rows.make_teams(RATE * seconds // SHARE, 3, paid=2, notify_url=beside)
    plan += [(n * SHARE / RATE, members[2]) for n, (_id, members) in enumerate(others)]
    calls = _settle_all(sorted(plan), key)
    keys = {f"team_success-{team_id}" for team_id, _members in teams}
    wait_until(lambda: keys <= arrivals().keys(), LONGEST, "callbacks are missing")
    if beside == malls.DEAD:
        _give_up_dead()
    done = Team.objects.filter(pk__in=[int(team_id) for team_id, _members in teams])
    arrived = arrivals()
    return [
        arrived[f"team_success-{pk}"] - completed_at.timestamp()
        for pk, completed_at in done.values_list("pk", "completed_at")
        if completed_at
    ], calls


def _settle_all(plan: list[tuple[float, str]], key: str) -> Delays:
    """Settle each order at its second from now, by threads with a connection each.

    Returns how many seconds each call took.
    """
    started = time.monotonic() + 0.5

    def settle(share: list[tuple[float, str]]) -> Iterator[float]:
        connection = http.client.HTTPConnection("127.0.0.1", int(WEB_PORT), timeout=10)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        for second, user in share:
            time.sleep(max(0, started + second - time.monotonic()))
            asked = time.monotonic()
            connection.request("POST", f"/{SETTLE}", json.dumps(settle_body(user)), headers)
            answer = connection.getresponse().read()
            assert b'"code":"0000"' in answer, answer
            yield time.monotonic() - asked
        connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        shares = [plan[n::THREADS] for n in range(THREADS)]
        return [seconds for each in pool.map(lambda s: list(settle(s)), shares) for seconds in each]


def _give_up_dead() -> None:
    """Give up the hanging mall's notifications, and wait until no worker is sending one."""
    state = {"state": NotifyTask.State.GIVEN_UP, "next_attempt_at": None, "attempts": 99}
    NotifyTask.objects.filter(target=malls.DEAD).update(**state)
    connections.close_all()
    time.sleep(HANGING)
