"""The embedded stack (内嵌模式) serves this machine only: it has DEBUG and demo credentials."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden

LOOPBACK = ("127.0.0.1", "::1")
FOR_OTHERS = (
    "This is the embedded stack, for the machine it runs on. To serve others, set SECRET_KEY and"
    " ALLOWED_HOSTS (see .env.example).\n"
)


def loopback_only(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: whatever address the server is bound to, only loopback gets an answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if is_loopback(request):
            return get_response(request)
        return HttpResponseForbidden(FOR_OTHERS, content_type="text/plain")

    return middleware


def is_loopback(request: HttpRequest) -> bool:
    return request.META.get("REMOTE_ADDR") in LOOPBACK
