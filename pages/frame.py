"""Frame of all shopper pages: rate limit, error pages, headers, and polls of live pages."""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from groupbuy import snapshots, switches
from groupbuy.models import Switch
from groupbuy.proxies import caller
from groupbuy.throttling import Throttle, client_address, limits_of
from pages import problems
from pages.headers import dress
from pages.problems import ProblemError
from pages.shopper import has_come_from_a_shop, is_guest

PAGES = "pages"  # the scope of the limit
MOST_KEPT = 500  # pages for guests cached in each process, 5 kB each


@dataclass(frozen=True, slots=True)
class Look:
    """What a live page shows now."""

    version: object  # looks of the same version differ in nothing but the time left
    context: Callable[[], Mapping[str, Any]]  # called only if something is rendered


class _Made(NamedTuple):
    etag: str
    text: str | None  # None: the browser has this version already


_kept: dict[tuple[str | None, ...], tuple[float, _Made]] = {}
_keeping = threading.Lock()


class PageThrottle(Throttle):
    """Limits the public pages and their polls by address. It refuses requests and blocks nobody."""

    def allow_request(self, request: Any, view: object = None) -> bool:
        address = client_address(caller(request))
        client = f"address {address}"
        return self.acquire(PAGES, limits_of(Switch.Key.PAGE_ADDRESS, client, may_block=False))


def page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a view that shows a page, for GET and HEAD; as form_page().

    nginx may answer further guests from its cache for a second.
    """

    @wraps(view)
    def marked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code == 200 and is_guest(request):
            response["X-Accel-Expires"] = "1"
        return response

    return form_page(require_safe(marked))


def form_page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a view: rate limit, the headers of all pages, and a page for a ProblemError."""

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


def live(request: HttpRequest, name: str, look: Callable[[], Look]) -> HttpResponse:
    """Respond with the page, or to a poll with its live part; 304 if the browser has that part.

    Guests within the same second get what was rendered for the first of them.
    """
    polled = is_poll(request)
    template = f"pages/_{name}.html" if polled else f"pages/{name}.html"
    # A proxy that compresses the response makes the tag a weak one.
    known = request.META.get("HTTP_IF_NONE_MATCH", "").removeprefix("W/") if polled else ""
    made = _made_for_guests(request, template, known, look)
    if made is None:
        made = _make(request, template, known, look())
    response = HttpResponseNotModified() if made.text is None else HttpResponse(made.text)
    response["ETag"] = made.etag
    if polled:
        response["Cache-Control"] = "private, no-cache"
    return response


def _made_for_guests(
    request: HttpRequest, template: str, known: str, look: Callable[[], Look]
) -> _Made | None:
    """From the cache of the last second, or else rendered. None for shoppers and without caches."""
    if has_come_from_a_shop(request) or switches.caches_off():
        return None
    address = (request.scheme, request.get_host(), request.get_full_path())
    key, now = (*address, get_language()), time.monotonic()
    at, made = _kept.get(key, (-math.inf, _Made("", None)))
    if snapshots.is_fresh(at):
        if made.etag == known:
            return made._replace(text=None)
        if made.text is not None:
            return made
    # Rendered without a CSRF token: one visitor's token would reach every guest.
    made = _make(request, template, known, look(), csrf_token="")
    with _keeping:
        _kept[key] = now, made
        while len(_kept) > MOST_KEPT:
            del _kept[next(iter(_kept))]
    return made


def _make(request: HttpRequest, template: str, known: str, seen: Look, **more: str) -> _Made:
    shown = repr((template, seen.version, get_language())).encode()
    etag = f'"{hashlib.blake2b(shown, digest_size=12).hexdigest()}"'
    if etag == known:
        return _Made(etag, None)
    values = {**seen.context(), "etag": etag, **more}
    return _Made(etag, render_to_string(template, values, request))
