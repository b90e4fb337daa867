"""Callback hosts: which URLs a channel's allow-list admits, and which addresses may be called."""

import ipaddress
import re
import socket
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

ALLOWED_HOST = re.compile(r"(?:(https?)://)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
TUNNELS = [  # IPv6 ranges that lead to IPv4 addresses: 6to4, NAT64, IPv4-compatible
    ipaddress.ip_network(network) for network in ("2002::/16", "64:ff9b::/96", "::/96")
]


def validate_http_url(value: str) -> None:
    """An http or https URL; unlike Django's validator it takes names such as http://mall:8080."""
    if not _is_http_url(value):
        raise ValidationError(_("Enter a URL that starts with http:// or https://."))


@lru_cache(1000)  # malls name the same one or two with each lock
def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        readable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    plain = value.isprintable() and " " not in value
    return bool(readable and plain and len(parts.netloc) <= 255)


def validate_allow_list(value: str) -> None:
    for line in value.split():
        match = ALLOWED_HOST.fullmatch(line)
        if not match or (match[3] and not 0 < int(match[3]) < 65536):
            raise ValidationError(
                _("“%(line)s” is not [http://]host[:port] in lower case."), params={"line": line}
            )


@lru_cache(1000)
def is_allowed(url: str, callback_hosts: str) -> bool:
    """Is this URL's scheme, host and port on the list? An unreadable URL never is."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return False
    if parts.username or parts.password or not parts.hostname:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    for line in callback_hosts.split():
        if match := ALLOWED_HOST.fullmatch(line):
            scheme, name, only_port = match[1] or "https", match[2], match[3]
            if (scheme, name) == (parts.scheme, host) and only_port in (None, str(port)):
                return True
    return False


def allowed_addresses(host: str, port: int) -> list[str]:
    """Resolve the host and return the addresses that may be called; raises OSError without one.

    Public addresses may be called; private, loopback and link-local ones only if they are inside
    CALLBACK_NETWORKS.
    """
    allowed = []
    for *_family, sockaddr in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        tunnel = any(address in network for network in TUNNELS)
        public = address.is_global and not address.is_multicast and not tunnel
        if public or any(address in network for network in settings.CALLBACK_NETWORKS):
            allowed.append(str(address))
    if not allowed:
        raise OSError(f"{host} resolves to no address that may be called")
    return allowed
