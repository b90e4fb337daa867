"""A database of the Java reference, on the MariaDB of the tests."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.db import connection
from django.utils import timezone

STAMPS = "create_time datetime NOT NULL, update_time datetime NOT NULL"
NAMES = "source varchar(8) NOT NULL, channel varchar(8) NOT NULL"
PRICES = ", ".join(
    f"{name}_price decimal(8,2) NOT NULL" for name in ("original", "deduction", "pay")
)
TABLES = {
    "crowd_tags": "tag_id varchar(32), tag_name varchar(64), tag_desc varchar(256), statistics int",
    "crowd_tags_detail": "tag_id varchar(32), user_id varchar(16)",
    "crowd_tags_job": "tag_id varchar(32), batch_id varchar(8), tag_type tinyint,"
    " tag_rule varchar(8), stat_start_time datetime, stat_end_time datetime, status tinyint",
    "group_buy_activity": "activity_id bigint, activity_name varchar(128), discount_id varchar(8),"
    " group_type tinyint, take_limit_count int, target int, valid_time int, status tinyint,"
    " start_time datetime, end_time datetime, tag_id varchar(32), tag_scope varchar(4)",
    "group_buy_discount": "discount_id varchar(8), discount_name varchar(64),"
    " discount_desc varchar(256), discount_type tinyint, market_plan varchar(4),"
    " market_expr varchar(32), tag_id varchar(32)",
    "sku": f"{NAMES}, goods_id varchar(16), goods_name varchar(128), original_price decimal(10,2)",
    "sc_sku_activity": f"{NAMES}, activity_id bigint, goods_id varchar(16)",
    "group_buy_order": f"team_id varchar(8), activity_id bigint, {NAMES}, {PRICES},"
    " target_count int, complete_count int, lock_count int, status tinyint,"
    " valid_start_time datetime, valid_end_time datetime, notify_type varchar(8),"
    " notify_url varchar(512)",
    "group_buy_order_list": "user_id varchar(64), team_id varchar(8), order_id varchar(12),"
    f" activity_id bigint, start_time datetime, end_time datetime, goods_id varchar(16), {NAMES},"
    f" {PRICES}, status tinyint, out_trade_no varchar(12), out_trade_time datetime,"
    " biz_id varchar(64)",
    "notify_task": "activity_id bigint, team_id varchar(8), notify_category varchar(64),"
    " notify_type varchar(8), notify_mq varchar(32), notify_url varchar(128), notify_count int,"
    " notify_status tinyint, parameter_json varchar(256), uuid varchar(128)",
}
PRICE = {"original_price": "100.00", "deduction_price": "20.00", "pay_price": "80.00"}
SHOP = {"source": "s01", "channel": "c01"}
LOCKED, PAID, CLOSED = 0, 1, 2


class Reference:
    """Adds rows with the reference's defaults; times are in Asia/Shanghai."""

    def __init__(self, database: Any, dsn: str) -> None:
        self._database = database
        self.dsn = dsn
        self.now = timezone.localtime().replace(microsecond=0, tzinfo=None)
        self._orders = 0

    def add(self, table: str, **fields: Any) -> None:
        fields = {"create_time": self.now, "update_time": self.now} | fields
        columns, marks = ", ".join(fields), ", ".join(["%s"] * len(fields))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of ours
        self.execute(sql, list(fields.values()))

    def execute(self, sql: str, values: Any = None) -> None:
        with closing(self._database.cursor()) as cursor:
            cursor.execute(sql, values)
        self._database.commit()

    def add_activity(self, activity_id: int = 100123, **fields: Any) -> None:
        """Add an activity with its discount, goods and offer; 100.00 → 80.00, three seats."""
        goods_id, number = f"98{activity_id}", str(activity_id)
        self.add(
            "group_buy_discount",
            discount_id=number,
            discount_name="minus 20",
            discount_desc="",
            discount_type=0,
            market_plan="ZJ",
            market_expr="20",
        )
        self.add("sku", **SHOP, goods_id=goods_id, goods_name="a book", original_price="100.00")
        self.add("sc_sku_activity", **SHOP, activity_id=activity_id, goods_id=goods_id)
        rules = {
            "activity_name": "together",
            "discount_id": number,
            "group_type": 1,
            "take_limit_count": 1,
            "target": 3,
            "valid_time": 60,
            "status": 1,
            "start_time": self.now - timedelta(days=30),
            "end_time": self.now + timedelta(days=30),
        }
        self.add("group_buy_activity", activity_id=activity_id, **(rules | fields))

    def add_team(self, team_id: str, *statuses: int, minutes_left: int = 30, **fields: Any) -> None:
        """Add a team with a member of each status, and with matching counts."""
        team = {
            "target_count": 3,
            "complete_count": statuses.count(PAID),
            "lock_count": statuses.count(PAID) + statuses.count(LOCKED),
            "status": 0,
            "valid_start_time": self.ends(minutes_left) - timedelta(minutes=60),
            "valid_end_time": self.ends(minutes_left),
            "notify_type": "MQ",
        }
        shared = {"team_id": team_id, "activity_id": 100123} | SHOP | PRICE
        self.add("group_buy_order", **(shared | team | fields))
        for status in statuses:
            self.add_order(team_id, status, minutes_left=minutes_left)

    def add_order(self, team_id: str, status: int, *, minutes_left: int = 30, **fields: Any) -> str:
        """Add an order, locked a minute after its team and paid another minute later.

        Returns its out_trade_no."""
        self._orders += 1
        locked_at = self.ends(minutes_left) - timedelta(minutes=59)
        order = {
            "user_id": f"user{self._orders}",
            "team_id": team_id,
            "order_id": f"{self._orders:012}",
            "activity_id": 100123,
            "goods_id": "98100123",
            "status": status,
            "out_trade_no": f"t{self._orders}",
            "out_trade_time": locked_at + timedelta(minutes=1) if status == PAID else None,
            "biz_id": str(self._orders),
            "create_time": locked_at,
            "update_time": locked_at + timedelta(minutes=1),
        }
        self.add("group_buy_order_list", **(SHOP | PRICE | order | fields))
        return f"t{self._orders}"

    def add_task(self, team_id: str, payload: str, status: int, **fields: Any) -> None:
        self.add(
            "notify_task",
            activity_id=100123,
            team_id=team_id,
            notify_type="MQ",
            notify_count=1,
            notify_status=status,
            parameter_json=payload,
            uuid="",
            **fields,
        )

    def ends(self, minutes_left: int) -> datetime:
        return self.now + timedelta(minutes=minutes_left)


@contextmanager
def reference() -> Iterator[Reference]:
    """An empty database beside the tests' own, dropped at the end."""
    import MySQLdb  # noqa: PLC0415 - not installed where the tests run on SQLite only

    ours = connection.settings_dict
    name = f"{ours['NAME']}_reference"
    address = {"host": ours["HOST"], "user": ours["USER"], "password": ours["PASSWORD"]}
    port = int(ours["PORT"] or 3306)
    user = f"{quote(ours['USER'])}:{quote(ours['PASSWORD'])}"
    with closing(MySQLdb.connect(**address, port=port, charset="utf8mb4")) as database:
        found = Reference(database, f"mysql://{user}@{ours['HOST']}:{port}/{name}")
        found.execute(f"DROP DATABASE IF EXISTS {name}")
        found.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        database.select_db(name)
        for table, columns in TABLES.items():
            found.execute(f"CREATE TABLE {table} (id int PRIMARY KEY AUTO_INCREMENT, {columns},"
                          f" {STAMPS})")  # fmt: skip
        yield found
        found.execute(f"DROP DATABASE {name}")
