"""The address that a request comes from, when our own proxies are in front of the web server.

Each proxy appends to X-Forwarded-For the address that called it. The header is read from its end,
and only as long as a proxy of ours has written the entry: a client may have forged everything
before.
"""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request


def caller(request: HttpRequest | Request) -> str:
    """The client's address as our proxies report it; empty on a Unix socket without a header."""
    address: str = request.META.get("REMOTE_ADDR", "")
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    for _proxy in range(min(settings.TRUSTED_PROXIES, len(entries))):
        entry = entries.pop().strip()
        if not (entry and is_proxy(address)):
            break
        address = entry
    return address


def is_proxy(address: str) -> bool:
    """Whether this peer is a proxy of ours.

    A peer on a Unix socket has no address; the mode of the socket says who may connect.
    """
    if not address:
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in network for network in settings.PROXY_NETWORKS)
