"""What all shopper pages have in common: the limit, problems in words, and how one is polled."""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from groupbuy import snapshots, switches
from groupbuy.models import Switch
from groupbuy.throttling import Throttle, client_address, limits_of
from pages import problems
from pages.headers import dress
from pages.problems import ProblemError
from pages.shopper import is_guest

PAGES = "pages"  # the scope of the limit
MOST_TEXTS = 500  # pages for guests kept in each process, 5 kB each

_texts: dict[tuple[str, str], tuple[float, str]] = {}
_keeping = threading.Lock()


class PageThrottle(Throttle):
    """The public pages and their polls: by address, and nobody is blocked for looking."""

    def allow_request(self, request: Any, view: object = None) -> bool:
        address = client_address(self.get_ident(request))
        client = f"address {address}"
        return self.acquire(PAGES, limits_of(Switch.Key.PAGE_ADDRESS, client, may_block=False))


def page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page that is read: limited, and dressed with the headers of all pages.

    nginx answers further guests from its cache for a second; browsers are told to keep nothing.
    """

    @wraps(view)
    def marked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code == 200 and is_guest(request):
            response["X-Accel-Expires"] = "1"
        return response

    return form_page(require_safe(marked))


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
    request: HttpRequest,
    name: str,
    version: object,
    context: Callable[[], Mapping[str, Any]],
    *,
    for_guests: bool = False,
) -> HttpResponse:
    """The page, or to a poll its part that changes; 304 when that is as the browser has it.

    context() is called only where something is rendered. A page for guests is rendered once for
    all who look at it in the same second.
    """
    seen = repr((name, version, get_language())).encode()
    etag = f'"{hashlib.blake2b(seen, digest_size=12).hexdigest()}"'
    template = f"pages/_{name}.html" if is_poll(request) else f"pages/{name}.html"
    # A proxy that packs the answer makes the tag a weak one.
    known = request.headers.get("If-None-Match", "").removeprefix("W/")
    if is_poll(request) and known == etag:
        response: HttpResponse = HttpResponseNotModified()
    elif for_guests:
        response = HttpResponse(_for_guests(request, template, etag, context))
    else:
        response = render(request, template, {**context(), "etag": etag})
    response["ETag"] = etag
    if is_poll(request):
        response["Cache-Control"] = "private, no-cache"
    return response


def _for_guests(
    request: HttpRequest, template: str, etag: str, context: Callable[[], Mapping[str, Any]]
) -> str:
    """The text of the page. It holds no token: one visitor's would reach every guest."""
    key, now = (etag, request.build_absolute_uri()), time.monotonic()
    rendered_at, text = _texts.get(key, (-math.inf, ""))
    if switches.caches_off() or not snapshots.is_fresh(rendered_at):
        values = {**context(), "etag": etag, "csrf_token": ""}
        text = render_to_string(template, values, request)
        with _keeping:
            _texts[key] = now, text
            while len(_texts) > MOST_TEXTS:
                del _texts[next(iter(_texts))]
    return text
