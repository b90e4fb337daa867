"""Callbacks by RabbitMQ, against a real broker. Source: docs/contract.md, section 3."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pika
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from pika.adapters.blocking_connection import BlockingChannel
from rest_framework.test import APIClient

from tests import checks
from tests.checks import send
from tests.factories import NOW, lock, make_activity, make_promise, make_team, refund
from tests.racing import LATE
from tests.test_metrics import Growth
from trade.models import NotifyAttempt, NotifyTask, Team
from trade.notify import endpoints, outbox, rabbitmq

AMQP_URL = settings.AMQP_URL
State = NotifyTask.State
SUCCESS, REFUND = "topic.team_success", "topic.team_refund"
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not AMQP_URL, reason="needs RabbitMQ: AMQP_URL is empty"),
]


@pytest.fixture(autouse=True)
def _message_broker(
    _no_message_broker: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A slow machine closes no connection."""
    settings.AMQP_URL = AMQP_URL
    monkeypatch.setattr(rabbitmq, "IDLE", 600)
    yield
    monkeypatch.setattr(rabbitmq, "IDLE", 0)
    rabbitmq.close_idle()


class Broker:
    """The channel of a mall, with its two queues."""

    def __init__(self, channel: BlockingChannel) -> None:
        self.channel = channel
        rabbitmq.declare_exchange(channel)
        self.queues = {key: self._bind(key) for key in (SUCCESS, REFUND)}

    def _bind(self, key: str) -> str:
        queue: str = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(queue, rabbitmq.EXCHANGE, key)
        return queue

    def unbind(self, key: str) -> None:
        self.channel.queue_unbind(self.queues[key], rabbitmq.EXCHANGE, key)

    def get(self, key: str) -> tuple[Any, str] | None:
        """The oldest message: its properties and its body."""
        _method, properties, body = self.channel.basic_get(self.queues[key], auto_ack=True)
        return None if body is None else (properties, body.decode())

    def ids(self, key: str) -> list[str]:
        found = []
        while message := self.get(key):
            found.append(message[0].message_id)
        return found


@pytest.fixture
def broker() -> Iterator[Broker]:
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        yield Broker(connection.channel())


class Line:
    """A TCP proxy before the broker, which can be cut or fall silent."""

    def __init__(self) -> None:
        parameters = pika.URLParameters(AMQP_URL)
        self.broker = (parameters.host, parameters.port)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.ends: list[socket.socket] = []
        self.silent = False
        port = self.server.getsockname()[1]
        self.url = AMQP_URL.replace(f":{parameters.port}", f":{port}")
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self.ends:
            end.shutdown(socket.SHUT_RDWR)
        self.ends.clear()

    def _accept(self) -> None:
        while True:
            near, _address = self.server.accept()
            far = socket.create_connection(self.broker)
            self.ends += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent:
                    to.sendall(data)
        except OSError:
            return


@pytest.fixture
def line(settings: Any) -> Line:
    line = Line()
    settings.AMQP_URL = line.url
    return line


def make_message(key: str = "team_success-1", **fields: Any) -> NotifyTask:
    return make_promise(key, **({"transport": "MQ", "target": SUCCESS} | fields))


def make_messages(count: int) -> list[str]:
    """Make promises of one batch, as RabbitMQ has just been fast; return the keys by due time."""
    endpoints.acquire(["RabbitMQ"])
    endpoints.release("RabbitMQ", sent=endpoints.BATCH, seconds=0.01)
    due = {f"team_success-{n}": NOW - timedelta(seconds=count - n) for n in range(count)}
    for key, at in due.items():
        make_message(key, endpoint="RabbitMQ", next_attempt_at=at)
    return list(due)


def failure(task: NotifyTask) -> str:
    failed = checks.failure(task)
    assert not failed.final
    return failed.error


