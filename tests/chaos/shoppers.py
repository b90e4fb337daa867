"""Random shoppers and their mall, which records every payment and repeats unanswered calls."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from groupbuy_client import Client, GroupBuyError, Seat

PEOPLE = 200  # few enough to meet each other
OPEN_TEAMS = 12  # known to the shoppers at a time
ANSWERED = ("0000", "E0104", "E0106")  # a settlement or refund that needs no repeating
TRIES = 200  # of a repeat at the end, half a second apart


@dataclass
class Purchase:
    """One order as the mall knows it."""

    out_trade_no: str
    user_id: str
    team_id: str
    price: Decimal
    paid_at: datetime | None = None  # when the shopper paid
    settled: str = ""  # the code that settlement was answered with
    refund_wanted: bool = False
    refunded: str = ""


@dataclass
class Mall:
    """The mall's back end: sends requests, counts them, and keeps the books."""

    clients: list[Client]  # one for each web server
    goods: dict[str, int]  # goods id -> activity id
    notify_url: str
    purchases: dict[str, Purchase] = field(default_factory=dict)
    teams: list[tuple[str, str]] = field(default_factory=list)  # team id, goods id
    codes: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    books: threading.Lock = field(default_factory=threading.Lock)

    def call(self, name: str, **fields: Any) -> tuple[str, Any]:
        """Call any web server once; return the code, "" without an answer, and the answer."""
        answer = None
        try:
            answer = getattr(random.choice(self.clients), name)(**fields)
            code = "0000"
        except GroupBuyError as error:
            code = error.code
        with self.books:
            if code:
                self.codes[f"{name} {code}"] += 1
            else:
                self.unanswered += 1
        return code, answer

    def settle(self, purchase: Purchase) -> None:
        order = {"user_id": purchase.user_id, "out_trade_no": purchase.out_trade_no}
        code, _answer = self.call("settle", **order, paid_at=purchase.paid_at)
        if code in ANSWERED:
            purchase.settled = code

    def refund(self, purchase: Purchase) -> None:
        purchase.refund_wanted = True
        order = {"user_id": purchase.user_id, "out_trade_no": purchase.out_trade_no}
        code, _answer = self.call("refund", **order)
        if code in ANSWERED:
            purchase.refunded = code

    def pull(self) -> list[tuple[int, str]]:
        """Fetch all events; return their numbers and ids."""
        return [(event.no, event.id) for event in self.clients[0].events()]

    def finish(self) -> list[str]:
        """Repeat calls that were not answered; return those that never were."""
        for purchase in self.purchases.values():
            for _ in range(TRIES):
                if purchase.paid_at and not purchase.settled:
                    self.settle(purchase)
                elif purchase.refund_wanted and not purchase.refunded:
                    self.refund(purchase)
                else:
                    break
                if not (purchase.settled or purchase.refunded):
                    time.sleep(0.5)
        return [
            purchase.out_trade_no
            for purchase in self.purchases.values()
            if (purchase.paid_at and not purchase.settled)
            or (purchase.refund_wanted and not purchase.refunded)
        ]


class Shopper(threading.Thread):
    """A thread of shoppers. Each loop is one shopper, who buys or gives back."""

    def __init__(self, mall: Mall, number: int, seed: int, until: float) -> None:
        super().__init__(daemon=True)
        self.mall = mall
        self.number = number
        self.random = random.Random(f"{seed}-{number}")
        self.until = until
        self.bought = 0
        self.late: list[Purchase] = []  # will pay when it is too late

    def run(self) -> None:
        while time.monotonic() < self.until:
            purchase = self.take_seat()
            if purchase:
                self.go_on_with(purchase)
            if self.late and self.random.random() < 0.1:
                self.pay(self.late.pop(0))
            time.sleep(self.random.uniform(0, 0.1))
        for purchase in self.late:
            self.pay(purchase)

    def take_seat(self) -> Purchase | None:
        """Lock a seat, up to three times without an answer, and sometimes once more after one."""
        user_id = f"u{self.random.randrange(PEOPLE)}"
        team_id, goods_id = self.choose_team()
        self.bought += 1
        out_trade_no = f"{self.number}-{self.bought}"
        seat = None
        for _ in range(3):
            code, seat = self.lock(user_id, out_trade_no, team_id, goods_id)
            if code and self.random.random() > 0.05:
                break
        if seat is None:
            return None
        purchase = Purchase(out_trade_no, user_id, seat.team_id, seat.pay_price)
        with self.mall.books:
            self.mall.purchases[out_trade_no] = purchase
            if not team_id:
                self.mall.teams = [*self.mall.teams[1 - OPEN_TEAMS :], (seat.team_id, goods_id)]
        return purchase

    def lock(
        self, user_id: str, out_trade_no: str, team_id: str, goods_id: str
    ) -> tuple[str, Seat | None]:
        return self.mall.call(
            "lock",
            user_id=user_id,
            goods_id=goods_id,
            activity_id=self.mall.goods[goods_id],
            team_id=team_id or None,
            out_trade_no=out_trade_no,
            notify_url=None if self.random.random() < 0.4 else self.mall.notify_url,
        )

    def choose_team(self) -> tuple[str, str]:
        with self.mall.books:
            teams = list(self.mall.teams)
        if teams and self.random.random() < 0.75:
            return self.random.choice(teams)
        return "", self.random.choice(sorted(self.mall.goods))

    def go_on_with(self, purchase: Purchase) -> None:
        chance = self.random.random()
        if chance < 0.10:
            return  # vanishes
        if chance < 0.17:
            self.late.append(purchase)
        elif chance < 0.22:
            self.mall.refund(purchase)
            if self.random.random() < 0.3:
                self.pay(purchase)  # the payment was under way
        else:
            self.pay(purchase)

    def pay(self, purchase: Purchase) -> None:
        """Pay; from then on the mall has the money, and settles."""
        purchase.paid_at = datetime.now(UTC)
        self.mall.settle(purchase)
        if self.random.random() < 0.15:
            self.mall.settle(purchase)
        if self.random.random() < 0.15:
            self.mall.refund(purchase)
            if self.random.random() < 0.3:
                self.mall.refund(purchase)
