"""Lines of log: one format, no secrets, one trace from a request to its callbacks."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from logging.config import DictConfigurator
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import time_machine
from celery import current_app
from django.utils import timezone
from rest_framework.test import APIClient

import trade.tasks  # noqa: F401  registers the tasks
from groupbuy import access, logs, tracing
from groupbuy.models import ApiKey
from tests.factories import GOODS, NOW, make_activity, make_channel, make_promise
from tests.log_file import LogFile, kept
from tests.sink import SUCCESS, Request, Sink, reply
from trade.models import Order
from trade.notify import outbox

API = "/api/v1/gbm/trade"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def log(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogFile]:
    settings.LOG_FILES, settings.LOG_DIR = True, tmp_path
    monkeypatch.setattr(access, "SLOW", inf)  # the machine may be slow
    with kept(tmp_path) as log:
        yield log


@pytest.fixture
def sink() -> Iterator[tuple[Sink, list[Request]]]:
    received: list[Request] = []

    def answer(request: Request) -> bytes:
        received.append(request)
        return SUCCESS

    sink = Sink(answer)
    yield sink, received
    sink.stop()


@pytest.mark.parametrize("header", [HEADER, f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what"])
def test_a_trace_goes_on_with_a_span_of_ours(header: str) -> None:
    ours = tracing.next_span(header)

    assert tracing.trace_id(ours) == TRACE
    assert (ours[:3], ours[-3:], len(ours)) == ("00-", "-01", 55)
    assert tracing.span_id(ours) != SPAN
    assert tracing.next_span(f"00-{TRACE}-{SPAN}-00").endswith("-00")


@pytest.mark.parametrize("header", [
    "", "nonsense", f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01", f"{HEADER}-more", f"{HEADER}\n", f"00-{TRACE}-{SPAN}",
])  # fmt: skip
def test_an_invalid_header_starts_a_new_trace(header: str) -> None:
    one, other = tracing.next_span(header), tracing.next_span(header)

    assert len(one) == len(other) == 55
    assert tracing.trace_id(one) not in (TRACE, "0" * 32, tracing.trace_id(other))


def bodies(user: str, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A lock and its settlement."""
    who = {"userId": user, "source": "s01", "channel": "c01", "outTradeNo": f"t-{user}"}
    target = {"notifyType": "HTTP", "notifyUrl": url}
    about = {"goodsId": GOODS, "activityId": 100123, "notifyConfigVO": target}
    return who | about, who | {"outTradeTime": int(NOW.timestamp() * 1000)}


@committed
def test_one_trace_from_the_malls_request_to_its_callback(
    mall: APIClient, log: LogFile, sink: tuple[Sink, list[Request]]
) -> None:
    server, received = sink
    make_activity(target_count=1)
    lock_body, settle_body = bodies("a", f"{server.url}/done")
    with time_machine.travel(NOW, tick=False):
        mall.post(f"{API}/lock_market_pay_order", lock_body, format="json")
        answer = mall.post(
            f"{API}/settlement_market_pay_order",
            settle_body,
            format="json",
            headers={"traceparent": HEADER},
        )
        outbox.deliver_due(clock=lambda: NOW)

    order = Order.objects.get()
    key = f"team_success-{order.team_id}"
    assert answer.json()["code"] == "0000"
    [callback] = received
    assert tracing.trace_id(callback.headers["traceparent"]) == TRACE
    assert tracing.span_id(callback.headers["traceparent"]) not in (SPAN, "")
    told = log.lines(log_logger="trade.metrics")
    ours = [line for line in told if line["trace.id"] == TRACE]
    assert [line["message"] for line in ours] == [
        "team complete by its members",
        "payment seated",
        f"notification {key} delivered",
    ]
    team = {"gbm.team": str(order.team_id), "gbm.channel": "s01/c01"}
    assert [team.items() <= line.items() for line in ours] == [True] * 3
    numbers = {"gbm.order": "t-a", "gbm.order_id": str(order.pk), "user.id": "a"}
    assert numbers.items() <= ours[1].items()
    assert (ours[2]["gbm.notification"], ours[2]["gbm.order"]) == (key, ["t-a"])
    assert [line["message"] for line in told if line not in ours] == ["seat locked"]


