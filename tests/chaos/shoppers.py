"""Random shoppers and their mall, which never forgets a payment and repeats what got no answer."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import requests

PEOPLE = 200  # few enough to meet each other
OPEN_TEAMS = 12  # known to the shoppers at a time
ANSWERED = ("0000", "E0104", "E0106")  # a settlement or refund that needs no repeating
TRIES = 200  # of a repeat at the end, half a second apart


@dataclass
class Purchase:
    """What the mall knows of one of its orders."""

    out_trade_no: str
    user_id: str
    team_id: str
    price: Decimal
    paid_ms: int = 0  # when the shopper paid, 0 before
    settled: str = ""  # the code that settlement was answered with
    refund_wanted: bool = False
    refunded: str = ""


@dataclass
class Mall:
    """The back end that shoppers use: sends requests, counts them, keeps the books."""

    api_key: str
    ports: tuple[int, ...]
    goods: dict[str, int]  # goods id -> activity id
    source: str
    channel: str
    notify_url: str
    purchases: dict[str, Purchase] = field(default_factory=dict)
    teams: list[tuple[str, str]] = field(default_factory=list)  # team id, goods id
    codes: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, path: str, user_id: str, **fields: Any) -> Any:
        """The answer's body, or None when there was none that can be trusted."""
        body = {"userId": user_id, "source": self.source, "channel": self.channel, **fields}
        port = random.choice(self.ports)
        try:
            answer = (
                _session()
                .post(
                    f"http://127.0.0.1:{port}/api/v1/gbm/trade/{path}",
                    json=body,
                    headers={"Authorization": f"Bearer {self.api_key}"},
                    timeout=15,
                )
                .json()
            )
        except (requests.RequestException, ValueError):
            answer = None
        with self.lock:
            if answer is None:
                self.unanswered += 1
            else:
                self.codes[f"{path.partition('_')[0]} {answer['code']}"] += 1
        return answer

    def settle(self, purchase: Purchase) -> None:
        answer = self.post(
            "settlement_market_pay_order",
            purchase.user_id,
            outTradeNo=purchase.out_trade_no,
            outTradeTime=purchase.paid_ms,
        )
        if answer and answer["code"] in ANSWERED:
            purchase.settled = answer["code"]

    def refund(self, purchase: Purchase) -> None:
        purchase.refund_wanted = True
        answer = self.post(
            "refund_market_pay_order", purchase.user_id, outTradeNo=purchase.out_trade_no
        )
        if answer and answer["code"] in ANSWERED:
            purchase.refunded = answer["code"]

    def pull(self) -> list[tuple[int, str]]:
        """All events, number and id, page by page."""
        events: list[tuple[int, str]] = []
        more = True
        while more:
            url = f"http://127.0.0.1:{self.ports[0]}/api/v1/gbm/events"
            headers = {"Authorization": f"Bearer {self.api_key}"}
            after = {"after": events[-1][0] if events else 0}
            page = _session().get(url, params=after, headers=headers, timeout=15).json()["data"]
            events += [(event["no"], event["id"]) for event in page["events"]]
            more = page["hasMore"]
        return events

    def finish(self) -> list[str]:
        """Repeat what has not been answered yet; return what never was."""
        for purchase in self.purchases.values():
            for _ in range(TRIES):
                if purchase.paid_ms and not purchase.settled:
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
            if (purchase.paid_ms and not purchase.settled)
            or (purchase.refund_wanted and not purchase.refunded)
        ]


class Shopper(threading.Thread):
    """One thread of shoppers; each loop is somebody buying, or changing their mind."""

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
        """Lock, up to three times when there is no answer, sometimes once more for nothing."""
        user_id = f"u{self.random.randrange(PEOPLE)}"
        team_id, goods_id = self.choose_team()
        self.bought += 1
        out_trade_no = f"{self.number}-{self.bought}"
        answer = None
        for _ in range(3):
            answer = self.lock(user_id, out_trade_no, team_id, goods_id)
            if answer and self.random.random() > 0.05:
                break
        if not answer or answer["code"] != "0000":
            return None
        order = answer["data"]
        purchase = Purchase(out_trade_no, user_id, order["teamId"], Decimal(str(order["payPrice"])))
        with self.mall.lock:
            self.mall.purchases[out_trade_no] = purchase
            if not team_id:
                self.mall.teams = [*self.mall.teams[1 - OPEN_TEAMS :], (order["teamId"], goods_id)]
        return purchase

    def lock(self, user_id: str, out_trade_no: str, team_id: str, goods_id: str) -> Any:
        notify = {"notifyType": "HTTP", "notifyUrl": self.mall.notify_url}
        if self.random.random() < 0.4:
            notify = {"notifyType": "MQ"}
        return self.mall.post(
            "lock_market_pay_order",
            user_id,
            goodsId=goods_id,
            activityId=self.mall.goods[goods_id],
            teamId=team_id,
            outTradeNo=out_trade_no,
            notifyConfigVO=notify,
        )

    def choose_team(self) -> tuple[str, str]:
        with self.mall.lock:
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
        """From here on the mall has the money."""
        purchase.paid_ms = time.time_ns() // 1_000_000
        self.mall.settle(purchase)
        if self.random.random() < 0.15:
            self.mall.settle(purchase)
        if self.random.random() < 0.15:
            self.mall.refund(purchase)
            if self.random.random() < 0.3:
                self.mall.refund(purchase)


_local = threading.local()


def _session() -> requests.Session:
    """A session of this thread's own, closed by the server whenever it is killed."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
    session: requests.Session = _local.session
    return session
