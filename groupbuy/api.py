"""The envelope, the JSON parser and renderer, and the handler that turns exceptions into answers.

Source: docs/contract.md, section 1.
"""

import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import inline_serializer
from rest_framework import exceptions, serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

from groupbuy import rows
from groupbuy.bodies import MAX_BODY, BodyError, decode
from groupbuy.errors import ErrorCode, GroupBuyError

logger = logging.getLogger(__name__)

BY_STATUS = {
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    408: ErrorCode.TRY_AGAIN,
    429: ErrorCode.RATE_LIMITED,
    500: ErrorCode.UNKNOWN,
    503: ErrorCode.UNKNOWN,
}


def answer(data: Any, error: ErrorCode = ErrorCode.SUCCESS) -> Response:
    """The envelope around an answer."""
    return Response({"code": error.code, "info": _text(error, get_language()), "data": data})


def refusal(error: ErrorCode, detail: Any = "", status: int | None = None) -> Response:
    """The envelope around a refusal; detail names what was wrong."""
    text = _text(error, get_language())
    info = f"{text}: {detail}" if detail else text
    body = {"code": error.code, "info": info, "data": None}
    return Response(body, status=status or error.status)


@lru_cache
def _text(error: ErrorCode, language: str | None) -> str:
    """The message in the active language. Cached, because gettext searches every app's texts."""
    return str(error.message)


class RefusedAnswer(serializers.Serializer):
    """The envelope of a refusal; a business refusal has HTTP status 200."""

    code = serializers.CharField()
    info = serializers.CharField(help_text="for people; names the field of a 0002")
    data = serializers.JSONField(allow_null=True)  # type: ignore[assignment]


def enveloped(name: str, data: serializers.Field, *, keyed: bool = True) -> Any:
    """The schema of answer(data) and of the faults that an endpoint may answer instead."""
    envelope = {"code": serializers.CharField(), "info": serializers.CharField(), "data": data}
    faults = (400, 401, 403, 429, 503) if keyed else (400, 429, 503)
    return {200: inline_serializer(name, envelope), **dict.fromkeys(faults, RefusedAnswer)}


class OrjsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return orjson.dumps(data, default=_plain)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


class OrjsonParser(BaseParser):
    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request: Any = (parser_context or {})["request"]
        coding = request.META.get("HTTP_CONTENT_ENCODING", "")
        charset = request.content_params.get("charset", "utf-8")
        body = decode(stream.read(MAX_BODY + 1), coding, charset)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise exceptions.ParseError(_("the body is not JSON")) from exc


class AlwaysJson(BaseContentNegotiation):
    """Answer JSON whatever the Accept header says, as existing malls expect."""

    def select_parser(self, request: Any, parsers: Iterable[Any]) -> Any:
        wanted = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(
        self, request: Any, renderers: Iterable[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    match exc:
        case GroupBuyError():
            response = refusal(exc.error, exc.detail)
        case exceptions.ValidationError():
            response = refusal(ErrorCode.ILLEGAL_PARAMETER, "; ".join(_flatten(exc.detail)))
        case exceptions.APIException():  # no key, not JSON, wrong method or media type, too often
            response = _fault(exc)
        case BodyError():
            response = refusal(ErrorCode.ILLEGAL_PARAMETER, exc.message, exc.status)
        case SuspiciousOperation():
            return None  # for Django, which answers 400; faults.py adds the envelope
        case Http404():
            response = refusal(ErrorCode.ILLEGAL_PARAMETER, _("no such path"), 404)
        case OperationalError() | InterfaceError():
            response = _database_fault(exc)
        case _:
            logger.error("bug in %s", _path(context), exc_info=exc)
            response = refusal(ErrorCode.UNKNOWN)
    return response


def _path(context: Mapping[str, Any]) -> str:
    """The request's path for the log; line breaks stay percent-encoded."""
    return escape_uri_path(context["request"].path)[:200]


def _database_fault(exc: OperationalError | InterfaceError) -> Response:
    if isinstance(exc, OperationalError) and rows.is_collision(exc):
        return refusal(ErrorCode.TRY_AGAIN)
    logger.error("database away: %s", exc)
    return refusal(ErrorCode.UNKNOWN, status=503)


def _fault(exc: exceptions.APIException) -> Response:
    error = BY_STATUS.get(exc.status_code, ErrorCode.ILLEGAL_PARAMETER)
    detail = exc.detail if error is ErrorCode.ILLEGAL_PARAMETER else ""
    response = refusal(error, detail, exc.status_code)
    if header := getattr(exc, "auth_header", ""):
        response["WWW-Authenticate"] = header
    if seconds := getattr(exc, "wait", None):
        response["Retry-After"] = str(seconds)
    return response


def _flatten(detail: Any, path: str = "") -> list[str]:
    """{"a": {"b": ["x"]}} -> ["a.b: x"]"""
    if isinstance(detail, Mapping):
        return [
            text
            for name, inner in detail.items()
            for text in _flatten(inner, f"{path}.{name}" if path else str(name))
        ]
    if isinstance(detail, list):
        return [text for inner in detail for text in _flatten(inner, path)]
    path = path.removesuffix(".non_field_errors").removesuffix("non_field_errors")
    text = str(detail).rstrip("。.")
    return [f"{path}: {text}" if path else text]


@csrf_exempt
def path_not_found(request: HttpRequest) -> HttpResponse:
    """Answer an unknown path under /api/ with the envelope."""
    body = refusal(ErrorCode.ILLEGAL_PARAMETER, _("no such path")).data
    return HttpResponse(orjson.dumps(body), content_type="application/json", status=404)