@committed
def test_every_attempt_has_a_line_in_the_trace_of_its_promise(log: LogFile) -> None:
    statuses = {"/failing": 500, "/gone": 410}
    server = Sink(lambda request: reply(statuses[request.path], b"no"))
    for number, path in enumerate(statuses):
        make_promise(
            f"team_success-{number}",
            target=server.url + path,
            endpoint=path,
            traceparent=HEADER,
        )

    outbox.deliver_due(clock=lambda: NOW)
    server.stop()

    lines = {line["gbm.notification"]: line for line in log.lines(trace_id=TRACE)}
    assert {key: (line["log.level"], line["message"]) for key, line in lines.items()} == {
        "team_success-0": (
            "warning",
            "notification team_success-0 failed: answered 500 'no'",
        ),
        "team_success-1": (
            "error",
            "notification team_success-1 given up: answered 410 'no'",
        ),
    }
    assert lines["team_success-0"]["gbm.attempt"] == 1


@committed
def test_a_promise_of_the_release_before_starts_a_trace(sink: tuple[Sink, list[Request]]) -> None:
    server, received = sink
    make_promise(target=server.url)

    outbox.deliver_due(clock=lambda: NOW)

    assert len(received[0].headers["traceparent"]) == 55


def test_a_task_goes_on_with_the_trace_of_its_message() -> None:
    headers: dict[str, Any] = {}
    seen: list[str] = []
    tracing.begin(HEADER)
    tracing.mark_message(headers)
    tracing.end()

    @current_app.task(name="tests.look")
    def look() -> None:
        seen.append(tracing.current())

    look.apply(headers=headers)
    look.apply()
    current_app.tasks.pop(look.name)

    assert tracing.trace_id(headers["traceparent"]) == TRACE
    assert tracing.trace_id(seen[0]) == TRACE
    assert tracing.trace_id(seen[1]) not in (TRACE, "")
    assert tracing.current() == ""


@pytest.mark.django_db
def test_a_sweep_that_changed_nothing_has_no_line(log: LogFile) -> None:
    over = timezone.now() - timedelta(minutes=1)
    make_activity(start_at=over - timedelta(days=1), end_at=over)

    current_app.tasks["trade.tasks.expire_activities"].apply()
    current_app.tasks["trade.tasks.expire_activities"].apply()

    [line] = log.lines(gbm_task="trade.tasks.expire_activities")
    assert (line["message"], line["gbm.rows"]) == ("task trade.tasks.expire_activities: 1 rows", 1)


@pytest.mark.django_db
def test_refusals_have_lines_and_routine_answers_few(
    mall: APIClient, log: LogFile, settings: Any
) -> None:
    settings.LOG_ROUTINE = 4
    make_activity()
    query = {"userId": "a", "source": "s01", "channel": "c01", "goodsId": GOODS}
    with time_machine.travel(NOW, tick=False):
        for _ in range(8):
            mall.post(f"{API}/trial", query, format="json")
    mall.post(f"{API}/trial", query | {"goodsId": "none"}, format="json")

    routine = log.lines(gbm_code="0000")
    assert len(routine) == 2
    [refused] = log.lines(gbm_code="E0002")
    about = {
        "message": "api_trial 200 E0002",
        "gbm.endpoint": "api_trial",
        "gbm.goods": "none",
        "gbm.channel": "s01/c01",
        "user.id": "a",
        "url.path": f"{API}/trial",
        "http.request.method": "POST",
        "http.response.status_code": 200,
    }
    assert about.items() <= refused.items()


