"""What all shopper pages have in common: the limit, problems in words, and how one is polled."""

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from groupbuy.models import Switch
from groupbuy.throttling import Throttle, client_address, limits_of
from pages import problems
from pages.headers import dress
from pages.problems import ProblemError

PAGES = "pages"  # the scope of the limit


class PageThrottle(Throttle):
    """The public pages and their polls: by address, and nobody is blocked for looking."""

    def allow_request(self, request: Any, view: object = None) -> bool:
        address = client_address(self.get_ident(request))
        client = f"address {address}"
        return self.acquire(PAGES, limits_of(Switch.Key.PAGE_ADDRESS, client, may_block=False))


def page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page that is read: limited, and dressed with the headers of all pages."""
    return form_page(require_safe(view))


def form_page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def framed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        throttle = PageThrottle()
        try:
            if not throttle.allow_request(request):
                return problems.too_many(request, math.ceil(throttle.wait()))
            response = view(request, *args, **kwargs)
        except ProblemError as problem:
            return problems.answer(request, problem)
        return dress(response)

    return framed


def is_poll(request: HttpRequest) -> bool:
    return "live" in request.GET


def live(
    request: HttpRequest, name: str, version: object, context: Callable[[], Mapping[str, Any]]
) -> HttpResponse:
    """The page, or to a poll its part that changes; 304 when that is as the browser has it.

    context() is called only where something is rendered.
    """
    seen = repr((name, version, get_language())).encode()
    etag = f'"{hashlib.blake2b(seen, digest_size=12).hexdigest()}"'
    if is_poll(request) and request.headers.get("If-None-Match") == etag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        template = f"pages/_{name}.html" if is_poll(request) else f"pages/{name}.html"
        response = render(request, template, {**context(), "etag": etag})
    response["ETag"] = etag
    if is_poll(request):
        response["Cache-Control"] = "private, no-cache"
    return response
