"""Callback hosts: the form of a URL and of an allow-list, and which URLs the list admits."""

import re
from functools import lru_cache
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

ALLOWED_HOST = re.compile(r"(?:(https?)://)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


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
