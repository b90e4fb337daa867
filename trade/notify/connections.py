"""HTTP connections to malls: only to allowed addresses, reused, with one time limit for each call.

The address that a host resolves to is checked whenever a connection is opened, and the connection
goes to that address, so that a second look-up cannot differ.
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import certifi

from groupbuy.hosts import allowed_addresses

KEEP = 10  # seconds after its opening in which a connection may be reused
LONGEST_ANSWER = 1024  # bytes; an honest one has seven
Headers = Mapping[str, str]
Answer = tuple[HTTPResponse, bytes]

_lock = threading.Lock()
_kept: list["_Connection"] = []  # those not in use


def post(url: str, body: bytes, headers: Headers, *, timeout: float) -> Answer:
    """Return the answer and the beginning of its body. Follows no redirect.

    Raises TimeoutError if the answer is not complete after `timeout` seconds, look-up (which is not
    interrupted) and connecting included; another OSError, HTTPException or ValueError if there is
    no answer, or none that can be read.
    """
    parts, deadline = urlsplit(url), time.monotonic() + timeout
    while True:
        kept = _take(parts)
        connection = kept or _Connection(parts)
        try:
            answer = connection.post(parts, body, headers, deadline)
        except BaseException as exc:
            connection.close()
            if kept and isinstance(exc, ConnectionError | ssl.SSLError):
                continue  # the other side has closed it
            raise
        if connection.sock:
            with _lock:
                _kept.append(connection)
        return answer


def close_old() -> None:
    """Close the connections that have been open for KEEP seconds and are not in use."""
    with _lock:
        for old in [each for each in _kept if time.monotonic() - each.opened_at > KEEP]:
            _kept.remove(old)
            old.close()


@lru_cache
def tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.sslsocket_class = _TLSSocket
    return context


class _Socket(socket.socket):
    """Every read and write ends at one deadline, even if the receiver sends byte by byte."""

    deadline = 0.0  # by time.monotonic()

    def limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)

    def recv_into(self, *args: Any) -> int:
        self.limit()
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.limit()
        return super().send(*args)


class _TLSSocket(_Socket, ssl.SSLSocket):
    pass


class _Connection(HTTPConnection):
    sock: Any

    def __init__(self, parts: SplitResult) -> None:
        self.default_port = {"http": 80, "https": 443}[parts.scheme]
        super().__init__(parts.hostname or "", parts.port or self.default_port)
        self.origin = parts[:2]
        self.opened_at = time.monotonic()

    def post(self, url: SplitResult, body: bytes, headers: Headers, deadline: float) -> Answer:
        if self.sock is None:
            self._open(deadline)
        self.sock.deadline = deadline
        self.sock.limit()
        target = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
        self.request("POST", quote(target, safe="/?%:@!$&'()*+,;=~[]"), body, headers)
        answer = self.getresponse()
        text = answer.read(LONGEST_ANSWER)
        if answer.length and len(text) < LONGEST_ANSWER:
            raise IncompleteRead(text, answer.length)
        if not answer.isclosed():  # the body is longer
            self.close()
        return answer, text

    def _open(self, deadline: float) -> None:
        addresses = allowed_addresses(self.host, self.port)
        for left in range(len(addresses), 0, -1):
            limit = max(0.001, (deadline - time.monotonic()) / left)
            try:
                sock = socket.create_connection((addresses[-left], self.port), limit)
                break
            except OSError:
                if left == 1:
                    raise
        self.sock = _Socket(fileno=sock.detach())
        self.sock.deadline = deadline
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.default_port == 443:
            self.sock.limit()
            self.sock = tls_context().wrap_socket(self.sock, server_hostname=self.host)


def _take(parts: SplitResult) -> _Connection | None:
    """A kept connection to this origin, on which nothing has arrived since its last answer."""
    close_old()
    with _lock:
        for connection in [each for each in _kept if each.origin == parts[:2]]:
            _kept.remove(connection)
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()
    return None
