"""The mall on the other side: it checks every signature and records what it got."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pika
from pika.exceptions import AMQPError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from trade.models import NotifyTask
from trade.notify import rabbitmq

QUEUE = "chaos_mall"
SHARE = 0.7  # of the calls go wrong while a mode is on
HEARD = "heard but not answered"
HANG = 7  # seconds, longer than the platform waits


class Sink:
    """What the mall knows: the payload of each notification id that it has acknowledged."""

    def __init__(self, secret: str, seed: int) -> None:
        self.known: dict[str, str] = {}
        self.copies: Counter[str] = Counter()
        self.wrong: list[str] = []  # what a correct platform never does
        self.misbehaved = 0
        self.mode = ""
        self._webhook = Webhook(secret)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/notify"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._consume, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(10)

    def hear(self, key: str, payload: str) -> None:
        with self._lock:
            if self.known.setdefault(key, payload) != payload:
                self.wrong.append(f"{key} came with another payload")
            self.copies[key] += 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.answer(self, body)

            def do_GET(self) -> None:
                sink.wrong.append("a redirect was followed")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def answer(self, call: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            self._webhook.verify(body, dict(call.headers.items()))
        except WebhookVerificationError as exc:
            self.wrong.append(f"a signature does not verify: {exc}")
        if call.path != "/notify":
            self.wrong.append(f"called at {call.path}")
        mode = self.mode if self._random.random() < SHARE else ""
        with suppress(OSError):  # the platform has hung up
            if mode in ("", HEARD):
                self.hear(call.headers["webhook-id"], body.decode())
            self.misbehaved += bool(mode)
            MODES[mode](call)

    def _consume(self) -> None:
        """Acknowledge each message once it is recorded, however often RabbitMQ goes away."""
        while not self._stopped.is_set():
            with suppress(AMQPError, OSError, *rabbitmq.ERRORS):
                parameters = rabbitmq.connection_parameters()
                with pika.BlockingConnection(parameters) as connection:
                    self._consume_from(connection.channel())
            time.sleep(0.3)

    def _consume_from(self, channel: Any) -> None:
        declare_queue(channel)
        for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.2):
            if method is not None:
                self.hear(properties.message_id, body.decode())
                channel.basic_ack(method.delivery_tag)
            if self._stopped.is_set():
                return


def declare_queue(channel: Any) -> None:
    rabbitmq.declare_exchange(channel)
    channel.queue_declare(QUEUE, durable=True)
    for event in NotifyTask.Event.values:
        channel.queue_bind(QUEUE, rabbitmq.EXCHANGE, f"topic.{event}")


def reply(
    call: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    call.send_response(status)
    for name, value in (headers or {}).items():
        call.send_header(name, value)
    call.end_headers()
    call.wfile.write(body)


def _reset(call: BaseHTTPRequestHandler) -> None:
    """Close with RST instead of an answer."""
    linger = struct.pack("ii", 1, 0)
    call.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    call.connection.close()


MODES: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "": lambda call: reply(call, 200, b"success"),
    HEARD: _reset,
    "500": lambda call: reply(call, 500, b"success"),
    "hang": lambda call: time.sleep(HANG),
    "reset": _reset,
    "redirect": lambda call: reply(call, 302, b"success", {"Location": "/elsewhere"}),
    "wrong body": lambda call: reply(call, 200, b"error"),
}
