"""What all shopper pages have in common: the limit, problems in words, and how one is polled."""

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
MOST_KEPT = 500  # pages for guests kept in each process, 5 kB each


@dataclass(frozen=True, slots=True)
class Look:
    """What a live page shows now."""

    version: object  # two looks of the same version look the same, but for the time left
    context: Callable[[], Mapping[str, Any]]  # called only where something is rendered


class _Made(NamedTuple):
    etag: str
    text: str | None  # None: the browser has it


_kept: dict[tuple[str | None, ...], tuple[float, _Made]] = {}
_keeping = threading.Lock()


class PageThrottle(Throttle):
    """The public pages and their polls: by address, and nobody is blocked for looking."""

    def allow_request(self, request: Any, view: object = None) -> bool:
        address = client_address(caller(request))
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


def live(request: HttpRequest, name: str, look: Callable[[], Look]) -> HttpResponse:
    """The page, or to a poll its part that changes; 304 when that is as the browser has it.

    Guests who ask within the same second get what was made for the first of them.
    """
    polled = is_poll(request)
    template = f"pages/_{name}.html" if polled else f"pages/{name}.html"
    # A proxy that packs the answer makes the tag a weak one.
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
    """None for shoppers, and while caches are off."""
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
    # It holds no token: one visitor's would reach every guest.
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
