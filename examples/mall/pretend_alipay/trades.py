"""The pretend Alipay's trades and refunds, in a SQLite file."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
MOMENT = "%Y-%m-%d %H:%M:%S"
TABLES = """
CREATE TABLE IF NOT EXISTS trade (
  out_trade_no TEXT PRIMARY KEY, trade_no TEXT UNIQUE, status TEXT, amount TEXT, subject TEXT,
  time_expire TEXT, notify_url TEXT, return_url TEXT, paid_at TEXT);
CREATE TABLE IF NOT EXISTS refund (
  out_request_no TEXT PRIMARY KEY, trade_no TEXT, amount TEXT, at TEXT);
"""


class RefusedError(Exception):
    """A refused call: the answer's sub_code, and as text its sub_msg."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Trades:
    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as db:
            for table in filter(str.strip, TABLES.split(";")):
                db.execute(table)

    def open(self, fields: dict[str, str]) -> sqlite3.Row:
        """Open the trade of a payment form. A second form of an order gets the same trade."""
        with self._open() as db:
            new = fields | {"trade_no": f"{shanghai():%Y%m%d}{secrets.randbelow(10**20):020}"}
            db.execute(
                "INSERT INTO trade VALUES (:out_trade_no, :trade_no, 'WAIT_BUYER_PAY',"
                " :total_amount, :subject, :time_expire, :notify_url, :return_url, NULL)"
                " ON CONFLICT DO NOTHING",
                new,
            )
        return self.find(out_trade_no=fields["out_trade_no"])

    def find(self, *, out_trade_no: str = "", trade_no: str = "") -> sqlite3.Row:
        with self._open() as db:
            found: sqlite3.Row | None = db.execute(
                "SELECT * FROM trade WHERE out_trade_no = ? OR trade_no = ?",
                (out_trade_no, trade_no),
            ).fetchone()
        if found is None:
            raise RefusedError("ACQ.TRADE_NOT_EXIST", "交易不存在")
        return found

    def pay(self, trade_no: str) -> bool:
        """Pay a trade. False if it is paid, closed or past its time limit."""
        now = shanghai().strftime(MOMENT)
        with self._open() as db:
            paid = db.execute(
                "UPDATE trade SET status = 'TRADE_SUCCESS', paid_at = ?"
                " WHERE trade_no = ? AND status = 'WAIT_BUYER_PAY' AND time_expire > ?",
                (now, trade_no, now),
            )
            return paid.rowcount == 1

    def close(self, out_trade_no: str) -> None:
        trade = self.find(out_trade_no=out_trade_no)
        with self._open() as db:
            closed = db.execute(
                "UPDATE trade SET status = 'TRADE_CLOSED'"
                " WHERE trade_no = ? AND status = 'WAIT_BUYER_PAY'",
                (trade["trade_no"],),
            )
        if closed.rowcount != 1:
            raise RefusedError("ACQ.REASON_TRADE_STATUS_INVALID", "交易状态异常")

    def refund(self, trade_no: str, out_request_no: str, amount: str) -> bool:
        """Return money once for each request number. True if money moved now."""
        trade = self.find(trade_no=trade_no)
        if trade["status"] != "TRADE_SUCCESS":
            raise RefusedError("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        with self._open() as db:
            sent = db.execute("SELECT * FROM refund WHERE trade_no = ?", (trade_no,)).fetchall()
            same = [row for row in sent if row["out_request_no"] == out_request_no]
            if same and Decimal(same[0]["amount"]) != Decimal(amount):
                raise RefusedError("ACQ.DISCORDANT_REPEAT_REQUEST", "请求不一致")
            if same:
                return False
            if sum(Decimal(row["amount"]) for row in sent) + Decimal(amount) > Decimal(
                trade["amount"]
            ):
                raise RefusedError("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
            at = shanghai().strftime(MOMENT)
            db.execute(
                "INSERT INTO refund VALUES (?, ?, ?, ?)", (out_request_no, trade_no, amount, at)
            )
        return True

    def is_refunded(self, out_request_no: str) -> bool:
        with self._open() as db:
            found = db.execute("SELECT 1 FROM refund WHERE out_request_no = ?", (out_request_no,))
            return found.fetchone() is not None

    def books(self) -> dict[str, list[dict[str, str]]]:
        """Everything that was paid and returned."""
        with self._open() as db:
            paid = db.execute("SELECT * FROM trade WHERE paid_at IS NOT NULL").fetchall()
            returned = db.execute("SELECT * FROM refund").fetchall()
        return {"paid": [dict(row) for row in paid], "returned": [dict(row) for row in returned]}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction."""
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.commit()
        finally:
            db.close()


def shanghai() -> datetime:
    return datetime.now(SHANGHAI)
