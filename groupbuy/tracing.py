"""Traces (链路追踪): one id from a mall's request to the callbacks that it causes.

The id travels as the header `traceparent` of W3C Trace Context: in from the mall, to Celery's
messages, into the row of each notification, and out with its callbacks. `tracestate` is dropped.
Most requests need no id, so the header is parsed, or an id made, only at the first use.
"""

import os
import re
from contextvars import ContextVar
from typing import Any

HEADER = "traceparent"
SPAN = r"(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})"
FORM = re.compile(rf"00-{SPAN}|(?!00|ff)[0-9a-f]{{2}}-{SPAN.replace('?P<', '?P<later_')}(-.*)?")


class _Trace:
    """The trace of a request or a task: the header that came in, and its own, made at first use."""

    __slots__ = ("came", "own")

    def __init__(self, came: str) -> None:
        self.came, self.own = came, ""


_current: ContextVar[_Trace | None] = ContextVar("trace", default=None)


def begin(header: str = "") -> None:
    """Start the trace that the header names in this thread; a new trace if it names none."""
    _current.set(_Trace(header))


def end() -> None:
    _current.set(None)


def current() -> str:
    """The traceparent of this thread's request or task; "" if it has none."""
    trace = _current.get()
    if trace is None:
        return ""
    if not trace.own:
        trace.own = next_span(trace.came)
    return trace.own


def next_span(header: str) -> str:
    """A traceparent with a new span: of the header's trace, or of a new one if it has none."""
    match = FORM.fullmatch(header)
    trace, flags = (os.urandom(16).hex(), "01")
    if match:
        found = match.groupdict()
        trace = found["trace"] or found["later_trace"]
        flags = found["flags"] or found["later_flags"]
    return f"00-{trace}-{os.urandom(8).hex()}-{flags}"


def trace_id(header: str) -> str:
    """The id of the trace in a header made here."""
    return header[3:35]


def span_id(header: str) -> str:
    return header[36:52]


def mark_message(headers: dict[str, Any], **signal: Any) -> None:
    """Receives before_task_publish: adds the trace to a Celery message (groupbuy/apps.py)."""
    header = current()
    if header:
        headers.setdefault(HEADER, header)


def start_task(task: Any, **signal: Any) -> None:
    begin((task.request.headers or {}).get(HEADER, ""))


def end_task(**signal: Any) -> None:
    end()
