"""The journeys of a load test's shoppers, as a locust file; __main__.py starts it.

steady  shoppers come and go: look at the offer, open or join a team, pay, sometimes give back
flash   FLASH shoppers come within seconds, each with an invitation to one of TEAMS teams

All calls use the public API, as a mall's back end does: the shoppers share CONNECTIONS connections,
and the time of a call includes the wait for one of them. A refusal is an answer; a fault is no
answer, a status other than 200 and 429, or 0001. locust replaces time.sleep(), so that it blocks
only one shopper.
"""

import json
import os
import random
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import requests
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, LoadTestShape, events, task

TARGET: dict[str, Any] = json.loads(os.environ["LOAD_TARGET"])  # see __main__.Target
API = "/api/v1/gbm"
HEADERS = {"Authorization": f"Bearer {TARGET['key']}"}
RUN = secrets.token_hex(3)  # so that each run has shoppers of its own
FLASH, ARRIVALS, TEAMS = TARGET["shoppers"], 500, TARGET["teams"]  # 500 arrive in a second
CONNECTIONS = 200
SAMPLE = 2  # seconds
FULL = ("E0006", "E0008", "E0010")  # the team is full, or complete in the meantime

codes: Counter[tuple[str, str]] = Counter()
samples: list[tuple[float, float, float]] = []  # seconds, calls per second, p95 in ms
sale: dict[str, int] = {}
teams: list[str] = []
finished: list[int] = []  # one element for each shopper of the flash sale who has finished


def named(user: str, **fields: Any) -> dict[str, Any]:
    about = {name: TARGET[name] for name in ("source", "channel", "goodsId")}
    return {"userId": user} | about | fields


def lock_of(user: str, team: str) -> dict[str, Any]:
    notify = {"notifyType": "HTTP", "notifyUrl": TARGET["notifyUrl"]}
    return named(
        user,
        activityId=TARGET["activityId"],
        teamId=team,
        outTradeNo=user,
        notifyConfigVO=notify,
    )


def payment_of(user: str) -> dict[str, Any]:
    return named(user, outTradeNo=user, outTradeTime=int(time.time() * 1000))


class Shopper(FastHttpUser):
    abstract = True
    host = TARGET["url"]
    network_timeout = connection_timeout = 30.0
    client_pool = HTTPClientPool(concurrency=CONNECTIONS)

    def think(self, least: float, most: float) -> None:
        time.sleep(random.uniform(least, most))

    def call(self, name: str, path: str, body: Any = None) -> tuple[str, Any]:
        """Call the API; return the code and data of the answer."""
        method = "GET" if body is None else "POST"
        with self.client.request(
            method, API + path, json=body, headers=HEADERS, name=name, catch_response=True
        ) as response:
            try:
                answer = json.loads(response.text or "")
                code, data = str(answer["code"]), answer.get("data")
            except (ValueError, KeyError, TypeError):
                code, data = f"HTTP {response.status_code}", None
            codes[name, code] += 1
            if response.status_code in (200, 429) and code != "0001":
                response.success()
            else:
                response.failure(code)
        return code, data

    def look(self, user: str) -> list[str]:
        """The teams that the offer's page shows."""
        _code, found = self.call("look", "/index/query_group_buy_market_config", named(user))
        return [row["teamId"] for row in (found or {}).get("teamList") or []]

    def buy(self, user: str, team: str) -> str:
        """Lock a seat and pay for it; return the code of the lock."""
        name = "join" if team else "open"
        code, _order = self.call(name, "/trade/lock_market_pay_order", lock_of(user, team))
        if code == "0000":
            self.think(1, 5)
            self.call("pay", "/trade/settlement_market_pay_order", payment_of(user))
        return code


