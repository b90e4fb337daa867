"""The books of the reference mall: every fen that the pretend Alipay took is shipped or returned.

They are read from the files of both, whether their processes run or not.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.chaos.stack import MALL_DIR
from trade.models import Order

LEASE = timedelta(minutes=1)  # of a row that a loop works on
FINAL = ("DEAL_DONE", "CLOSE")
Row = dict[str, Any]


class Books:
    """The books of both sides at this moment."""

    def __init__(self) -> None:
        self.orders = {row["number"]: row for row in _rows("mall", "SELECT * FROM mall_order")}
        self.refunds = _rows("mall", "SELECT * FROM mall_refund")
        self.paid = _rows("alipay", "SELECT * FROM trade WHERE paid_at IS NOT NULL")
        self.returned: defaultdict[str, list[Row]] = defaultdict(list)  # by Alipay's number
        for row in _rows("alipay", "SELECT * FROM refund"):
            self.returned[row["trade_no"]].append(row)

    def open(self) -> Iterator[str]:
        """Orders and refunds that have not reached their final state yet."""
        for order in self.orders.values():
            if order["status"] not in FINAL:
                yield f"order {order['number']}: {order['status']}"
        for refund in self.refunds:
            if refund["state"] != "confirmed":
                yield f"refund {refund['out_request_no']}: {refund['state']} {refund['problem']}"

    def ships(self, trade: Row) -> bool:
        """Is this the payment of an order that was delivered?"""
        order = self.orders.get(trade["out_trade_no"])
        own = order is not None and order["trade_no"] == trade["trade_no"]
        return own and order["status"] == "DEAL_DONE" if order else False

    def wrong(self) -> Iterator[str]:
        """Payments neither shipped nor returned, or both, or returned twice; unpaid goods."""
        for trade in self.paid:
            amounts = [Decimal(row["amount"]) for row in self.returned[trade["trade_no"]]]
            due = [] if self.ships(trade) else [Decimal(trade["amount"])]
            if amounts != due:
                yield f"payment of {trade['out_trade_no']}: returned {amounts} instead of {due}"
        paid = {trade["trade_no"]: Decimal(trade["amount"]) for trade in self.paid}
        for order in self.orders.values():
            amount = Decimal(str(order["amount"] or 0)).quantize(Decimal("0.01"))
            if order["status"] == "DEAL_DONE" and paid.get(order["trade_no"]) != amount:
                yield f"order {order['number']} ships without its payment"
        sent = Counter(refund["trade_no"] for refund in self.refunds)
        for number in {*sent, *filter(self.returned.get, self.returned)}:
            if (sent[number], len(self.returned[number])) != (1, 1):
                at_alipay = len(self.returned[number])
                yield f"payment {number}: {sent[number]} refunds here, {at_alipay} at Alipay"

    def otherwise_on_the_platform(self) -> Iterator[str]:
        """Seats that are paid for on the platform and not in the mall, or the reverse."""
        theirs = Order.objects.filter(channel__source="s08", status=Order.Status.PAID)
        seated = set(theirs.values_list("out_trade_no", flat=True))
        ours = {
            number
            for number, order in self.orders.items()
            if order["kind"] == 1 and order["status"] == "DEAL_DONE"
        }
        yield from (f"order {number} is seated on one side only" for number in seated ^ ours)

    def __str__(self) -> str:
        def total(rows: list[Row]) -> str:
            return f"{sum((Decimal(row['amount']) for row in rows), Decimal(0))} ({len(rows)})"

        ships = [trade for trade in self.paid if self.ships(trade)]
        back = [row for rows in self.returned.values() for row in rows]
        states = Counter(order["status"] for order in self.orders.values())
        listed = ", ".join(f"{name} {count}" for name, count in sorted(states.items()))
        return (
            f"the mall    {len(self.orders)} orders: {listed}\n"
            f"its books   Alipay took {total(self.paid)} = ships {total(ships)} + went back"
            f" {total(back)}"
        )


def hurry() -> None:
    """Make the mall's next tries due, and end the time to pay of all unpaid orders."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(MALL_DIR / "mall.sqlite3", timeout=10)) as database, database:
        for table in ("mall_order", "mall_refund"):
            database.execute(
                f"UPDATE {table} SET due_at = ? WHERE due_at > ?",  # noqa: S608  two of ours
                (_text(now), _text(now + LEASE)),
            )
        database.execute(
            "UPDATE mall_order SET pay_by = ?, due_at = ? WHERE status = 'PAY_WAIT' AND pay_by > ?",
            (_text(now), _text(now), _text(now)),
        )


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _rows(name: str, sql: str) -> list[Row]:
    path = MALL_DIR / ("mall.sqlite3" if name == "mall" else "alipay/trades.sqlite3")
    with closing(sqlite3.connect(path, timeout=10)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(sql)]
