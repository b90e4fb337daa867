"""The session of a shopper whom a mall has handed over: a signed cookie for each channel.

The cookie is valid for its channel only. The server stores nothing, so a page identifies the
shopper without a query, and an outage of the database or Redis signs nobody out. Replacing the
channel's page secret, and then the previous one, ends all its sessions.
"""

import hashlib
from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

from groupbuy.channels import KnownChannel

AGE = timedelta(days=7)
PREFIX = "shopper_"  # of the cookies' names; also in deploy/nginx/groupbuy.conf


def sign_in(response: HttpResponse, channel: KnownChannel, user_id: str) -> None:
    response.set_cookie(
        _cookie(channel),
        _signer(channel).sign_object(user_id),
        max_age=AGE,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def sign_out(response: HttpResponse, channel: KnownChannel) -> None:
    response.delete_cookie(_cookie(channel), samesite="Lax")


def looking(request: HttpRequest, channel: KnownChannel) -> str:
    """The user id of the shopper who is looking; "" for a guest on this channel."""
    value = request.COOKIES.get(_cookie(channel))
    if value is None or not channel.page_secrets:
        return ""
    try:
        return str(_signer(channel).unsign_object(value, max_age=AGE))
    except (BadSignature, ValueError):
        return ""


def has_come_from_a_shop(request: HttpRequest) -> bool:
    """Is there a cookie of a hand-over by any channel?"""
    return any(name.startswith(PREFIX) for name in request.COOKIES)


def is_guest(request: HttpRequest) -> bool:
    """Is this no channel's shopper, without a chosen language? All such visitors see the same."""
    has_language = settings.LANGUAGE_COOKIE_NAME in request.COOKIES
    return not has_language and not has_come_from_a_shop(request)


def _cookie(channel: KnownChannel) -> str:
    named = f"{channel.source}\n{channel.channel}"
    return f"{PREFIX}{hashlib.sha256(named.encode()).hexdigest()[:12]}"


def _signer(channel: KnownChannel) -> TimestampSigner:
    keys = (f"{settings.SECRET_KEY}{secret}" for secret in channel.page_secrets)
    key: str | bytes = next(keys)
    older: list[str | bytes] = list(keys)
    salt = f"pages.shopper\n{channel.source}\n{channel.channel}"
    return TimestampSigner(key=key, fallback_keys=older, salt=salt)
