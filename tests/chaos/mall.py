"""The reference mall under faults: its shoppers buy, pay at the pretend Alipay, and give back.

Nothing is recorded here: the payments are in Alipay's books (tests/chaos/books.py).
"""

import html
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import requests
from django.utils import timezone

from activity.models import Activity
from groupbuy.models import ApiKey
from tests.chaos.stack import CREDENTIALS, GOODS, MALL_DIR, Stack
from tests.factories import make_activity, make_channel
from tests.stack import ROOT, direct_session

SHOPPERS = 3  # threads
OPEN_TEAMS = 6
PRODUCTS = {"mall-0": 11, "mall-1": 12}  # goods id -> activity id


def prepare(stack: Stack) -> None:
    """Make the mall's channel, key, offers, goods and tables, and Alipay's keys."""
    url = f"http://127.0.0.1:{stack.mall_port}"
    channel = make_channel(
        "s08",
        "c08",
        callback_hosts="http://127.0.0.1",
        refund_notify_url=f"{url}/api/v1/alipay/group_buy_refund_notify",
    )
    for group_type, (goods_id, activity_id) in enumerate(PRODUCTS.items()):
        make_activity(
            activity_id,
            channel=channel,
            goods_id=goods_id,
            group_type=Activity.GroupType(group_type),
            target_count=2,
            start_at=timezone.now() - timedelta(days=1),
        )
    key, text = ApiKey.issue(channel=channel, name="mall")
    key.save()
    MALL_DIR.mkdir(parents=True)
    own = {"webhook_secret": channel.webhook_secret, "page_secret": channel.page_secret}
    CREDENTIALS.write_text(json.dumps({"api_key": text} | own))
    goods = [{"goodsId": each, "name": each, "price": "100.00"} for each in PRODUCTS]
    GOODS.write_text(json.dumps(goods))
    command = [sys.executable, str(ROOT / "examples/mall/manage.py"), "prepare"]
    variables = os.environ | stack.environment
    subprocess.run(command, env=variables, stdout=subprocess.DEVNULL, check=True)


class OpenTeams:
    """The teams that may have a free seat, shared by the threads."""

    def __init__(self) -> None:
        self.teams: list[tuple[str, str]] = []  # goods id, team id
        self.lock = threading.Lock()


class MallShopper(threading.Thread):
    """A thread of shoppers at the mall; each loop is a new one, who makes the old pages' calls."""

    def __init__(
        self, stack: Stack, open_teams: OpenTeams, number: int, seed: int, until: float
    ) -> None:
        super().__init__(daemon=True)
        self._api = f"http://127.0.0.1:{stack.mall_port}/api/v1/alipay"
        self._open_teams = open_teams
        self._number = number
        self._random = random.Random(f"mall-{seed}-{number}")
        self._until = until
        self._browser = direct_session()

    def run(self) -> None:
        bought = 0
        while time.monotonic() < self._until:
            bought += 1
            with suppress(requests.RequestException, ValueError, KeyError):
                self._buy(f"m{self._number}-{bought}")
            time.sleep(self._random.uniform(0, 0.3))

    def _buy(self, user_id: str) -> None:
        form = self._order(user_id, self._choose())
        if form is None or self._random.random() < 0.15:
            return  # refused, or vanishes
        self._pay(form)
        if self._random.random() < 0.15:
            [order] = self._post("query_user_order_list", userId=user_id)["orderList"]
            self._post("refund_order", userId=user_id, orderId=order["orderId"])

    def _choose(self) -> dict[str, Any]:
        """The body of create_pay_order."""
        goods_id = self._random.choice(sorted(PRODUCTS))
        chance = self._random.random()
        if chance < 0.15:
            return {"productId": goods_id, "marketType": 0}
        with self._open_teams.lock:
            teams = list(self._open_teams.teams)
        team_id = None
        if teams and chance < 0.75:
            goods_id, team_id = self._random.choice(teams)
        return {
            "productId": goods_id,
            "activityId": PRODUCTS[goods_id],
            "teamId": team_id,
            "marketType": 1,
        }

    def _order(self, user_id: str, wish: dict[str, Any]) -> str | None:
        """Order until there is an answer, the payment form; a repeat gets the same order."""
        for _ in range(3):
            with suppress(requests.RequestException, ValueError):
                form = self._post("create_pay_order", userId=user_id, **wish)
                if form and wish["marketType"] and not wish["teamId"]:
                    self._remember(user_id, wish["productId"])
                return str(form) if form else None
        return None

    def _remember(self, user_id: str, goods_id: str) -> None:
        """Let other shoppers join the team that this one has opened."""
        [order] = self._post("query_user_order_list", userId=user_id)["orderList"]
        with self._open_teams.lock:
            kept = self._open_teams.teams[1 - OPEN_TEAMS :]
            self._open_teams.teams = [*kept, (goods_id, order["teamId"])]

    def _pay(self, form: str) -> None:
        """Submit the form and confirm, now and then twice."""
        [action] = re.findall(r'action="(.*?)"', form)
        inputs = re.findall(r'name="(\w+)" value="(.*?)"', form)
        posted = {name: html.unescape(value) for name, value in inputs}
        page = self._browser.post(html.unescape(action), data=posted, timeout=15)
        for _ in range(1 + (self._random.random() < 0.2)):
            self._browser.post(page.url, timeout=15, allow_redirects=False)

    def _post(self, name: str, **fields: Any) -> Any:
        """Post to the mall; return its answer, or None for a refusal."""
        answer = self._browser.post(f"{self._api}/{name}", json=fields, timeout=15).json()
        return answer["data"]
