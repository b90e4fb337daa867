"""The headers and the context of every page, and the demo's restriction to this machine."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden

from mall.login import shopper_of
from mall.models import Message

Handler = Callable[[HttpRequest], HttpResponse]


def loopback_only(get_response: Handler) -> Handler:
    """Refuse requests from other machines, whatever address the demo's server is bound to."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1"):
            return get_response(request)
        return HttpResponseForbidden("This demo answers requests from its own machine only.\n")

    return middleware


def headers(get_response: Handler) -> Handler:
    """Add a Content-Security-Policy: no inline script; forms go to this mall and to Alipay.

    The form of a login may lead on to the platform, and Chromium checks redirects as well.
    """
    platform = _origin(settings.PLATFORM_URL)
    alipay = f"{_origin(settings.ALIPAY_GATEWAY)} https://*.alipay.com https://*.alipaydev.com"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self' data: https: {platform}; form-action 'self' {platform} {alipay}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.setdefault("Content-Security-Policy", policy)
        response.setdefault("Cache-Control", "no-store")
        response.setdefault("X-Frame-Options", "DENY")
        return response

    return middleware


def frame(request: HttpRequest) -> dict[str, Any]:
    """Template context: the shopper who is logged in, and the number of unread messages."""
    shopper = shopper_of(request) if hasattr(request, "session") else None
    unread = Message.objects.filter(shopper=shopper, read_at=None).count() if shopper else 0
    return {"shopper": shopper, "unread": unread, "demo": settings.DEMO}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
