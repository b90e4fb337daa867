"""The log (日志): a line of JSON for each event, in the fields of the Elastic Common Schema.

Lines go to standard error, as text or as JSON, and with LOG_FILES to VAR_DIR/log, where
`manage.py logs` searches them (groupbuy/log_search.py). FIELDS lists everything that a line may
hold besides its message, so nothing gets into the log by accident.
"""

import fcntl
import logging
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from groupbuy import tracing

FIELDS = {  # name in logger.info(…, extra={name: value}) -> field
    "endpoint": "gbm.endpoint",
    "code": "gbm.code",
    "info": "gbm.info",
    "order": "gbm.order",  # the mall's number, outTradeNo; several when a team completes
    "order_id": "gbm.order_id",
    "team": "gbm.team",
    "activity": "gbm.activity",
    "goods": "gbm.goods",
    "channel": "gbm.channel",  # source/channel
    "notification": "gbm.notification",
    "attempt": "gbm.attempt",
    "outcome": "gbm.outcome",
    "rows": "gbm.rows",
    "task": "gbm.task",
    "operator": "gbm.operator",
    "shopper": "user.id",
    "method": "http.request.method",
    "status": "http.response.status_code",
    "path": "url.path",
    "duration": "event.duration",  # nanoseconds
}
FILE = "groupbuy.jsonl"
LONGEST = 2000  # characters of a message or of an error; ten times as many of a stack
SIZE = 10_000_000  # bytes of a file that is full
KEPT = 10  # full files
LOOK = 0.1  # seconds between two checks of the file size
SECRETS = re.compile(
    r"gbm_[0-9a-f]{8}_[0-9a-f]+"  # API keys
    r"|whsec_[\w+/=]+"  # webhook secrets
    r"|gbp_[!#-\[\]-~]{32,120}"  # page secrets, to the end of a JSON string
    r'|(?<=://)[^/@\s"\\]+@'  # the password in a URL
    r"|(?<=/out/)[\w:.=-]+"  # the token of a signed link to the pages
)
SIGNS = ("gbm_", "whsec_", "gbp_", "://", "/out/")  # without one of these no secret is in a text


class LineFormatter(logging.Formatter):
    """A record as text, with the stack of an error below it."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class EcsFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, version: str = "") -> None:
        super().__init__()
        self._about = {
            "ecs.version": "8.11.0",
            "service.name": "groupbuy",
            "service.version": version,
        }

    def format(self, record: logging.LogRecord) -> str:
        values = record.__dict__
        line: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC),
            "log.level": record.levelname.lower(),
            "message": record.getMessage()[:LONGEST],
            **self._about,
            "log.logger": record.name,
            "process.pid": record.process,
            "process.thread.name": record.threadName,
        }
        if header := values.get(tracing.HEADER) or tracing.current():
            line["trace.id"], line["span.id"] = tracing.trace_id(header), tracing.span_id(header)
        for name in values.keys() & FIELDS.keys():
            line[FIELDS[name]] = values[name]
        if record.exc_info and record.exc_info[1]:
            line |= {
                "error.type": type(record.exc_info[1]).__name__,
                "error.message": str(record.exc_info[1])[:LONGEST],
                "error.stack_trace": self.formatException(record.exc_info)[-10 * LONGEST :],
            }
        return without_secrets(orjson.dumps(line, default=str).decode())


class SharedFile(logging.Handler):
    """Append each line to a file that several processes share, and start a new file at SIZE.

    A full file is renamed to ….1, the one before to ….2, and so on.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)
        self._file, self._identity = -1, (0, 0)
        self._look_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode() + b"\n"
            if time.monotonic() >= self._look_at:
                if self._is_full():
                    self._rotate()
                self._look_at = time.monotonic() + LOOK
            os.write(self._file, line)
        except Exception:  # noqa: BLE001  as in the handlers of the standard library
            self.handleError(record)

    def close(self) -> None:
        self.acquire()
        try:
            if self._file >= 0:
                os.close(self._file)
            self._file, self._identity, self._look_at = -1, (0, 0), 0.0
        finally:
            self.release()
        super().close()

    def _is_full(self) -> bool:
        """Check the file at the path; reopen it if another process has renamed the open one."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            self._open()
        return found is not None and found.st_size >= SIZE

    def _open(self) -> None:
        """Raises OSError. The file that is open stays open then: its number is nobody else's."""
        before = self._file
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        if before >= 0:
            os.close(before)
        opened = os.fstat(self._file)
        self._identity = (opened.st_dev, opened.st_ino)

    def _rotate(self) -> None:
        with self._path.with_name("lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._is_full():  # no other process has been faster
                for number in range(KEPT - 1, 0, -1):
                    _rename(numbered(self._path, number), numbered(self._path, number + 1))
                _rename(self._path, numbered(self._path, 1))
                self._open()


def configuration(*, level: str, files: Path | None, as_json: bool, version: str) -> dict[str, Any]:
    """Django's LOGGING. With files, standard error shows warnings and worse only."""
    handlers: dict[str, Any] = {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if as_json else "line",
            "level": "WARNING" if files else "NOTSET",
        }
    }
    if files:
        path = str(files / FILE)
        handlers["file"] = {"()": "groupbuy.logs.SharedFile", "path": path, "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"()": "groupbuy.logs.LineFormatter"},
            "json": {"()": "groupbuy.logs.EcsFormatter", "version": version},
        },
        "filters": {"brief": {"()": "groupbuy.sweeps.BriefErrors"}},
        "handlers": handlers,
        "loggers": {
            "django": {"handlers": [], "propagate": True},  # not twice while DEBUG is on
            "django.request": {"level": "ERROR"},  # groupbuy/access.py has the others
            "celery.app.trace": {"level": "WARNING"},  # metrics.py logs what tasks have changed
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING", "filters": ["brief"]},
            "axes": {"level": "WARNING"},  # failed sign-ins, not each that succeeds
        },
        "root": {"handlers": list(handlers), "level": level},
    }


def numbered(path: Path, number: int) -> Path:
    """The path of a full log file; 1 is the newest."""
    return path.with_name(f"{path.name}.{number}")


def without_secrets(text: str) -> str:
    """The text with stars for each secret; a line of JSON stays valid."""
    return SECRETS.sub("***", text) if any(sign in text for sign in SIGNS) else text


def _rename(old: Path, new: Path) -> None:
    if old.exists():
        old.rename(new)
