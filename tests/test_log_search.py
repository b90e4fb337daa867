"""manage.py logs: the same query to files and to Elasticsearch."""

import json
import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command

from groupbuy import log_search, logs
from groupbuy.log_search import Query, SearchError, search
from tests.factories import NOW
from tests.log_file import LogFile, kept
from tests.sink import Request, Sink, reply

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def log(settings: Any, tmp_path: Path) -> Iterator[LogFile]:
    """Ten minutes of a log, one line a minute; the newest is of NOW."""
    settings.LOG_FILES, settings.LOG_DIR = True, tmp_path
    lines: list[tuple[int, str, dict[str, Any]]] = [
        (logging.INFO, "seat locked", {"order": "t-1", "order_id": "91", "team": "7"}),
        (logging.INFO, "seat locked", {"order": "t-2", "order_id": "92", "team": "7"}),
        (logging.INFO, "team complete", {"team": "7", "channel": "s01/c01"}),
        (logging.WARNING, "notification failed", {"order": ["t-1", "t-2"], "notification": "n-1"}),
        (logging.ERROR, "notification given up", {"order": ["t-1"], "notification": "n-1"}),
        (logging.INFO, "api_trial", {"shopper": "t-1", "traceparent": f"00-{TRACE}-{'b' * 16}-01"}),
    ]
    with kept(tmp_path) as log:
        for age, (level, text, fields) in zip(range(5, -1, -1), lines, strict=True):
            with time_machine.travel(NOW - timedelta(minutes=age), tick=False):
                logging.getLogger("x").log(level, text, extra=fields)
        os.utime(log.path, (NOW.timestamp(), NOW.timestamp()))
        yield log


@pytest.mark.parametrize(("query", "expected"), [
    (Query(order="t-1"), ["seat locked", "notification failed", "notification given up"]),
    (Query(order="92"), ["seat locked"]),
    (Query(order="t"), []),
    (Query(team="7"), ["seat locked", "seat locked", "team complete"]),
    (Query(team="7", channel="s01/c01"), ["team complete"]),
    (Query(notification="n-1", level="error"), ["notification given up"]),
    (Query(trace=TRACE), ["api_trial"]),
    (Query(shopper="t-1"), ["api_trial"]),
    (Query(text="GIVEN"), ["notification given up"]),
    (Query(since=NOW - timedelta(minutes=1)), ["notification given up", "api_trial"]),
    (Query(until=NOW - timedelta(minutes=4)), ["seat locked"]),
    (Query(most=1), ["api_trial"]),
])  # fmt: skip
def test_each_condition_finds_its_lines(log: LogFile, query: Query, expected: list[str]) -> None:
    assert [line["message"] for line in search(query)] == expected


def test_full_files_are_searched_from_the_oldest(log: LogFile) -> None:
    log.path.rename(logs.numbered(log.path, 1))
    logs.numbered(log.path, 2).write_text(
        json.dumps({"@timestamp": "2036-05-01T00:00:00Z", "log.level": "info", "message": "old"})
        + '\n{"@timestamp": "2036-05-01T00:00:0\n[]\n'
    )

    assert [line["message"] for line in search(Query())][:2] == ["old", "seat locked"]


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("logs", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_prints_lines_that_can_be_read(log: LogFile) -> None:
    with time_machine.travel(NOW, tick=False):
        found, _said = run("--order", "t-1", "--since", "10m", "--level", "error")

    assert found == (
        "2036-05-01 11:59:00.000 ERROR   notification given up  order=t-1 notification=n-1\n"
    )
    assert json.loads(run("--trace", f"00-{TRACE}-{'c' * 16}-01", "--json")[0])["user.id"] == "t-1"
    assert run("--order", "none") == ("", "No line matches.\n")


@pytest.mark.parametrize("arguments", [
    ["--since", "10x"], ["--since", "yesterday"], ["--since", "999999d"], ["--level", "bad"],
    ["--most", "0"],
])  # fmt: skip
def test_an_unreadable_argument_of_the_command_is_refused(
    log: LogFile, arguments: list[str]
) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        run(*arguments)


def test_without_a_log_a_search_says_what_to_set(log: LogFile, settings: Any) -> None:
    settings.LOG_FILES = False
    with pytest.raises(SearchError, match="LOG_FILES"):
        search(Query(order="t-1"))
    with pytest.raises(CommandError, match="LOG_FILES"):
        run()


class Elasticsearch:
    """Answers each search with the answer that the test sets."""

    def __init__(self) -> None:
        self.answer: bytes = b"{}"
        self.status = 200
        self.requests: list[Request] = []
        self.sink = Sink(self._answer)

    def _answer(self, request: Request) -> bytes:
        self.requests.append(request)
        return reply(self.status, self.answer)


@pytest.fixture
def elasticsearch(settings: Any) -> Iterator[Elasticsearch]:
    server = Elasticsearch()
    settings.ELASTICSEARCH_URL = server.sink.url.replace("://", "://reader:secret@") + "/"
    yield server
    server.sink.stop()


def test_elasticsearch_gets_the_same_query(elasticsearch: Elasticsearch) -> None:
    newer = {"@timestamp": "2", "message": "b", "log.level": "info"}
    older = {"@timestamp": "1", "message": "a", "log": {"level": "error"}, "gbm": {"order": "t-1"}}
    hits = [{"_source": newer}, {"_source": older}]
    elasticsearch.answer = json.dumps({"hits": {"hits": hits}}).encode()

    found = search(Query(order="t-1", level="error", text="x", since=NOW, most=5))

    assert found == [
        {"@timestamp": "1", "message": "a", "log.level": "error", "gbm.order": "t-1"},
        newer,
    ]
    [request] = elasticsearch.requests
    assert (request.method, request.path) == ("POST", "/logs-groupbuy-*/_search")
    assert request.headers["authorization"].startswith("Basic ")
    either = [{"term": {"gbm.order": "t-1"}}, {"term": {"gbm.order_id": "t-1"}}]
    fields = ["message", "error.message"]
    assert json.loads(request.body) == {
        "size": 5,
        "sort": [{"@timestamp": "desc"}],
        "query": {"bool": {"filter": [
            {"bool": {"should": either}},
            {"terms": {"log.level": ["error", "critical"]}},
            {"multi_match": {"query": "x", "type": "phrase", "fields": fields}},
            {"range": {"@timestamp": {"gte": NOW.isoformat()}}},
        ]}},
    }  # fmt: skip


@pytest.mark.parametrize(("status", "answer"), [(200, b"{}"), (200, b"<html>"), (503, b"{}")])
def test_an_elasticsearch_that_fails_is_an_error_without_its_password(
    elasticsearch: Elasticsearch, status: int, answer: bytes
) -> None:
    elasticsearch.status, elasticsearch.answer = status, answer

    with pytest.raises(SearchError, match="ELASTICSEARCH_URL") as failed:
        search(Query())
    assert "secret" not in str(failed.value)


def test_an_elasticsearch_that_is_away_is_an_error(settings: Any) -> None:
    settings.ELASTICSEARCH_URL = "http://reader:secret@127.0.0.1:1"

    with pytest.raises(CommandError, match="ELASTICSEARCH_URL") as failed:
        run("--since", "1h")
    assert "secret" not in str(failed.value)


def test_no_more_lines_than_elasticsearch_allows(elasticsearch: Elasticsearch) -> None:
    elasticsearch.answer = b'{"hits": {"hits": []}}'

    search(Query(most=log_search.MOST + 1))

    assert json.loads(elasticsearch.requests[0].body)["size"] == log_search.MOST
