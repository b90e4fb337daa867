"""Log in (登录): by a QR code scanned with WeChat, and later by a secret of this browser.

A ticket is random and valid for three minutes, one scan and one login, in the browser for which it
was made. The traceless login (无痕登录) is a random secret in an HttpOnly cookie, bound to a person
at a scan. It is no browser fingerprint, which would be the same for two equal phones.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from mall import wechat
from mall.models import Device, Shopper, Ticket

GOOD_FOR = timedelta(minutes=3)
REMEMBER = timedelta(days=180)
SHOPPER, TICKETS = "shopper", "tickets"  # keys of the session
TABS = 5  # of a browser whose codes are valid at once


class State(StrEnum):
    """The state of a ticket."""

    WAITING = "waiting"
    DONE = "done"
    EXPIRED = "expired"  # also used, unknown, or made for another browser


def new_ticket(request: HttpRequest, *, now: datetime) -> Ticket:
    """Make a ticket for this browser. Raises WeChatError if WeChat should draw it and fails to."""
    name = secrets.token_urlsafe(24)
    drawn = wechat.draw(name, GOOD_FOR) if settings.WECHAT_APP_ID else ""
    ticket = Ticket.objects.create(ticket=name, wechat_ticket=drawn, expires_at=now + GOOD_FOR)
    request.session[TICKETS] = [*_tickets(request), name][-TABS:]
    return ticket


def scan(name: str, user_id: str, *, now: datetime) -> bool:
    """Record that a person has scanned a ticket. False if it is unknown, expired or scanned."""
    shopper, _ = Shopper.objects.get_or_create(user_id=user_id)
    fresh = Ticket.objects.filter(ticket=name, shopper=None, expires_at__gt=now)
    return fresh.update(shopper=shopper) == 1


def check(request: HttpRequest, name: str, *, now: datetime) -> tuple[State, Shopper | None]:
    """Log in if the ticket was scanned. `name` is our ticket, or WeChat's ticket for it."""
    name = name.replace(" ", "+")  # old pages do not encode the "+" of WeChat's tickets
    wanted = Q(ticket=name) | (Q(wechat_ticket=name) if name else Q())
    ticket = Ticket.objects.filter(wanted).select_related("shopper").first()
    own = settings.BELIEVE_USER_ID or (ticket and ticket.ticket in _tickets(request))
    if ticket is None or not own or ticket.expires_at <= now:
        return State.EXPIRED, None
    if ticket.shopper is None:
        return State.WAITING, None
    if Ticket.objects.filter(pk=ticket.pk, used_at=None).update(used_at=now) != 1:
        return State.EXPIRED, None
    enter(request, ticket.shopper)
    return State.DONE, ticket.shopper


def enter(request: HttpRequest, shopper: Shopper) -> None:
    request.session.cycle_key()  # against session fixation
    request.session.pop(TICKETS, None)
    request.session[SHOPPER] = shopper.pk


def remember(response: HttpResponse, shopper: Shopper) -> None:
    """Bind this browser to the person, by a secret that only the browser stores."""
    secret = secrets.token_urlsafe(32)
    Device.objects.create(digest=_digest(secret), shopper=shopper)
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        secret,
        max_age=REMEMBER,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def remembered(request: HttpRequest, *, now: datetime) -> Shopper | None:
    """The person bound to this browser, or None."""
    secret = request.COOKIES.get(settings.DEVICE_COOKIE_NAME, "")
    known = Device.objects.filter(digest=_digest(secret), created_at__gt=now - REMEMBER)
    device = known.select_related("shopper").first() if secret else None
    return device.shopper if device else None


def forget(*, now: datetime) -> None:
    """Delete expired tickets, browsers and sessions."""
    Ticket.objects.filter(expires_at__lt=now - GOOD_FOR).delete()
    Device.objects.filter(created_at__lte=now - REMEMBER).delete()
    SessionStore.clear_expired()


def leave(request: HttpRequest, response: HttpResponse) -> None:
    """Log out, and forget the browser."""
    secret = request.COOKIES.get(settings.DEVICE_COOKIE_NAME, "")
    Device.objects.filter(digest=_digest(secret)).delete()
    request.session.flush()
    response.delete_cookie(settings.DEVICE_COOKIE_NAME, samesite="Lax")


def shopper_of(request: HttpRequest) -> Shopper | None:
    key = request.session.get(SHOPPER)
    return Shopper.objects.filter(pk=key).first() if key else None


def _tickets(request: HttpRequest) -> list[str]:
    """The latest tickets that were made for this browser."""
    tickets: list[str] = request.session.get(TICKETS, [])
    return tickets


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
