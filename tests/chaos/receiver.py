"""The mall's callback endpoint: it checks every signature and records the notifications."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import pika
from django.conf import settings
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

from groupbuy_client import Webhook, WebhookError
from tests.sink import HANG, RESET, SUCCESS, Request, Sink, Slowly, reply
from trade.models import NotifyTask
from trade.notify import rabbitmq

QUEUE = "chaos_mall"


class Mode(NamedTuple):
    answer: bytes | Slowly
    takes: bool = False  # whether the mall keeps the notification all the same
    share: float = 0.7  # of the calls that are answered so


WELL = Mode(SUCCESS, takes=True)
MODES = {
    "received but not answered": Mode(RESET, takes=True),
    "500": Mode(reply(500)),
    "500 for one in ten": Mode(reply(500), share=0.1),
    "hang": Mode(HANG),
    "reset": Mode(RESET),
    "redirect": Mode(reply(302, location="/elsewhere")),
    "wrong body": Mode(reply(200, b"error")),
    "slow": Mode(Slowly([SUCCESS], 2), takes=True),
    "drip": Mode(Slowly([bytes([byte]) for byte in SUCCESS], 0.5)),
    "close kept connections": Mode(Slowly([SUCCESS, b""], 0.02), takes=True),
}


class Receiver:
    """The payload of each notification id that the mall has acknowledged."""

    def __init__(self, secret: str, seed: int) -> None:
        self.known: dict[str, str] = {}
        self.copies: Counter[str] = Counter()
        self.wrong: list[str] = []  # what a correct platform never does
        self.misbehaved = 0
        self.mode = WELL
        self._webhook = Webhook(secret)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sink = Sink(self._answer)
        self.url = f"{self._sink.url}/notify"
        self._consumer = threading.Thread(target=self._consume, daemon=True)
        self._consumer.start()

    def stop(self) -> None:
        self._stopped.set()
        self._sink.stop()
        self._consumer.join(10)

    def _record(self, key: str, payload: str) -> None:
        with self._lock:
            if self.known.setdefault(key, payload) != payload:
                self.wrong.append(f"{key} came with another payload")
            self.copies[key] += 1

    def _answer(self, request: Request) -> bytes | Slowly:
        if (request.method, request.path) != ("POST", "/notify"):
            self.wrong.append(f"{request.method} {request.path}: a redirect was followed")
        try:
            self._webhook.verify(request.headers, request.body)
        except WebhookError as exc:
            self.wrong.append(f"a callback does not verify: {exc}")
        mode = self.mode if self._random.random() < self.mode.share else WELL
        if mode.takes:
            self._record(request.headers["webhook-id"], request.body.decode())
        self.misbehaved += mode is not WELL
        return mode.answer

    def _consume(self) -> None:
        """Acknowledge each message after recording it; connect again whenever RabbitMQ is lost."""
        while not self._stopped.is_set():
            with suppress(AMQPError, AMQPConnectorException, OSError):
                parameters = pika.URLParameters(settings.AMQP_URL)
                with pika.BlockingConnection(parameters) as connection:
                    self._consume_from(connection.channel())
            time.sleep(0.3)

    def _consume_from(self, channel: Any) -> None:
        declare_queue(channel)
        for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.2):
            if method is not None:
                self._record(properties.message_id, body.decode())
                channel.basic_ack(method.delivery_tag)
            if self._stopped.is_set():
                return


def declare_queue(channel: Any) -> None:
    rabbitmq.declare_exchange(channel)
    copies = {"x-queue-type": "quorum"} if settings.QUORUM_QUEUES else None
    channel.queue_declare(QUEUE, durable=True, arguments=copies)
    for event in NotifyTask.Event.values:
        channel.queue_bind(QUEUE, rabbitmq.EXCHANGE, f"topic.{event}")
