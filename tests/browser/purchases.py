"""Steps of the mall's tests: order, pay, read Alipay's books, move times in the platform."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from playwright.sync_api import Page, expect

OPENER = build_opener(ProxyHandler({}))  # loopback: no proxy


class Stack:
    """The stack's addresses, the pretend Alipay's books, and the mall's notices."""

    def __init__(self, var_dir: Path, platform: str, found: dict[str, str]) -> None:
        self.platform, self.mall, self.alipay = platform, found["mall"], found["alipay"]
        self._var_dir = var_dir

    def knobs(self, **values: Any) -> None:
        """Choose the faults of notifications of payments from now on."""
        wanted = {"delay": 0, "repeat": 0, "lose": "off", "falsify": ""} | values
        OPENER.open(f"{self.alipay}/knobs", urlencode(wanted).encode()).close()

    def books(self, *numbers: str) -> dict[str, list[str]]:
        """The amounts that Alipay took and returned for each of these orders."""
        with OPENER.open(f"{self.alipay}/books") as answer:
            found = json.load(answer)
        order = {row["trade_no"]: row["out_trade_no"] for row in found["paid"]}
        moves = [(row["out_trade_no"], row["amount"]) for row in found["paid"]]
        moves += [(order[row["trade_no"]], f"-{row['amount']}") for row in found["returned"]]
        return {number: [amount for own, amount in moves if own == number] for number in numbers}

    def verdicts(self, number: str) -> list[str]:
        """The verdicts on notifications of this order's payment, whichever order they name."""
        sql = (
            "SELECT verdict FROM mall_notice WHERE trade_no ="
            " (SELECT trade_no FROM mall_order WHERE number = ?) ORDER BY id"
        )
        return [row[0] for row in self._read("mall/mall.sqlite3", sql, number)]

    def is_logged(self, text: str) -> bool:
        return text in (self._var_dir / "stack.log").read_text("utf-8")

    def end_hold(self, number: str) -> None:
        """Move the order three hours back, so that the platform closes it unless it is paid."""
        self._turn_back("trade_order", ("created_at", "pay_deadline"), "out_trade_no = ?", number)

    def end_team(self, number: str) -> None:
        """Move this order's team three hours back, with its orders."""
        team = "(SELECT team_id FROM trade_order WHERE out_trade_no = ?)"
        self._turn_back("trade_team", ("created_at", "expires_at"), f"id = {team}", number)
        moments = ("created_at", "pay_deadline", "paid_at", "settled_at")
        self._turn_back("trade_order", moments, f"team_id = {team}", number)

    def _turn_back(self, table: str, columns: tuple[str, ...], where: str, number: str) -> None:
        back = "{0} = strftime('%Y-%m-%d %H:%M:%f', {0}, '-3 hours')"
        changes = ", ".join(back.format(each) for each in columns)
        self._read("db.sqlite3", f"UPDATE {table} SET {changes} WHERE {where}", number)  # noqa: S608

    def _read(self, name: str, sql: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self._var_dir / name, timeout=30)) as database, database:
            return database.execute(sql, values).fetchall()


def order(page: Page, query: str) -> str:
    """Order at the checkout, which opens the order's page; return the order's number."""
    page.goto(f"/checkout?{query}")
    return place(page)


def place(page: Page) -> str:
    page.get_by_role("button", name="Order for ¥").click()
    headline(page, re.compile("^Your (seat is held|order is waiting for payment)$"))
    return page.url.rsplit("/", 1)[-1]


def to_alipay(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Pay ¥.* with Alipay$")).click()
    expect(page.get_by_role("heading", name="pretend Alipay")).to_be_visible()


def pay(page: Page) -> None:
    """Pay the order whose page is open, and return to that page."""
    to_alipay(page)
    confirm(page)
    headline(page, "Your payment has arrived")
    page.get_by_role("link", name="To your order").click()


def confirm(page: Page) -> None:
    page.get_by_role("button", name="Pay").click()


def headline(page: Page, text: Any) -> None:
    heading = page.get_by_role("heading", level=1, name=text)
    expect(heading).to_be_visible(timeout=120_000)  # sweeps, callbacks and polls come before it


def box(page: Page) -> list[str]:
    page.goto("/messages")
    return page.locator("main li b").all_inner_texts()