class Steady(Shopper):
    """One new shopper after the other."""

    fixed_count = 0 if TARGET["shape"] == "flash" else TARGET["users"]

    def wait_time(self) -> float:
        return random.uniform(0.5, 2)

    def on_start(self) -> None:
        self.think(0, 3)

    @task
    def journey(self) -> None:
        user = f"load-{RUN}-{secrets.token_hex(5)}"
        shown = self.look(user)
        self.think(1, 4)
        team = random.choice(shown) if shown and random.random() < 0.7 else ""
        if self.buy(user, team) in FULL and self.buy(user, "") != "0000":
            return
        self.think(1, 3)
        _code, order = self.call("watch", f"/trade/orders/{user}")
        if order and random.random() < 0.05:
            self.call("give back", "/trade/refund_market_pay_order", named(user, outTradeNo=user))


class Invited(Shopper):
    """One shopper of the flash sale, with an invitation, who may try a second team."""

    fixed_count = FLASH if TARGET["shape"] == "flash" else 0

    @task
    def journey(self) -> None:
        user = f"load-{RUN}-{secrets.token_hex(5)}"
        self.look(user)
        self.think(0, 2)
        code = self.buy(user, random.choice(teams))
        if code in FULL and random.random() < 0.3:
            self.buy(user, random.choice(teams))
        finished.append(1)
        if len(finished) == FLASH and self.environment.runner:
            self.environment.runner.quit()
        time.sleep(3600)  # until the run ends


class Shape(LoadTestShape):
    """Starts ARRIVALS shoppers of a flash sale a second, or all of a steady load within 10 s."""

    def tick(self) -> tuple[int, float] | None:
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        if seconds > 60 * TARGET["minutes"]:
            return None
        if TARGET["shape"] == "flash":
            return FLASH, ARRIVALS
        return TARGET["users"], max(1.0, TARGET["users"] / 10)


@events.test_start.add_listener
def prepare(environment: Any, **_event: Any) -> None:
    if TARGET["shape"] == "flash":
        for number in range(TEAMS):
            leader = f"load-{RUN}-leader{number}"
            order = _call("/trade/lock_market_pay_order", lock_of(leader, ""))
            teams.append(order["teamId"])
            _call("/trade/settlement_market_pay_order", payment_of(leader))
    environment.runner.greenlet.spawn(_sample, environment.stats.total)


@events.test_stop.add_listener
def count_seats(**_event: Any) -> None:
    """Count the seats sold, by the platform's teams."""
    if not teams:
        return
    found = [_call(f"/trade/teams/{team}") for team in teams]
    sale["teams"], sale["shoppers"] = len(teams), len(finished)
    sale["seats"] = sum(team["targetCount"] - 1 for team in found)
    sale["sold"] = sum(team["lockCount"] - 1 for team in found)
    sale["overfull"] = sum(team["lockCount"] > team["targetCount"] for team in found)


@events.quitting.add_listener
def write(environment: Any, **_event: Any) -> None:
    rows = [
        {
            "name": entry.name,
            "calls": entry.num_requests,
            "faults": entry.num_failures,
            "rate": entry.total_rps,
            **{f"p{n}": entry.get_response_time_percentile(n / 100) for n in (50, 95, 99)},
            "most": entry.max_response_time,
            "codes": {code: n for (name, code), n in sorted(codes.items()) if name == entry.name},
        }
        for entry in environment.stats.entries.values()
    ]
    found = {"rows": rows, "samples": samples, "sale": sale}
    Path(os.environ["LOAD_OUT"]).write_text(json.dumps(found), "utf-8")


def _call(path: str, body: Any = None) -> Any:
    """Make a call that is not measured; return its data. Raises if it is refused."""
    url = TARGET["url"] + API + path
    method = "GET" if body is None else "POST"
    answer = requests.request(method, url, json=body, headers=HEADERS, timeout=30).json()
    if answer["code"] != "0000":
        raise RuntimeError(f"{path}: {answer['code']} {answer['info']}")
    return answer["data"]


def _sample(total: Any) -> None:
    started = time.monotonic()
    while True:
        time.sleep(SAMPLE)
        p95 = total.get_current_response_time_percentile(0.95) or 0
        samples.append((time.monotonic() - started, total.current_rps, p95))
