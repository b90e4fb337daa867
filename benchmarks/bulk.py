"""Insert rows by the hundred thousand: INSERT … SELECT from MariaDB's sequence engine.

The rows satisfy keys, references and CHECKs; only their verification is off while loading. Statuses
and times are SQL expressions in which seq counts from 1.
"""

from django.db import connection

CHUNK = 200_000  # rows of one INSERT; the connection times out after 10 s
TABLES = (
    "trade_notifyattempt",
    "trade_notifytask",
    "trade_order",
    "trade_team",
    "trade_completedteams",
)
TEAM = """
    INSERT INTO trade_team (id, activity_id, channel_id, goods_id, status, group_type,
      target_count, locked_count, paid_count, original_price, pay_price, hold_minutes, created_at,
      expires_at, completed_at, completed_by_shop, notify_transport, notify_url)
    SELECT seq, 100123, 1, '9890001', {status}, 1, 3, {locked}, {paid}, 100, 80, 30, NOW(6),
      {ends}, NULL, 0, 'HTTP', 'http://127.0.0.1:9/notify'
"""
ORDER = """
    INSERT INTO trade_order (id, team_id, activity_id, channel_id, user_id, goods_id,
      out_trade_no, code, original_price, pay_price, status, take_no, seat_of, hold_no, created_at,
      pay_deadline, paid_at, settled_at, closed_at, close_reason)
    SELECT seq, {team}, 100123, 1, LPAD(seq, 9, '0'), '9890001', LPAD(seq, 9, '0'),
      LPAD(seq, 10, '0'), 100, 80,
      {status}, 1, LPAD(seq, 9, '0'), IF({status} = 0, 1, NULL), NOW(6),
      {deadline}, NULL, NULL, NULL, ''
"""
PROMISE = """
    INSERT INTO trade_notifytask (id, `key`, channel_id, event, transport, target, endpoint,
      payload, state, attempts, next_attempt_at, last_error, created_at, delivered_at)
    SELECT seq, CONCAT('{name}-', LPAD(seq, 9, '0')), 1, 'team_success', 'HTTP',
      '{target}', SUBSTRING_INDEX(SUBSTRING('{target}', 8), '/', 1),
      CONCAT('{{"teamId":"', seq, '","outTradeNoList":["a","b","c"]}}'), {state}, 0, {due}, '',
      NOW(6), NULL
"""


def clear() -> None:
    """Delete all teams, orders and promises."""
    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for table in TABLES:
            cursor.execute(f"TRUNCATE {table}")
        cursor.execute("SET foreign_key_checks = 1")


def load(statement: str, count: int, **expressions: str) -> None:
    """Run one of the statements above for seq from 1 to count."""
    statement = statement.format(**expressions)
    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
        for first in range(1, count + 1, CHUNK):
            last = min(first + CHUNK - 1, count)
            cursor.execute(f"{statement} FROM seq_{first}_to_{last}")
        cursor.execute("SET foreign_key_checks = 1, unique_checks = 1")


def analyze() -> None:
    """Update the optimizer's statistics after loading."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ANALYZE TABLE {table}")
            cursor.fetchall()
