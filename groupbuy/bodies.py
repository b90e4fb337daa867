"""The bodies that requests may have: their length, content coding and charset."""

import codecs
import zlib
from enum import Enum

from django.utils.translation import gettext, gettext_noop

MAX_BODY = 64 * 1024  # bytes, packed and unpacked; the longest honest request is under 2 kB
MAX_UPLOAD = 32 * 1024 * 1024  # bytes; a file that an operator uploads to the console
FAULT = "groupbuy.body_fault"  # the server leaves a BodyError under this name in WSGI's environ


class BodyFault(Enum):
    """Why a body cannot be read: the HTTP status, and a text for its sender."""

    CUT_OFF = 400, gettext_noop("the body was cut off or is broken")
    NOT_GZIP = 400, gettext_noop("Content-Encoding: the body is not gzip")
    SLOW = 408, gettext_noop("the body did not arrive in time, please send it again")
    TOO_LARGE = 413, gettext_noop("the body is larger than 64 KiB")
    UPLOAD_TOO_LARGE = 413, gettext_noop("the upload is larger than 32 MiB")
    CODING = 415, gettext_noop("Content-Encoding: %(name)s is not supported, only gzip")
    CHARSET = 415, gettext_noop("Content-Type: charset %(name)s is not supported, only UTF-8")
    BUSY = 503, gettext_noop("too many uploads at once, please try again")


class BodyError(Exception):
    """A body that cannot be read; name is the coding or charset at fault."""

    def __init__(self, fault: BodyFault, name: str = "") -> None:
        super().__init__(fault.name)
        self.status, self._text = fault.value
        self._name = name[:40]

    @property
    def message(self) -> str:
        """The text in the language of this thread."""
        return gettext(self._text) % {"name": self._name}


def decode(body: bytes, coding: str, charset: str) -> bytes:
    """Return the UTF-8 text of a body with this Content-Encoding and charset; raise BodyError."""
    if len(body) > MAX_BODY:
        raise BodyError(BodyFault.TOO_LARGE)
    if not _is_utf8(charset):
        raise BodyError(BodyFault.CHARSET, charset)
    match coding.strip().lower():
        case "" | "identity":
            text = body
        case "gzip" | "x-gzip":
            text = _unpack(body)
        case _:
            raise BodyError(BodyFault.CODING, coding)
    return text.removeprefix(codecs.BOM_UTF8)


def _is_utf8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in ("utf-8", "ascii")
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return False


def _unpack(body: bytes) -> bytes:
    """Unpack gzip, at most one byte more than is allowed."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = unpacker.decompress(body, MAX_BODY + 1)
    except zlib.error as exc:
        raise BodyError(BodyFault.NOT_GZIP) from exc
    if len(text) > MAX_BODY:
        raise BodyError(BodyFault.TOO_LARGE)
    if not unpacker.eof or unpacker.unused_data:  # cut off, or followed by something else
        raise BodyError(BodyFault.NOT_GZIP)
    return text