def test_the_message_is_as_the_contract_says(broker: Broker) -> None:
    trace = f"00-{'a' * 32}-"
    task = make_message(
        payload='{"teamId":"1","outTradeNoList":["订单"]}', traceparent=f"{trace}{'b' * 16}-01"
    )

    assert send(task) is None

    message = broker.get(SUCCESS)
    assert message is not None
    properties, body = message
    assert body == task.payload
    assert (properties.content_type, properties.content_encoding) == ("text/plain", "UTF-8")
    assert (properties.delivery_mode, properties.message_id) == (2, task.key)
    assert properties.headers["traceparent"].startswith(trace)
    assert broker.get(SUCCESS) is None
    assert broker.get(REFUND) is None


def test_the_exchange_is_a_durable_topic(broker: Broker) -> None:
    send(make_message())

    # Declared once more with the contract's properties; any other would be refused with 406.
    broker.channel.exchange_declare("group_buy_market_exchange", "topic", durable=True)


def test_a_message_that_no_queue_takes_is_a_failed_attempt(broker: Broker) -> None:
    broker.unbind(SUCCESS)
    task = make_message()

    assert outbox.deliver_due(clock=lambda: NOW) == 1

    task.refresh_from_db()
    assert (task.state, task.last_error) == (
        NotifyTask.State.RETRYING,
        "no queue is bound to topic.team_success",
    )
    assert [attempt.error for attempt in task.tries.all()] == [task.last_error]
    assert send(make_message("team_refund-1", target=REFUND)) is None  # the channel goes on
    assert broker.ids(REFUND) == ["team_refund-1"]


def test_one_connection_serves_several_sends(broker: Broker, line: Line) -> None:
    for number in range(3):
        send(make_message(f"team_success-{number}"))

    assert len(line.ends) == 2  # of one connection
    assert broker.ids(SUCCESS) == ["team_success-0", "team_success-1", "team_success-2"]


def test_a_lost_connection_is_opened_again_within_the_attempt(broker: Broker, line: Line) -> None:
    send(make_message("team_success-1"))
    line.cut()

    send(make_message("team_success-2"))

    assert broker.ids(SUCCESS) == ["team_success-1", "team_success-2"]