@pytest.mark.django_db
def test_a_flood_of_refusals_does_not_fill_the_log(
    client: APIClient, log: LogFile, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOG_ROUTINE = 1_000_000
    monkeypatch.setattr(access, "monotonic", lambda: 1e9)
    for number in range(access.PER_SECOND + 30):
        client.get(f"/api/v1/gbm/none/{number}")

    assert (
        access.PER_SECOND <= len(log.lines(gbm_endpoint="path_not_found")) <= 1 + access.PER_SECOND
    )


@pytest.mark.django_db
def test_no_secret_gets_into_the_log(log: LogFile, settings: Any) -> None:
    settings.LOG_ROUTINE = 1
    channel = make_channel()
    key, text = ApiKey.issue(channel=channel, name="ops")
    key.save()
    caller = APIClient(headers={"Authorization": f"Bearer {text}", "Cookie": "sessionid=cookie1"})

    caller.get(f"{API}/orders/{text}")
    caller.post(f"{API}/trial", {"userId": text, "source": "s01"}, format="json")
    logging.getLogger("x").error("%s mysql://user:pass1@host", channel.webhook_secret)
    logging.getLogger("x").error("%s", channel.page_secret)
    error = ValueError(f"{text} redis://:pass1@host")
    logging.getLogger("x").error("failed", exc_info=error)

    assert len(log.lines()) == 5
    for secret in (
        text,
        text.rpartition("_")[2],
        channel.webhook_secret,
        channel.page_secret,
        "pass1",
        "cookie1",
    ):
        assert secret not in log.text()


def test_no_secret_gets_into_the_log_as_text() -> None:
    secret = f"whsec_{'x' * 32}"
    settings = logs.configuration(level="INFO", files=None, as_json=False, version="7")
    formatter = DictConfigurator(settings).configure_formatter(settings["formatters"]["line"])
    error = (ValueError, ValueError(f"redis://:pass1@host {secret}"), None)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed %s", (secret,), error)

    text = formatter.format(record)

    assert text.endswith("ERROR x: failed ***\nValueError: redis://***host ***")


def test_an_event_is_one_line_whatever_its_text(log: LogFile) -> None:
    logging.getLogger("x").info("one\ntwo\u2028%s", "x" * 5000)

    [line] = log.lines()
    assert line["message"].startswith("one\ntwo\u2028xxx")
    assert len(line["message"]) == 2000
    assert log.text().count("\n") == 1


def test_a_worker_logs_as_its_settings_say() -> None:
    look = (
        "import logging; from groupbuy.celery import app\n"
        "import django; django.setup(); app.log.setup(loglevel='WARNING')\n"
        "print(logging.getLogger().level, logging.getLogger('celery.app.trace').level)"
    )
    run = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)

    assert run.stdout.split() == [str(logging.INFO), str(logging.WARNING)]


def test_processes_share_a_file_and_start_new_ones_without_losing_a_line(tmp_path: Path) -> None:
    write = (
        "import logging, sys; from pathlib import Path; from groupbuy import logs\n"
        "logs.SIZE, logs.LOOK = 20_000, 0\n"
        f"handler = logs.SharedFile({str(tmp_path / logs.FILE)!r})\n"
        "handler.setFormatter(logs.EcsFormatter())\n"
        "logging.getLogger().addHandler(handler)\n"
        "for number in range(200): logging.warning('%s-%d', sys.argv[1], number)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", write, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]

    paths = [path for path in tmp_path.iterdir() if path.name != "lock"]
    found = [json.loads(line)["message"] for path in paths for line in path.open()]
    assert len(paths) > 3
    assert sorted(found) == sorted(f"{name}-{number}" for name in "abc" for number in range(200))


def test_only_so_many_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SIZE", 1)
    monkeypatch.setattr(logs, "LOOK", 0)
    with kept(tmp_path) as log:
        for number in range(20):
            logging.getLogger("x").warning("%d", number)

        assert log.messages() == ["19"]
    oldest = logs.numbered(log.path, logs.KEPT)
    assert json.loads(oldest.read_text())["message"] == "9"
    assert len(list(tmp_path.iterdir())) == logs.KEPT + 2  # the current one, and the lock


def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with kept(tmp_path / "file" / "log"):
        logging.getLogger("x").warning("lost")

    assert "NotADirectoryError" in capsys.readouterr().err


def test_a_log_that_cannot_be_opened_again_closes_no_other_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOOK", 0)
    with kept(tmp_path) as log:
        logging.getLogger("x").warning("written")
        log.path.rename(tmp_path / "renamed")
        with monkeypatch.context() as full:
            full.setattr(os, "open", Mock(side_effect=OSError("no space left")))
            logging.getLogger("x").warning("lost")
        other = os.open(os.devnull, os.O_RDONLY)  # would get the number of a file closed before
        with monkeypatch.context() as full:
            full.setattr(os, "open", Mock(side_effect=OSError("no space left")))
            logging.getLogger("x").warning("lost")
        os.close(other)  # raises OSError if it is closed already
        logging.getLogger("x").warning("written again")

        assert log.messages() == ["written again"]
    assert capsys.readouterr().err.count("no space left") == 2
