"""Django's middleware for pages; calls of the API skip it.

The cookies of a call are ignored: it has no session, no signed-in operator, no messages and no
CSRF token.
"""

from functools import lru_cache
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.locale import LocaleMiddleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import activate, get_language_from_request

LONGEST = 500  # characters of Accept-Language that are read


def is_call(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


class PagesOnly(MiddlewareMixin):
    """A call of the API goes on to the next middleware."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if is_call(request) else super().__call__(request)


class Sessions(PagesOnly, SessionMiddleware):
    pass


class Csrf(PagesOnly, CsrfViewMiddleware):
    pass


class SignedIn(PagesOnly, AuthenticationMiddleware):
    pass


class Messages(PagesOnly, MessageMiddleware):
    pass


class Language(LocaleMiddleware):
    """A page's language comes from its cookie, else from its header; a call's from its header."""

    def __call__(self, request: HttpRequest) -> Any:
        if not is_call(request):
            return super().__call__(request)
        language = _accepted(request.META.get("HTTP_ACCEPT_LANGUAGE", "")[:LONGEST])
        activate(language)
        response: Any = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        return response


@lru_cache(1000)
def _accepted(header: str) -> str:
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = header
    return get_language_from_request(request)
