"""The trace, the metrics and the line of log (访问日志) of each request.

A line for each routine answer would fill the disk and slow a trial down, so only one routine answer
in LOG_ROUTINE gets a line. Each request that was slow, refused or failed gets one, up to PER_SECOND
of a kind.
"""

import logging
from collections.abc import Callable, Mapping
from itertools import count
from time import monotonic
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from groupbuy import metrics, tracing
from groupbuy.bodies import BodyError
from groupbuy.errors import ErrorCode

logger = logging.getLogger(__name__)

ROUTINE = ("", ErrorCode.SUCCESS.code)  # "": pages have no code
SLOW = 0.5  # seconds
PER_SECOND = 20  # lines of one endpoint and code in a process; then one in LOG_ROUTINE
LONGEST = 200  # characters of a field
FIELDS = {  # of the body of a request or an answer -> in the log
    "outTradeNo": "order",
    "orderId": "order_id",
    "teamId": "team",
    "activityId": "activity",
    "goodsId": "goods",
    "userId": "shopper",
}

_requests = count()
_lines: dict[tuple[int, str, str], int] = {}  # written in this second: second, endpoint, code


def follow(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the outermost one: metrics, trace and log of each request."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began = request.META.get(metrics.COMPLETE_AT) or monotonic()
        tracing.begin(request.META.get("HTTP_TRACEPARENT", ""))
        try:
            response = get_response(request)
            data = getattr(response, "data", None)
            code = data.get("code", "") if isinstance(data, dict) else ""
            seconds = monotonic() - began
            metrics.count_request(request, code, response.status_code, seconds)
            if (
                code not in ROUTINE
                or response.status_code >= 400
                or seconds >= SLOW
                or not next(_requests) % settings.LOG_ROUTINE
            ):
                _log(request, response, code, seconds)
        finally:
            tracing.end()
        return response

    return middleware


def _log(request: HttpRequest, response: HttpResponse, code: str, seconds: float) -> None:
    status = response.status_code
    endpoint = metrics.endpoint_of(request)
    if status < 500 and not _is_allowed(endpoint, code or str(status)):
        return
    fields = {
        "endpoint": endpoint,
        "code": code,
        "status": status,
        "method": request.method,
        "duration": int(seconds * 1e9),
    }
    if code:
        fields |= _subject(request, response)
    level = logging.ERROR if status >= 500 else logging.INFO
    logger.log(level, "%s %d %s", endpoint, status, code, extra=fields)


def _is_allowed(endpoint: str, code: str) -> bool:
    """Whether this kind has had fewer than PER_SECOND lines in this second."""
    kind = (int(monotonic()), endpoint, code)
    if len(_lines) > 100 and kind not in _lines:
        _lines.clear()
    _lines[kind] = written = _lines.get(kind, 0) + 1
    return written <= PER_SECOND or not next(_requests) % settings.LOG_ROUTINE


def _subject(request: HttpRequest, response: Any) -> dict[str, Any]:
    """Log fields that identify the subject of an API request.

    They come from the body, the answer and the path; a later source overrides an earlier one.
    """
    api_request: Request = response.renderer_context["request"]
    subject: dict[str, Any] = {"path": request.path[:LONGEST]}
    for fields in (_body(api_request), response.data.get("data")):
        if isinstance(fields, Mapping):
            names = fields.keys() & FIELDS.keys()
            subject |= {FIELDS[name]: str(fields[name])[:LONGEST] for name in names if fields[name]}
    match = request.resolver_match
    for name, field in (("out_trade_no", "order"), ("team_id", "team")):
        if match and name in match.kwargs:
            subject[field] = match.kwargs[name][:LONGEST]
    if channel := getattr(api_request.user, "channel", None):
        subject["channel"] = f"{channel.source}/{channel.channel}"
    if response.data["code"] not in ROUTINE:
        subject["info"] = str(response.data["info"])[:LONGEST]
    return subject


def _body(request: Request) -> Any:
    try:
        return request.data
    except (APIException, BodyError):  # refused before its body was read, which is unreadable
        return {}
