"""Middleware: every fault below /api/ has the envelope, even if no view was reached.

Such faults come from the server (a body that never arrived), from other middleware (a wrong Host)
and from Django itself (a bug in middleware).
"""

from collections.abc import Callable

import orjson
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language_from_request, override
from django.utils.translation import gettext as _

from groupbuy.api import BY_STATUS, refusal
from groupbuy.bodies import FAULT, BodyError
from groupbuy.errors import ErrorCode


def envelope_faults(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = _refuse_body(request) or get_response(request)
        if (
            response.status_code >= 400
            and request.path.startswith("/api/")
            and response["Content-Type"] != "application/json"
        ):
            _envelop(request, response)
        return response

    return middleware


def _refuse_body(request: HttpRequest) -> HttpResponse | None:
    """The answer to a body that the server could not read."""
    fault: BodyError | None = request.META.get(FAULT)
    if fault is None:
        return None
    with override(get_language_from_request(request)):
        return HttpResponse(fault.message, status=fault.status, content_type="text/plain")


def _envelop(request: HttpRequest, response: HttpResponse) -> None:
    """Replace the body, and keep headers such as Allow and those of CORS."""
    error = BY_STATUS.get(response.status_code, ErrorCode.ILLEGAL_PARAMETER)
    with override(get_language_from_request(request)):
        response.content = orjson.dumps(refusal(error, _detail(request, response)).data)
    response.headers["Content-Type"] = "application/json"
    response.headers["Content-Length"] = str(len(response.content))


def _detail(request: HttpRequest, response: HttpResponse) -> str:
    if response["Content-Type"] == "text/plain":
        return response.text.strip()
    if response.status_code != 400:
        return ""
    try:
        request.get_host()
    except DisallowedHost:
        return _("Host: not a name of this platform")
    return _("the request is malformed")
