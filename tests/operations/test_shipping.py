"""A real rsyslog sends the log to Elasticsearch: each line arrives once, despite outages."""

import base64
import json
import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from groupbuy import logs
from tests.log_file import kept
from tests.sink import RESET, Request, Sink, reply
from tests.stack import ROOT, wait_for

pytestmark = pytest.mark.operations
CONFIGURATION = (ROOT / "deploy/elk/rsyslog.conf").read_text("utf-8")


class Bulk:
    """A stub of Elasticsearch's bulk API; stores documents by id."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.to_lose = 0  # so many requests get no answer
        self.heads: set[tuple[str, str, str]] = set()
        self.sink = Sink(self._answer)

    def _answer(self, request: Request) -> bytes:
        if self.to_lose:
            self.to_lose -= 1
            return RESET
        if request.path == "/_cat/health":  # asked after an outage
            return reply(200, b"green")
        self.heads.add((request.method, request.path, request.headers["authorization"]))
        lines = [json.loads(line) for line in request.body.splitlines()]
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            assert action["create"]["_index"] == "logs-groupbuy-default"
            self.documents[action["create"]["_id"]] = document
        return reply(200, b'{"errors":false,"items":[]}')

    def messages(self) -> list[str]:
        return [document["message"] for document in self.documents.values()]


@pytest.fixture
def bulk() -> Iterator[Bulk]:
    bulk = Bulk()
    yield bulk
    bulk.sink.stop()


@contextmanager
def rsyslog(directory: Path, server: str) -> Iterator[None]:
    """Write the configuration of deploy/elk with other paths."""
    (directory / "spool").mkdir(exist_ok=True)
    text = CONFIGURATION.replace("/var/lib/groupbuy", str(directory))
    text = text.replace("/var/spool/rsyslog", str(directory / "spool"))
    text = text.replace("https://127.0.0.1:9200", server).replace('Interval="5"', 'Interval="1"')
    path = directory / "rsyslog.conf"
    path.write_text(text)
    command = ["rsyslogd", "-n", "-f", str(path), "-i", str(directory / "rsyslog.pid")]
    process = subprocess.Popen(command)
    yield
    process.terminate()
    assert process.wait(60) == 0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    install = [str(ROOT / "bin/services.sh"), "shipping"]
    if (run := subprocess.run(install, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"rsyslog cannot be installed: {run.stderr.strip()}")
    (tmp_path / "log").mkdir()
    return tmp_path


def test_each_line_arrives_once(
    directory: Path, bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elasticsearch is down at first, files are renamed, and rsyslog is restarted."""
    monkeypatch.setattr(logs, "LOOK", 0)
    monkeypatch.setattr(logs, "SIZE", 5000)
    bulk.to_lose = 2
    with kept(directory / "log"):
        with rsyslog(directory, bulk.sink.url):
            for number in range(50):
                logging.getLogger("x").warning("line %d", number, extra={"order": f"t-{number}"})
                if number % 10 == 9:
                    wait_for(lambda: len(bulk.documents) > number, f"line {number}", 60)  # noqa: B023
        logging.getLogger("x").warning("line 50")
        with rsyslog(directory, bulk.sink.url):
            logging.getLogger("x").warning("line 51")
            wait_for(lambda: len(bulk.documents) >= 52, "the last line", 60)

    assert bulk.messages() == [f"line {number}" for number in range(52)]
    assert bulk.to_lose == 0
    assert len(list((directory / "log").glob("*.jsonl.*"))) > 1
    password = base64.b64encode(b"shipper:secret").decode()
    assert bulk.heads == {("POST", "/_bulk", f"Basic {password}")}
    [document] = [each for each in bulk.documents.values() if each["message"] == "line 7"]
    assert (document["gbm.order"], document["log.level"]) == ("t-7", "warning")