def test_an_idle_connection_is_replaced(
    broker: Broker, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(make_message("team_success-1"))
    monkeypatch.setattr(rabbitmq, "IDLE", 0)

    send(make_message("team_success-2"))

    assert len(line.ends) == 4
    assert broker.ids(SUCCESS) == ["team_success-1", "team_success-2"]


def test_an_attempt_fails_while_the_broker_is_down(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings.AMQP_URL = f"amqp://guest:guest@127.0.0.1:{port}/%2F"

    assert failure(make_message()).startswith("ConnectionRefusedError")


def test_batches_and_failures_are_measured(broker: Broker, settings: Any) -> None:
    growth = Growth()
    settings.AMQP_URL = "amqp://127.0.0.1:1/"
    failure(make_message())
    settings.AMQP_URL = AMQP_URL
    send(make_message("team_success-2"))

    assert broker.ids(SUCCESS) == ["team_success-2"]
    assert growth.of("gbm_broker") == {
        "gbm_broker_seconds_count{publish}": 1,
        "gbm_broker_failures_total{publish}": 1,
    }


def test_a_wrong_password_is_a_failed_attempt(settings: Any) -> None:
    settings.AMQP_URL = AMQP_URL.replace("guest:guest", "guest:wrong")

    assert "ACCESS_REFUSED" in failure(make_message())


def test_a_broker_that_falls_silent_is_a_failed_attempt_of_one_promise(
    broker: Broker, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt takes TIMEOUT once: it does not try a new connection. The batch ends with it."""
    keys = make_messages(5)
    send(make_message("team_success-first", next_attempt_at=None))
    monkeypatch.setattr(rabbitmq, "TIMEOUT", 0.1)
    line.silent = True

    assert outbox.deliver_due(clock=lambda: NOW, new=True) == 5

    assert len(line.ends) == 2 + 2 * 4
    errors = NotifyTask.objects.filter(key__in=keys).values_list("last_error", flat=True)
    assert all(error.startswith("TimeoutError") for error in errors)


def test_a_batch_is_confirmed_as_a_whole(broker: Broker, line: Line) -> None:
    keys = make_messages(5)

    assert outbox.deliver_due(clock=lambda: NOW) == 5

    assert broker.ids(SUCCESS) == keys
    assert set(NotifyTask.objects.values_list("state", flat=True)) == {State.DELIVERED}
    assert len(line.ends) == 2


def test_only_the_messages_of_a_batch_that_no_queue_takes_fail(broker: Broker) -> None:
    broker.unbind(REFUND)
    keys = make_messages(4)
    NotifyTask.objects.filter(key__in=keys[1::2]).update(target=REFUND)

    assert outbox.deliver_due(clock=lambda: NOW) == 4

    assert broker.ids(SUCCESS) == keys[::2]
    assert dict(NotifyTask.objects.values_list("key", "last_error")) == {
        key: error
        for pair in zip(keys[::2], keys[1::2], strict=True)
        for key, error in zip(pair, ("", "no queue is bound to topic.team_refund"), strict=True)
    }


def test_a_batch_whose_connection_is_lost_is_published_again(broker: Broker, line: Line) -> None:
    send(make_message("team_success-first", next_attempt_at=None))
    keys = make_messages(3)
    line.cut()

    assert outbox.deliver_due(clock=lambda: NOW) == 3

    assert broker.ids(SUCCESS) == ["team_success-first", *keys]
    assert NotifyAttempt.objects.filter(error="").count() == 3


def test_mq_switched_off_later_keeps_the_promise(settings: Any) -> None:
    settings.AMQP_URL = ""

    assert failure(make_message()) == "no message broker is set up: AMQP_URL is empty"


def test_a_team_that_chose_mq_gets_all_notifications_by_mq(broker: Broker) -> None:
    make_activity(target_count=2)
    team = make_team("leader", "member", paid=2, notify_transport="MQ", notify_url="")
    refund("member")

    assert outbox.deliver_due(clock=lambda: NOW) == 2

    completed, refunded = broker.get(SUCCESS), broker.get(REFUND)
    assert completed is not None
    assert refunded is not None
    assert completed[0].message_id == f"team_success-{team.pk}"
    assert json.loads(completed[1]) == {
        "teamId": str(team.pk),
        "outTradeNoList": ["t-leader", "t-member"],
    }
    assert json.loads(refunded[1])["type"] == "paid_formed"


def test_the_leader_chooses_for_the_team(broker: Broker) -> None:
    make_activity()
    team_id = lock("leader", notify_transport="MQ", notify_url="").team_id
    lock("member", team_id=str(team_id))

    refund("member")

    [promise] = NotifyTask.objects.all()
    assert (promise.transport, promise.target) == ("MQ", REFUND)
    assert Team.objects.get().notify_transport == "MQ"


def test_a_mall_locks_with_mq(mall: APIClient, broker: Broker) -> None:
    now = timezone.now()
    make_activity(start_at=now, end_at=NOW)
    body = {
        "userId": "xiaofuge",
        "source": "s01",
        "channel": "c01",
        "goodsId": "9890001",
        "activityId": 100123,
        "teamId": None,
        "outTradeNo": "1",
        "notifyConfigVO": {"notifyType": "MQ", "notifyMQ": "topic.team_success"},
    }

    answer = mall.post("/api/v1/gbm/trade/lock_market_pay_order", body, format="json")

    assert answer.json()["code"] == "0000"
    assert Team.objects.get().notify_transport == "MQ"


@pytest.mark.django_db(transaction=True)
def test_listen_prints_messages_and_deletes_its_queue(broker: Broker) -> None:
    broker.unbind(SUCCESS)
    out, err = StringIO(), StringIO()
    listener = threading.Thread(
        target=call_command, args=["listen", "--count", "1"], kwargs={"stdout": out, "stderr": err}
    )
    task = make_message(payload='{"teamId":"1"}')

    listener.start()
    while "Listening" not in err.getvalue() and listener.is_alive():
        time.sleep(0.01)
    send(task)
    listener.join(LATE)

    assert out.getvalue() == 'topic.team_success team_success-1 {"teamId":"1"}\n'
    assert failure(task) == "no queue is bound to topic.team_success"


def test_listen_needs_a_broker(settings: Any) -> None:
    settings.AMQP_URL = ""

    with pytest.raises(CommandError, match="AMQP_URL is empty"):
        call_command("listen")
