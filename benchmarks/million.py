"""Make a million orders and the rows around them inside the database: MariaDB or SQLite.

They fill the console's lists and are spread over 400 days. The rare values (a channel, most
activities, a reason, a state) belong to the oldest rows, so a list that is read from the newest row
until its page is full reads all others first.
"""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from activity.models import Activity, Discount
from groupbuy.ids import EPOCH_MS, RANDOM_BITS
from groupbuy.models import Channel
from tag.models import CrowdPart, CrowdTag
from trade.models import NotifyTask

DAYS = 400
ACTIVITIES = 100  # one after the other in time
SECONDS = 600  # at most, of one statement
URL = "https://mall.example.com/notify"
# n counts teams from the oldest, seat their orders from 0 to 2. The last hundredth still forms.
TEAM_STATUS = """CASE WHEN n < 100 OR n >= {teams} * 0.99 THEN 0 WHEN n < 1000 THEN 2
    WHEN n % 10 < 7 THEN 1 WHEN n % 10 = 7 THEN 3 ELSE 2 END"""
TEAMS = f"""
    INSERT INTO trade_team (id, activity_id, channel_id, goods_id, status, group_type,
      target_count, locked_count, paid_count, original_price, pay_price, hold_minutes, created_at,
      expires_at, completed_at, completed_by_shop, notify_transport, notify_url)
    SELECT id, activity, channel, '9890001', status, 1, 3,
      CASE status WHEN 2 THEN 0 WHEN 3 THEN 2 ELSE 3 END,
      CASE status WHEN 1 THEN 3 WHEN 3 THEN 2 ELSE 0 END, 100, 80, 30,
      {{opened}}, {{ends}}, CASE status % 2 WHEN 1 THEN {{ends}} END, n < 1000, 'HTTP', '{URL}'
    FROM (SELECT seq AS n, {{id}} AS id, 1 + seq * {ACTIVITIES} {{div}} {{teams}} AS activity,
      CASE WHEN seq * 10 < {{teams}} THEN 2 ELSE 1 END AS channel,
      {TEAM_STATUS.replace("n ", "seq ")} AS status FROM {{numbers}}) AS made
"""
ORDERS = """
    INSERT INTO trade_order (id, team_id, activity_id, channel_id, user_id, goods_id,
      out_trade_no, code, original_price, pay_price, status, take_no, seat_of, hold_no, created_at,
      pay_deadline, paid_at, settled_at, closed_at, close_reason)
    SELECT id, team_id, activity_id, channel_id, buyer, '9890001', '2026' || buyer,
      SUBSTR('0000000000' || buyer_no, -10), 100, 80, status,
      CASE WHEN status < 2 THEN 1 END, CASE WHEN status < 2 THEN buyer END,
      CASE status WHEN 0 THEN 1 END, created_at, expires_at,
      CASE status WHEN 1 THEN created_at END, CASE status WHEN 1 THEN created_at END,
      CASE status WHEN 2 THEN expires_at END,
      CASE WHEN status < 2 THEN '' WHEN team_status = 3 THEN 'refunded'
        WHEN n < 500 THEN 'blacklisted' WHEN n < 1000 THEN 'late_payment'
        WHEN n % 2 = 0 THEN 'hold_timeout' ELSE 'team_ended' END
    FROM (SELECT team.id + seat AS id, team.id AS team_id, activity_id, channel_id, created_at,
      expires_at, team.status AS team_status, team.id % 4194304 {div} 3 AS n,
      'user-' || (team.id % 4194304 + seat) AS buyer, team.id % 4194304 + seat AS buyer_no,
      CASE team.status WHEN 3 THEN CASE seat WHEN 0 THEN 2 ELSE 1 END ELSE team.status END AS status
      FROM trade_team AS team CROSS JOIN (SELECT 0 AS seat UNION SELECT 1 UNION SELECT 2) AS seats
      ORDER BY team.id, seat) AS made
"""
PROMISES = f"""
    INSERT INTO trade_notifytask ({{key}}, channel_id, event, transport, target, endpoint, payload,
      state, attempts, last_error, created_at, delivered_at)
    SELECT name, channel_id, event, 'HTTP', '{URL}', 'mall' || (id % 3) || '.example.com:https',
      '{{{{"teamId":"' || id || '","outTradeNoList":["2026","2027","2028"]}}}}', 1, 1, '', at, at
    FROM (SELECT id, channel_id, 'team_success' AS event, 'team_success-' || id AS name,
        completed_at AS at FROM trade_team WHERE completed_at IS NOT NULL
      UNION ALL SELECT id, channel_id, 'team_refund', 'team_refund-' || id || '-unpaid_unlock',
        closed_at FROM trade_order WHERE closed_at IS NOT NULL ORDER BY 5) AS made
"""
STATEMENTS = (
    TEAMS,
    ORDERS,
    PROMISES,
    "UPDATE trade_notifytask SET event_no = id",
    """UPDATE trade_notifytask SET state = CASE WHEN id < 10000 THEN 3 ELSE 2 END,
      delivered_at = NULL, last_error = 'answered 500', next_attempt_at =
      CASE WHEN id >= 10000 THEN created_at END WHERE id < 10100""",
    """INSERT INTO trade_notifyattempt (task_id, number, started_at, duration_ms, error)
      SELECT id, 1, created_at, 20, last_error FROM trade_notifytask""",
    "INSERT INTO tag_crowduser (id, user_id) SELECT seq + 1, 'user-' || seq FROM {orders}",
    """INSERT INTO tag_crowdmember (part_id, user_id)
      SELECT CASE WHEN id < 50 THEN 1 ELSE 2 END, id FROM tag_crowduser""",
    """INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr,
      action_flag, change_message)
      SELECT {at}, 1 + seq % 3, CASE seq % 2 WHEN 0 THEN {activities} ELSE {promises} END,
        CASE seq % 2 WHEN 0 THEN '' || (1 + seq % 100) ELSE '' || seq END, 'row ' || seq, 2,
        '[{{"changed": {{"fields": ["Status"]}}}}]' FROM {tenth}""",
    """INSERT INTO groupbuy_switchchange (switch_id, {before}, {after}, at, {by})
      SELECT 'cutRange', '1', '2', {at}, 'bench' FROM {tenth}""",
)
DIALECTS = {
    "mysql": {
        "div": "DIV",
        "numbers": "seq_0_to_{last}",
        "moment": "TIMESTAMPADD(SECOND, {seconds}, '{start}')",
        "quote": "`{}`",
    },
    "sqlite": {
        "div": "/",
        "numbers": "(WITH RECURSIVE numbers(seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM numbers"
        " WHERE seq < {last}) SELECT seq FROM numbers)",
        "moment": "datetime('{start}', ({seconds}) || ' seconds')",
        "quote": '"{}"',
    },
}


