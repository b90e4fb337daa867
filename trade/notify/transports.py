"""How a promise travels to the mall. Source: the wire contract, section 3.

MQ: published by rabbitmq.py. HTTP: the payload verbatim, signed by Standard Webhooks 1.0, to a
host on the channel's allow-list. The address that the host resolves to for this connection must be
allowed, too.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from django.conf import settings
from django.utils import timezone
from pika.exceptions import UnroutableError
from requests.adapters import HTTPAdapter
from standardwebhooks.webhooks import Webhook
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from groupbuy.hosts import allowed_address
from groupbuy.models import Channel
from trade.models import NotifyTask, Transport
from trade.notify import rabbitmq

TIMEOUT = 5  # seconds, from connecting to the end of the answer
LONGEST_ANSWER = 1024  # bytes; an honest one has seven
NOWHERE = "the channel has no refund notify URL, and there is no message broker"


class SendError(Exception):
    """The promise was not delivered. Final: the receiver wants no more of it."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        retry_after: int = 0,
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after
        self.final = final


def send(task: NotifyTask, *, now: datetime) -> int | None:
    """Deliver the promise and return the HTTP status if there is one, or raise SendError.

    An HTTP promise without a target goes where its channel's refunds go by now.
    """
    match Transport(task.transport):
        case Transport.HTTP if url := task.target or task.channel.refund_notify_url:
            return _send_by_http(task, url, now)
        case Transport.HTTP if not settings.AMQP_URL:
            raise SendError(NOWHERE, final=True)
        case _:
            _send_by_mq(task)
            return None


def _send_by_mq(task: NotifyTask) -> None:
    if not settings.AMQP_URL:
        raise SendError("no message broker is set up: AMQP_URL is empty")
    routing_key = task.target or f"topic.{task.event}"
    try:
        rabbitmq.publish(routing_key, task.payload, message_id=task.key)
    except UnroutableError as exc:
        raise SendError(f"no queue is bound to {routing_key}") from exc
    except rabbitmq.ERRORS as exc:
        raise SendError(repr(exc)) from exc


def _send_by_http(task: NotifyTask, url: str, now: datetime) -> int:
    if not task.channel.allows(url):
        raise SendError("the URL is not among the channel's callback hosts")
    body = task.payload.encode()
    headers = signed_headers(task.key, body, task.channel, now) | {
        "Content-Type": "application/json",
        "User-Agent": "groupbuy-notify/1",
    }
    return _post(url, body, headers)


def signed_headers(key: str, body: bytes, channel: Channel, now: datetime) -> dict[str, str]:
    """The three headers of Standard Webhooks; two signatures while a secret is rotated."""
    secrets = filter(None, (channel.webhook_secret, channel.previous_webhook_secret))
    signatures = [Webhook(secret).sign(key, now, body.decode()) for secret in secrets]
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    with requests.Session() as session, _cut_after(TIMEOUT) as watch:
        session.trust_env = False  # a proxy would connect where the address check cannot see
        session.mount("http://", _CheckedAdapter())
        session.mount("https://", _CheckedAdapter())
        try:
            with session.post(
                url,
                data=body,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response:
                text = response.raw.read(LONGEST_ANSWER, decode_content=True)
        except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
            raise SendError(_reason(exc)) from exc
        if watch.is_over:  # the end of the answer was ours, not the receiver's
            raise SendError(f"no complete answer within {TIMEOUT} s")
    status = response.status_code
    if 200 <= status < 300 and text.strip() in (b"success", b""):
        return status
    raise SendError(
        f"answered {status} {text[:80].decode(errors='replace')!r}",
        status_code=status,
        retry_after=_seconds(response.headers.get("Retry-After", ""), timezone.now()),
        final=status == requests.codes.gone,
    )


def _reason(exc: Exception) -> str:
    """ConnectionError: [Errno 111] Connection refused, without the library's wrappings."""
    inner = getattr(exc.args[0], "reason", exc.args[0]) if exc.args else exc
    return f"{type(exc).__name__}: {str(inner).rpartition('>: ')[2].rpartition('): ')[2]}"


def _seconds(retry_after: str, now: datetime) -> int:
    """Retry-After as seconds, from a number or an HTTP date; 0 when it is neither."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return int(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0
    return max(0, round((moment - now).total_seconds())) if moment.tzinfo else 0


class _Watch:
    """The socket of the send that this thread is doing, and whether its time is up."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.is_over = False
        self.lock = threading.Lock()

    def cut(self) -> None:
        with self.lock:
            self.is_over = True
            if self.socket:
                with suppress(OSError):  # the other side has closed it
                    self.socket.shutdown(socket.SHUT_RDWR)


_watch: ContextVar[_Watch] = ContextVar("watch")


@contextmanager
def _cut_after(seconds: float) -> Iterator[_Watch]:
    """Cut the connection opened inside when the time is up.

    A receiver that drips its answer never trips a socket's own timeout.
    """
    watch = _Watch()
    token = _watch.set(watch)
    timer = threading.Timer(seconds, watch.cut)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        _watch.reset(token)
        with watch.lock:
            if watch.socket:
                watch.socket.close()
                watch.socket = None


class _CheckedConnection(HTTPConnection):
    """Connects to the address that was checked, so a second look-up cannot differ."""

    def _new_conn(self) -> socket.socket:
        host = self._dns_host  # the name stays in self.host for Host, SNI and certificate
        try:
            self._dns_host = allowed_address(host, self.port)
            connected = super()._new_conn()
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc
        finally:
            self._dns_host = host
        watch = _watch.get()
        with watch.lock:
            if watch.is_over:
                connected.close()
                raise NewConnectionError(self, "resolving and connecting took too long")
            watch.socket = connected.dup()  # TLS takes the original away
        return connected


class _CheckedHTTPSConnection(_CheckedConnection, HTTPSConnection):
    pass


class _CheckedPool(HTTPConnectionPool):
    ConnectionCls = _CheckedConnection


class _CheckedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedHTTPSConnection


class _CheckedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _CheckedPool,
            "https": _CheckedHTTPSPool,
        }
