"""Connections to MariaDB: no needless round trip, and a lost connection costs no request."""

import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import close_old_connections, connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from groupbuy import rows
from tests.checks import broken_invariants
from tests.factories import GOODS, lock, make_activity, refund, settle
from trade.models import Order, Team

pytestmark = [
    pytest.mark.skipif(connection.vendor != "mysql", reason="about MariaDB's connections"),
    pytest.mark.django_db(transaction=True),
]
QUERY = {"userId": "b", "source": "s01", "channel": "c01", "goodsId": GOODS}


@pytest.fixture
def kill() -> Iterator[Callable[[], None]]:
    """Ends the test's connection at the server, as its restart would."""
    import MySQLdb  # noqa: PLC0415 - not installed where the tests run on SQLite only

    wanted = connection.get_connection_params()
    names = ("host", "port", "user", "password")
    other = MySQLdb.connect(**{name: wanted[name] for name in names})

    def kill() -> None:
        other.query(f"KILL {connection.connection.thread_id()}")
        closed = select.poll()
        closed.register(connection.connection.fileno(), select.POLLIN)
        assert closed.poll(10_000)

    yield kill
    other.close()


def questions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])


def test_a_transaction_is_two_round_trips_and_its_statements() -> None:
    make_activity()
    order = lock()
    before = questions()

    with transaction.atomic(durable=True):
        rows.lock(Team, pk=order.team_id)

    assert questions() - before == 3 + 1  # BEGIN, SELECT, COMMIT; and questions() itself


def test_a_connection_lost_between_two_requests_costs_nothing(
    mall: APIClient, kill: Callable[[], None]
) -> None:
    make_activity()
    order = lock("a")
    kill()
    close_old_connections()  # as Django does when a request starts; its test client does not

    answer = mall.get(f"/api/v1/gbm/trade/orders/{order.out_trade_no}")

    assert (answer.status_code, answer.json()["code"]) == (200, "0000")


@pytest.mark.parametrize(("module", "call"), [("insert", lock), ("lock", settle), ("lock", refund)])
def test_a_connection_lost_in_the_middle_of_a_trade_costs_nothing(
    module: str, call: Callable[..., Any], kill: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_activity()
    if call is not lock:
        lock("a")
    original, calls = getattr(rows, module), []

    def lose_the_first(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            kill()
        return original(*args, **kwargs)

    monkeypatch.setattr(rows, module, lose_the_first)

    call("a")

    status = {lock: "LOCKED", settle: "PAID", refund: "CLOSED"}[call]
    assert Order.objects.get().status == Order.Status[status]
    assert len(calls) > 1
    assert broken_invariants() == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("trade/orders/{order}", None),
        ("trade/teams/{team}", None),
        ("events", None),
        ("index/query_group_buy_market_config", QUERY),
    ],
)
def test_a_connection_lost_in_the_middle_of_a_read_costs_nothing(
    path: str, body: dict[str, str] | None, mall: APIClient, kill: Callable[[], None]
) -> None:
    now = timezone.now()
    make_activity(start_at=now)
    order = lock("a", now=now)
    reads = []

    def lose_the_first(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "trade_" in sql:
            reads.append(sql)
            if len(reads) == 1:
                kill()
        return execute(sql, *rest)

    with connection.execute_wrapper(lose_the_first):
        path = "/api/v1/gbm/" + path.format(order=order.out_trade_no, team=order.team_id)
        answer = mall.post(path, body, format="json") if body else mall.get(path)

    assert (answer.status_code, answer.json()["code"]) == (200, "0000")
    assert len(reads) > 1
