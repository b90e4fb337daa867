"""The whole journey by RabbitMQ, with the queue names of existing malls: buy, give back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import pytest
from django.conf import settings

from tests.purchase import COFFEE, Shopper
from tests.stack import direct_session, embedded, wait_for

AMQP_URL = settings.AMQP_URL
QUEUES = (
    "s_pay_mall_queue_2_topic_team_success",
    "s_pay_mall_queue_2_topic_team_refund",
)
pytestmark = pytest.mark.skipif(not AMQP_URL, reason="needs RabbitMQ: AMQP_URL is empty")


@pytest.fixture
def existing_queues() -> Iterator[Any]:
    """The queues as an existing mall has declared them: durable, without arguments."""
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True)
        yield channel
        for queue in QUEUES:
            channel.queue_delete(queue)


def received(var_dir: Path) -> list[tuple[str, dict[str, Any]]]:
    """The mall's notifications, oldest first: transport and event."""
    with closing(sqlite3.connect(var_dir / "mall/mall.sqlite3")) as database:
        rows = database.execute("SELECT via, payload FROM mall_received ORDER BY id").fetchall()
    return [(via, json.loads(payload)) for via, payload in rows]


def test_a_team_completes_and_a_member_gives_back(tmp_path: Path, existing_queues: Any) -> None:
    with embedded(tmp_path, {"AMQP_URL": AMQP_URL}) as (_platform, found):
        wait_for(lambda: all(consumers(existing_queues)), "the mall's consumer")
        leader, friend = (Shopper(name, found["mall"], COFFEE) for name in ("leader", "friend"))
        leader.order(None)
        wait_for(lambda: leader.row()["status"] == "PAY_SUCCESS", "the leader's payment")
        team_id = leader.row()["teamId"]
        friend.order(team_id)
        for shopper in (leader, friend):
            wait_for(lambda who=shopper: who.row()["status"] == "DEAL_DONE", "the goods")  # type: ignore[misc]
        friend.give_back()
        wait_for(lambda: friend.row()["status"] == "CLOSE", "the money")
        books = direct_session().get(f"{found['alipay']}/books", timeout=10).json()

        success, refund = received(tmp_path)
        numbers = [leader.number, friend.number]
        assert success == ("mq", {"teamId": team_id, "outTradeNoList": numbers})
        assert (refund[0], refund[1]["type"], refund[1]["outTradeNo"]) == (
            "mq",
            "paid_formed",
            friend.number,
        )
        assert sorted(row["out_trade_no"] for row in books["paid"]) == sorted(numbers)
        assert [row["amount"] for row in books["returned"]] == ["47.92"]
        assert leader.row()["status"] == "DEAL_DONE"
        assert [declared(existing_queues, queue).message_count for queue in QUEUES] == [0, 0]


def consumers(channel: Any) -> list[int]:
    return [declared(channel, queue).consumer_count for queue in QUEUES]


def declared(channel: Any, queue: str) -> Any:
    return channel.queue_declare(queue, passive=True).method
