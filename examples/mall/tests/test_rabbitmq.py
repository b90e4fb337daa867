"""The platform's notifications by RabbitMQ; most tests need MALL_TEST_AMQP_URL."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pika
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from mall import callbacks, rabbitmq
from mall.models import Order, Received
from tests.conftest import Place
from tests.platform import Platform, refund_of, success

URL = os.environ.get("MALL_TEST_AMQP_URL", "")
pytestmark = pytest.mark.django_db
SUCCESS, REFUND = "topic.team_success", "topic.team_refund"


class Broker:
    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.connection = pika.BlockingConnection(pika.URLParameters(URL))
        self.channel = self.connection.channel()
        rabbitmq.declare(self.channel)

    def publish(self, routing_key: str, body: Any, key: str | None = "n1") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        properties = pika.BasicProperties(message_id=key, content_type="text/plain")
        self.channel.basic_publish(rabbitmq.EXCHANGE, routing_key, text.encode(), properties)

    def waiting(self, queue: str) -> int:
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def dead(self) -> list[tuple[bytes, Any]]:
        found: list[tuple[bytes, Any]] = []
        while self.waiting(self.settings.DEAD_LETTERS):
            _, properties, body = self.channel.basic_get(self.settings.DEAD_LETTERS, auto_ack=True)
            assert properties is not None
            found.append((body or b"", (properties.headers or {})["problem"]))
        return found


@pytest.fixture
def broker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Queues for this test only; they exist before the mall declares them, without arguments."""
    if not URL:
        pytest.skip("no RabbitMQ here: MALL_TEST_AMQP_URL")
    monkeypatch.setattr(rabbitmq, "PAUSE", 0)
    name = uuid4().hex
    settings.AMQP_URL = URL
    settings.QUEUES = {SUCCESS: f"{name}_success", REFUND: f"{name}_refund"}
    settings.DEAD_LETTERS = f"{name}_dead"
    made = Broker(settings)
    yield made
    for queue in (*settings.QUEUES.values(), settings.DEAD_LETTERS):
        made.channel.queue_delete(queue)
    made.connection.close()


def take(until: Callable[[], bool]) -> None:
    """Consume until the condition holds."""
    deadline = time.monotonic() + 60

    def is_over() -> bool:
        assert time.monotonic() < deadline
        return until()

    rabbitmq.consume(clock=timezone.now, is_over=is_over)


def test_a_lock_asks_for_messages(broker: Broker, place: Place, platform: Platform) -> None:
    place()
    asked = platform.called("lock")[0]["notifyConfigVO"]
    assert asked == {"notifyType": "MQ", "notifyUrl": None}


def test_messages_are_applied_once(broker: Broker, paid: Order) -> None:
    for _ in range(2):
        broker.publish(SUCCESS, success(paid.number))
    broker.publish(REFUND, refund_of(paid, "paid_formed"), "n2")
    broker.publish(SUCCESS, success("of another mall"), "n3")
    take(until=lambda: Received.objects.count() == 3)
    paid.refresh_from_db()
    assert paid.status == Order.Status.WAIT_REFUND
    assert sorted(Received.objects.values_list("key", "via")) == [
        ("n1", "mq"), ("n2", "mq"), ("n3", "mq")]  # fmt: skip
    assert broker.dead() == []


def test_an_unreadable_message_is_a_dead_letter(broker: Broker, paid: Order) -> None:
    broker.publish(SUCCESS, "nonsense")
    broker.publish(SUCCESS, success(paid.number), None)
    broker.publish(SUCCESS, success(paid.number), "n2")  # and nothing behind it waits
    take(until=Received.objects.exists)
    assert [body for body, _ in broker.dead()] == [
        b"nonsense", json.dumps(success(paid.number)).encode()]  # fmt: skip
    paid.refresh_from_db()
    assert paid.status == Order.Status.MARKET


def test_tries_are_bounded(broker: Broker, paid: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Any] = []

    def broken(*args: Any, **kwargs: Any) -> bool:
        tries.append(args)
        raise LookupError("a bug")

    monkeypatch.setattr(callbacks, "apply", broken)
    broker.publish(SUCCESS, success(paid.number))
    take(until=lambda: broker.waiting(broker.settings.DEAD_LETTERS) == 1)
    assert (len(tries), broker.dead()[0][1]) == (3, "LookupError('a bug')")


def test_no_message_is_lost_while_the_database_is_down(
    broker: Broker, paid: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, tries = callbacks.apply, []

    def away(*args: Any, **kwargs: Any) -> bool:
        tries.append(args)
        if len(tries) < 6:
            raise OperationalError("away")
        return apply(*args, **kwargs)

    monkeypatch.setattr(callbacks, "apply", away)
    broker.publish(SUCCESS, success(paid.number))
    take(until=Received.objects.exists)
    paid.refresh_from_db()
    assert (paid.status, broker.dead()) == (Order.Status.MARKET, [])


def test_without_a_broker_the_command_fails() -> None:
    with pytest.raises(CommandError, match="MALL_AMQP_URL is empty"):
        call_command("consume")