def load(orders: int, *, now: datetime) -> None:
    """Make this many orders with teams, promises, attempts and members, and a tenth of log rows."""
    connection.settings_dict["OPTIONS"]["read_timeout"] = SECONDS
    connection.close()
    if connection.vendor == "sqlite":
        del connection.settings_dict["OPTIONS"]["read_timeout"]
    prepare(now)
    words = vocabulary(orders, now)
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET sql_mode = 'PIPES_AS_CONCAT', unique_checks = 0")
        for statement in STATEMENTS:
            cursor.execute(statement.format(**words))
        if connection.vendor == "mysql":  # MariaDB would do so on its own some time later
            cursor.execute(f"ANALYZE TABLE {', '.join(connection.introspection.table_names())}")


def prepare(now: datetime) -> None:
    """Make the rows to which the others refer."""
    discount = Discount.objects.create(name="minus", plan="ZJ", expression="20")
    rules = {"discount": discount, "target_count": 3, "valid_minutes": 60, "status": 1}
    window = {"start_at": now - timedelta(DAYS), "end_at": now + timedelta(DAYS)}
    for n in range(1, ACTIVITIES + 1):
        Activity.objects.create(pk=n, name=f"activity {n}", **rules, **window)
    for n in range(1, 4):
        named = {"source": f"s0{n}", "channel": "c01", "name": f"mall {n}"}
        Channel.objects.get_or_create(pk=n, defaults=named)
    for n, name in enumerate(("small", "large"), 1):
        tag = CrowdTag.objects.create(tag_id=name, name=name)
        CrowdPart.objects.create(pk=n, tag=tag, is_live=True)
    for n, name in enumerate(("bench", "second", "third"), 1):
        User.objects.create_superuser(name, pk=n)


def vocabulary(orders: int, now: datetime) -> dict[str, str]:
    """Values for the statements' placeholders, in this database's dialect."""
    dialect, teams, start = DIALECTS[connection.vendor], orders // 3, now - timedelta(DAYS)
    seconds, tenth = DAYS * 86400, orders // 10

    def at(expression: str) -> str:
        return dialect["moment"].format(seconds=expression, start=f"{start:%Y-%m-%d %H:%M:%S}")

    opened = f"(n * {seconds // 60} {dialect['div']} {teams}) * 60"
    made_at = int(start.timestamp() * 1000) - EPOCH_MS
    step = seconds * 1000 // teams
    return {
        "teams": str(teams),
        "div": dialect["div"],
        "numbers": dialect["numbers"].format(last=teams - 1),
        "orders": dialect["numbers"].format(last=orders - 1),
        "tenth": dialect["numbers"].format(last=tenth - 1),
        "id": f"({made_at} + seq * {step}) * {1 << RANDOM_BITS} + seq * 3",
        "opened": at(opened),
        "ends": at(f"{opened} + 1800"),
        "at": at(f"seq * {seconds} {dialect['div']} {tenth}"),
        "activities": str(ContentType.objects.get_for_model(Activity).pk),
        "promises": str(ContentType.objects.get_for_model(NotifyTask).pk),
    } | {name: dialect["quote"].format(name) for name in ("key", "before", "after", "by")}
