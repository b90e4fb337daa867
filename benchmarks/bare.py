"""The SQL statements that the project emits, sent by mysqlclient alone.

Two processes have 16 threads each: together as many connections as the load generator. The
comparison with a sweep uses one process of one thread. Each thread works through its own share of
the rows until the time is up.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Process, Queue
from typing import Any

import MySQLdb
from django.db import connection
from django.test.utils import CaptureQueriesContext

from groupbuy.ids import new_code, new_id

PROCESSES, THREADS = 2, 16

INSERT_TEAM = (
    "INSERT INTO trade_team (id, activity_id, channel_id, goods_id, status, group_type,"
    " target_count, locked_count, paid_count, original_price, pay_price, hold_minutes,"
    " created_at, expires_at, completed_at, completed_by_shop, notify_transport, notify_url)"
    " VALUES (%s, 100123, 1, '9890001', 0, 1, 3, 1, 0, 100, 80, 30, NOW(6),"
    " NOW(6) + INTERVAL 15 MINUTE, NULL, 0, 'HTTP', 'http://127.0.0.1:9/notify')"
)
INSERT_ORDER = (
    "INSERT INTO trade_order (id, team_id, activity_id, channel_id, user_id, goods_id,"
    " out_trade_no, code, original_price, pay_price, status, take_no, seat_of, hold_no, created_at,"
    " pay_deadline, paid_at, settled_at, closed_at, close_reason)"
    " VALUES (%s, %s, 100123, 1, %s, '9890001', %s, %s,"
    " 100, 80, 0, 1, %s, 1, NOW(6), NOW(6) + INTERVAL 30 MINUTE, NULL, NULL, NULL, '')"
)
SELECT_TURNS = (
    "SELECT team_id, take_no FROM trade_order WHERE activity_id = 100123 AND user_id = %s"
    " AND take_no IS NOT NULL UNION ALL SELECT 0, hold_no FROM trade_order"
    " WHERE user_id = %s AND channel_id = 1 AND hold_no IS NOT NULL"
)
TAKE_SEAT = (
    "UPDATE trade_team SET locked_count = locked_count + 1 WHERE id = %s AND status = 0"
    " AND expires_at > NOW(6) AND locked_count < target_count"
)
FIND_ORDER = (
    "SELECT id, team_id, user_id FROM trade_order WHERE channel_id = 1 AND out_trade_no = %s"
)
MARK_ORDER = (
    "UPDATE trade_order SET status = 1, paid_at = NOW(6), settled_at = NOW(6), take_no = 1,"
    " seat_of = %s, hold_no = NULL, closed_at = NULL, close_reason = '' WHERE id = %s"
    " AND status = 0 AND close_reason = ''"
)
MARK_TEAM = "UPDATE trade_team SET locked_count = 2, paid_count = paid_count + 1 WHERE id = %s"
CLOSE_ORDER = (
    "UPDATE trade_order SET status = 2, close_reason = 'refunded', closed_at = NOW(6),"
    " take_no = NULL, seat_of = NULL, hold_no = NULL, paid_at = NULL, settled_at = NULL"
    " WHERE id = %s AND status = 0 AND close_reason = ''"
)
FREE_SEAT = (
    "UPDATE trade_team SET locked_count = locked_count - 1, paid_count = 0, status = 0"
    " WHERE id = %s"
)
PROMISE = (
    "INSERT INTO trade_notifytask (`key`, channel_id, event, transport, target, endpoint,"
    " payload, state, attempts, next_attempt_at, last_error, created_at, delivered_at)"
    " VALUES (%s, 1, 'team_refund', 'HTTP', '', '', %s, 0, 0, NOW(6), '', NOW(6), NULL)"
)
PAYLOAD = (
    '{"type":"unpaid_unlock","userId":"%(order)s","teamId":"%(team)s","orderId":"%(order)s",'
    '"outTradeNo":"%(order)s","activityId":100123}'
)
# Statements of one call, without BEGIN and COMMIT; "close" is a sweep's part for one hold.
STATEMENTS = {"open": 3, "join": 4, "settle": 4, "refund": 5, "close": 5}


def open_team(connection: Any, cursor: Any, line: list[str]) -> None:
    user = line[0]
    cursor.execute(SELECT_TURNS, (user, user))
    cursor.fetchall()
    team_id = new_id()
    cursor.execute(INSERT_TEAM, (team_id,))
    cursor.execute(INSERT_ORDER, (new_id(), team_id, user, user, new_code(), user))
    connection.commit()


def join_team(connection: Any, cursor: Any, line: list[str]) -> None:
    user, team_id = line
    cursor.execute("SELECT * FROM trade_team WHERE id = %s", (team_id,))
    cursor.fetchall()
    cursor.execute(SELECT_TURNS, (user, user))
    cursor.fetchall()
    cursor.execute(TAKE_SEAT, (team_id,))
    cursor.execute(INSERT_ORDER, (new_id(), team_id, user, user, new_code(), user))
    connection.commit()


def settle(connection: Any, cursor: Any, line: list[str]) -> None:
    user = line[0]
    cursor.execute(FIND_ORDER, (user,))
    order_id, team_id, _user = cursor.fetchone()
    cursor.execute("SELECT * FROM trade_team WHERE id = %s FOR UPDATE", (team_id,))
    cursor.fetchall()
    cursor.execute(MARK_ORDER, (user, order_id))
    cursor.execute(MARK_TEAM, (team_id,))
    connection.commit()


def refund(connection: Any, cursor: Any, line: list[str]) -> None:
    cursor.execute(FIND_ORDER, (line[0],))
    order_id, team_id, _user = cursor.fetchone()
    cursor.execute("SELECT * FROM trade_team WHERE id = %s FOR UPDATE", (team_id,))
    cursor.fetchall()
    _close(connection, cursor, order_id, team_id)


def close_hold(connection: Any, cursor: Any, line: list[str]) -> None:
    order_id, team_id = line
    cursor.execute("SELECT * FROM trade_team WHERE id = %s FOR UPDATE SKIP LOCKED", (team_id,))
    cursor.fetchall()
    cursor.execute("SELECT * FROM trade_order WHERE id = %s", (order_id,))
    cursor.fetchall()
    _close(connection, cursor, order_id, team_id)


def _close(connection: Any, cursor: Any, order_id: Any, team_id: Any) -> None:
    cursor.execute(CLOSE_ORDER, (order_id,))
    cursor.execute(FREE_SEAT, (team_id,))
    payload = PAYLOAD % {"order": order_id, "team": team_id}
    cursor.execute(PROMISE, (f"team_refund-{order_id}-unpaid_unlock", payload))
    connection.commit()


ACTIONS = {
    "open": open_team,
    "join": join_team,
    "settle": settle,
    "refund": refund,
    "close": close_hold,
}


def check(action: str, call: Callable[[], Any], *, besides: int = 0) -> None:
    """Assert that the project sends as many statements as this module, besides so many more.

    Otherwise their ratio would mean nothing.
    """
    from groupbuy import channels, switches  # noqa: PLC0415  models exist now

    channels.known()  # fills a copy that has grown old, and so does the next line
    switches.is_downgraded()
    with CaptureQueriesContext(connection) as queries:
        call()
    sent = [query["sql"] for query in queries if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(sent) == STATEMENTS[action] + besides, (action, sent)


def per_second(
    action: str,
    lines: list[list[str]],
    seconds: float,
    database: Any,
    *,
    processes: int = PROCESSES,
    threads: int = THREADS,
) -> float:
    """Run the action on as many lines as the time allows; return lines per second."""
    counts: Queue[float] = Queue()
    running = [
        Process(
            target=_process, args=(action, lines[n::processes], threads, seconds, database, counts)
        )
        for n in range(processes)
    ]
    for process in running:
        process.start()
    total = sum(counts.get() for _ in running)
    for process in running:
        process.join()
    return total


def _process(
    action: str,
    lines: list[list[str]],
    threads: int,
    seconds: float,
    database: Any,
    counts: "Queue[float]",
) -> None:
    results = [0.0] * threads
    running = [
        threading.Thread(
            target=_thread, args=(action, iter(lines[n::threads]), seconds, database, results, n)
        )
        for n in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    counts.put(sum(results))


def _thread(
    action: str,
    lines: Iterator[list[str]],
    seconds: float,
    database: Any,
    results: list[float],
    index: int,
) -> None:
    connection = MySQLdb.connect(**database)
    cursor = connection.cursor()
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.commit()
    run, done, started = ACTIONS[action], 0, time.monotonic()
    while time.monotonic() - started < seconds:
        line = next(lines, None)
        if line is None:
            sys.exit("not enough rows for the bare statements")
        run(connection, cursor, line)
        done += 1
    results[index] = done / (time.monotonic() - started)
    connection.close()
