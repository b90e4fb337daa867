"""Search the log (日志检索): its files in LOG_DIR, or Elasticsearch when ELASTICSEARCH_URL is set.

Both return the same lines for the same query: fields by their dotted names, newest lines last.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import orjson
import requests
from django.conf import settings

from groupbuy import logs

INDEX = "logs-groupbuy-*"
LEVELS = ("debug", "info", "warning", "error", "critical")
TIMEOUT = 10  # seconds for Elasticsearch to answer
MOST = 10_000  # lines in an answer, as Elasticsearch allows
Line = Mapping[str, Any]


class SearchError(Exception):
    """The log cannot be searched; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search: it finds the lines that have each of these values."""

    trace: str = ""
    order: str = ""  # the mall's number or ours
    team: str = ""
    channel: str = ""  # source/channel
    notification: str = ""
    shopper: str = ""
    level: str = ""  # this one or worse
    text: str = ""  # in the message or the error
    since: datetime | None = None
    until: datetime | None = None
    most: int = 200  # lines, the newest ones

    def equal(self) -> list[tuple[str, tuple[str, ...]]]:
        """Values that a line must have, each with the fields, one of which must have the value."""
        pairs = (
            (self.trace, ("trace.id",)),
            (self.order, ("gbm.order", "gbm.order_id")),
            (self.team, ("gbm.team",)),
            (self.channel, ("gbm.channel",)),
            (self.notification, ("gbm.notification",)),
            (self.shopper, ("user.id",)),
        )
        return [pair for pair in pairs if pair[0]]

    def levels(self) -> tuple[str, ...]:
        return LEVELS[LEVELS.index(self.level) :] if self.level else LEVELS


def search(query: Query) -> list[Line]:
    """The newest lines that match, oldest first. Raises SearchError."""
    if settings.ELASTICSEARCH_URL:
        return _ask_elasticsearch(query)
    if not settings.LOG_FILES:
        raise SearchError("No log is kept here: set LOG_FILES=true or ELASTICSEARCH_URL.")
    try:
        return list(deque(_read(query), maxlen=min(query.most, MOST)))
    except OSError as exc:
        raise SearchError(f"{settings.LOG_DIR}: {exc.strerror}") from exc


def _read(query: Query) -> Iterator[Line]:
    needles = [orjson.dumps(value)[1:-1] for value, _fields in query.equal()]
    for file in _files(query.since):
        for text in file:
            if all(needle in text for needle in needles):
                line = _parsed(text)
                if line and _matches(line, query):
                    yield line


def _files(since: datetime | None) -> Iterator[BinaryIO]:
    """The log files that have lines since then, oldest first, each open until the next."""
    current = settings.LOG_DIR / logs.FILE
    paths = [logs.numbered(current, number) for number in range(logs.KEPT, 0, -1)] + [current]
    earliest = since.timestamp() if since else 0.0
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:  # a rotation may rename it
            if os.fstat(file.fileno()).st_mtime >= earliest:
                yield file


def _parsed(text: bytes) -> Line | None:
    """The fields of a line; None for a truncated line (full disk, or its process died)."""
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and "@timestamp" in line else None


def _matches(line: Line, query: Query) -> bool:
    at = datetime.fromisoformat(line["@timestamp"])
    return (
        (query.since is None or at >= query.since)
        and (query.until is None or at < query.until)
        and line["log.level"] in query.levels()
        and all(_has(line, value, fields) for value, fields in query.equal())
        and query.text.lower() in f"{line['message']} {line.get('error.message', '')}".lower()
    )


def _has(line: Line, value: str, fields: tuple[str, ...]) -> bool:
    found = (line.get(field) for field in fields)
    return any(each == value or (isinstance(each, list) and value in each) for each in found)


def _ask_elasticsearch(query: Query) -> list[Line]:
    url = f"{settings.ELASTICSEARCH_URL.rstrip('/')}/{INDEX}/_search"
    body = {
        "size": min(query.most, MOST),
        "sort": [{"@timestamp": "desc"}],
        "query": {"bool": {"filter": list(_filters(query))}},
    }
    try:
        answer = requests.post(url, json=body, timeout=TIMEOUT)
        answer.raise_for_status()
        hits = answer.json()["hits"]["hits"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as exc:
        reason = logs.without_secrets(str(exc))
        raise SearchError(f"ELASTICSEARCH_URL: {type(exc).__name__}: {reason}") from exc
    return [dict(_flat(hit["_source"])) for hit in reversed(hits)]


def _filters(query: Query) -> Iterator[dict[str, Any]]:
    for value, fields in query.equal():
        yield {"bool": {"should": [{"term": {field: value}} for field in fields]}}
    if query.level:
        yield {"terms": {"log.level": query.levels()}}
    if query.text:
        texts = ["message", "error.message"]
        yield {"multi_match": {"query": query.text, "type": "phrase", "fields": texts}}
    limits = {"gte": query.since, "lt": query.until}
    if moments := {name: at.isoformat() for name, at in limits.items() if at}:
        yield {"range": {"@timestamp": moments}}


def _flat(source: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"log": {"level": "info"}} -> log.level: shippers may expand the dots."""
    for name, value in source.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
