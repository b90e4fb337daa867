"""The reference's database, which is only read: server-side cursors, one row at a time."""

import heapq
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import groupby
from typing import Any

import environ

Row = Mapping[str, Any]
TABLES = (
    *("crowd_tags", "crowd_tags_detail", "crowd_tags_job"),
    *("group_buy_activity", "group_buy_discount", "sku", "sc_sku_activity"),
    *("group_buy_order", "group_buy_order_list", "notify_task"),
)
WAIT = 3600  # seconds that the server keeps a cursor open while a batch is written


class SourceError(Exception):
    """The database cannot be read; the text says why."""


@dataclass
class SourceTeam:
    """The rows of the source with one team id; the team's own row may be missing."""

    team_id: str
    team: Row | None = None
    orders: list[Row] = field(default_factory=list)  # oldest first
    tasks: list[Row] = field(default_factory=list)


class Source:
    """mysql://user:password@host:port/group_buy_market; its times are in the zone."""

    def __init__(self, dsn: str, zone: tzinfo) -> None:
        self._address = _address(dsn)
        self._zone = zone

    @property
    def name(self) -> str:
        """The address without the password."""
        return "mysql://{user}@{host}:{port}/{database}".format(**self._address)

    def check(self) -> None:
        """Raise SourceError unless every table is there."""
        found = {str(next(iter(row.values()))).lower() for row in self.rows("SHOW TABLES")}
        if missing := [table for table in TABLES if table not in found]:
            raise SourceError(f"{self.name} has no table {', '.join(missing)}.")

    def teams(self) -> Iterator[SourceTeam]:
        """Every team with its orders and notify tasks, by team id."""
        streams = [
            self._by_team("group_buy_order"),
            self._by_team("group_buy_order_list"),
            self._by_team("notify_task"),
        ]
        merged = heapq.merge(*streams, key=_team_key)
        for _key, rows in groupby(merged, key=_team_key):
            yield _gather(rows)

    def repeated_numbers(self) -> dict[tuple[str, str, str], int]:
        """Each out_trade_no that a channel has twice -> the id of the order that counts.

        A paid order counts before an unpaid one, an unpaid one before a closed one.
        """
        rows = self.rows(
            "SELECT source, channel, out_trade_no, SUBSTRING_INDEX(GROUP_CONCAT("
            " id ORDER BY status = 1 DESC, status = 0 DESC, id), ',', 1) AS kept"
            " FROM group_buy_order_list"
            " GROUP BY source, channel, CAST(out_trade_no AS BINARY), out_trade_no"
            " HAVING COUNT(*) > 1"
        )
        return {
            (row["source"], row["channel"], row["out_trade_no"]): int(row["kept"]) for row in rows
        }

    def most_orders(self) -> dict[int, int]:
        """Activity id -> the most orders, neither closed nor refunded, that one user has in it."""
        rows = self.rows(
            "SELECT activity_id, MAX(orders) AS orders FROM ("
            " SELECT activity_id, COUNT(*) AS orders FROM group_buy_order_list"
            " WHERE status IN (0, 1) GROUP BY activity_id, user_id"
            ") AS counted GROUP BY activity_id"
        )
        return {row["activity_id"]: row["orders"] for row in rows}

    def rows(self, sql: str) -> Iterator[dict[str, Any]]:
        """The rows of a query, read as they are used, on a connection of their own."""
        import MySQLdb  # noqa: PLC0415 - not installed where only SQLite is used
        from MySQLdb.cursors import SSDictCursor  # noqa: PLC0415

        try:
            with closing(MySQLdb.connect(**self._address, **_OPTIONS)) as connection:
                cursor = connection.cursor(SSDictCursor)
                cursor.execute(f"SET SESSION net_write_timeout = {WAIT}")
                cursor.execute("START TRANSACTION READ ONLY")
                cursor.execute(sql)
                for row in cursor:
                    yield {name: self._aware(value) for name, value in row.items()}
        except MySQLdb.Error as exc:
            raise SourceError(f"{self.name}: {exc}") from exc

    def _by_team(self, table: str) -> Iterator[tuple[str, Row]]:
        order = "ORDER BY CAST(team_id AS BINARY), id"
        for row in self.rows(f"SELECT * FROM {table} {order}"):  # noqa: S608 - one of TABLES
            yield table, row

    def _aware(self, value: Any) -> Any:
        return value.replace(tzinfo=self._zone) if isinstance(value, datetime) else value


_OPTIONS = {"charset": "utf8mb4", "connect_timeout": 10}


def _address(dsn: str) -> dict[str, Any]:
    parsed: dict[str, Any] = environ.Env.db_url_config(dsn) if "://" in dsn else {}
    if not parsed.get("ENGINE", "").endswith("mysql") or not parsed["NAME"]:
        raise SourceError("Expected mysql://user:password@host:3306/group_buy_market.")
    return {
        "host": parsed["HOST"] or "127.0.0.1",
        "port": int(parsed["PORT"] or 3306),
        "user": parsed["USER"],
        "password": parsed["PASSWORD"],
        "database": parsed["NAME"],
    }


def _team_key(item: tuple[str, Row]) -> bytes:
    return str(item[1]["team_id"]).encode()


def _gather(rows: Iterator[tuple[str, Row]]) -> SourceTeam:
    found: SourceTeam | None = None
    for table, row in rows:
        found = found or SourceTeam(str(row["team_id"]))
        if table == "group_buy_order":
            found.team = row
        elif table == "group_buy_order_list":
            found.orders.append(row)
        else:
            found.tasks.append(row)
    assert found is not None  # groupby() makes no empty group
    return found
