"""make demo: the whole journey through the HTTP API, on a stack of its own.

One team fills up and completes, one of its members leaves. Another loses a member, gets a new one
and completes while the mall is down. A third runs out of time, and a payment for it comes too
late. Exits 0 only if every step was as it should be.
"""

import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Sink:
    """The mall's callback endpoint: what it has received, and whether it is down."""

    url: str = ""
    down: bool = False
    refused: int = 0
    received: queue.Queue[tuple[dict[str, str], bytes]] = field(default_factory=queue.Queue)


class StepError(Exception):
    """A step was not as it should be."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="groupbuy-demo-") as var_dir:
        try:
            with sink() as callbacks, stack(Path(var_dir)) as (base, demo):
                enter_refund_url(Path(var_dir), callbacks.url)
                play(Mall(base, demo, callbacks), Path(var_dir) / "db.sqlite3")
        except StepError as failure:
            print(f"\nNOT as it should be: {failure}\n\nThe stack's log:")
            print((Path(var_dir) / "stack.log").read_text("utf-8"))
            return 1
    print("\nEverything was as it should be.")
    return 0


def play(mall: "Mall", database: Path) -> None:
    team_id = a_team_completes(mall)
    a_member_leaves_a_complete_team(mall, team_id)
    a_member_leaves_and_the_mall_is_down(mall)
    a_team_runs_out_of_time(mall, database)
    time.sleep(6)  # longer than a sweep: a second copy of anything would have come by now
    same(mall.callbacks.received.qsize(), 0, "further callbacks")
    pull_what_was_pushed(mall)


def a_team_completes(mall: "Mall") -> str:
    say("1. Trial: what does the book cost xiaofuge in a team?")
    trial = mall.trial("xiaofuge")
    goods = trial["data"]["goods"]
    expect(trial, "0000")
    same(goods["payPrice"], 80.0, "the team price")
    alone, together = goods["originalPrice"], goods["payPrice"]
    print(f"   {goods['goodsName']}: {alone:.2f} alone, {together:.2f} in a team")

    say("2. xiaofuge opens a team, two friends join it")
    team_id = mall.fill("xiaofuge", "liergou", "xfg01")

    say("3. A fourth shopper comes too late")
    refused = expect(mall.lock("xfg02", team_id), "E0006")
    print(f"   refused: {refused['code']} {refused['info']}")

    say("4. The mall has taken the money: settlement, one of them sent twice")
    mall.pay(team_id, "xiaofuge", "liergou", "liergou", "xfg01")

    say("5. The platform calls the mall")
    mall.expect_success(team_id, "xiaofuge", "liergou", "xfg01")
    return team_id


def a_member_leaves_a_complete_team(mall: "Mall", team_id: str) -> None:
    say("6. liergou gives the book back after the team was complete")
    mall.leave("liergou")
    mall.expect_refund("liergou", "paid_formed")
    progress = expect(mall.team(team_id), "0000")["data"]
    same(progress["status"], 3, "the team's status: complete with refunds")
    print("   the other two keep their price; asked again, nothing changes:")
    print(f"   {expect(mall.refund('liergou'), '0000')['data']['info']}")


def a_member_leaves_and_the_mall_is_down(mall: "Mall") -> None:
    say("7. A second team: xfg03 leaves before it is complete, xfg04 takes the seat")
    team_id = mall.fill("xfg02", "xfg03", "xfg05")
    mall.leave("xfg03")
    mall.expect_refund("xfg03", "unpaid_unlock")
    mall.fill("xfg04", team_id=team_id)

    say("8. It completes while the mall is down, and the mall hears of it when it is back")
    mall.callbacks.down = True
    mall.pay(team_id, "xfg02", "xfg04", "xfg05")
    wait_for(lambda: mall.callbacks.refused > 0, "an attempt to call the mall")
    print("   the mall answered 500: the promise is kept and tried again after 5 seconds")
    mall.callbacks.down = False
    mall.expect_success(team_id, "xfg02", "xfg05", "xfg04")
    states = expect(mall.order("xfg02"), "0000")["data"]["timeline"]
    print("   xfg02's order: " + " → ".join(state["event"] for state in states))


def a_team_runs_out_of_time(mall: "Mall", database: Path) -> None:
    say("9. A third team gets two of three; only xfg06 pays; its quarter of an hour passes")
    team_id = mall.fill("xfg06", "xfg07")
    mall.pay(team_id, "xfg06")
    move_clock(database, minutes=18)
    print("   (the demo has moved every time in the database 18 minutes back)")
    mall.expect_refund("xfg06", "paid_unformed", "xfg07", "unpaid_unlock")
    same(expect(mall.team(team_id), "0000")["data"]["status"], 2, "the team's status: failed")

    say("10. The payment of xfg07 arrives too late, and is not left hanging")
    late = expect(mall.settle("xfg07"), "E0106")
    print(f"   refused: {late['code']} {late['info']}")
    mall.expect_refund("xfg07", "paid_unformed")


def pull_what_was_pushed(mall: "Mall") -> None:
    say("11. GET events: everything that was pushed can also be pulled, in order")
    page = expect(mall.events(after=0), "0000")["data"]
    same([event["no"] for event in page["events"]], list(range(1, page["next"] + 1)), "numbers")
    same(sorted(event["id"] for event in page["events"]), sorted(mall.heard), "the events")
    for event in page["events"]:
        print(f"   {event['no']}. {event['id']}")


def move_clock(database: Path, *, minutes: int) -> None:
    """What the same time passing would do: every moment lies so much further in the past."""
    moments = {
        "trade_team": ("created_at", "expires_at", "completed_at"),
        "trade_order": ("created_at", "pay_deadline", "paid_at", "settled_at", "closed_at"),
    }
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        for table, columns in moments.items():
            moved = ", ".join(
                f"{column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '-{minutes} minutes')"
                for column in columns
            )
            connection.execute(f"UPDATE {table} SET {moved}")  # noqa: S608  names of ours


class Mall:
    """The back end of the demo's mall, s01/c01."""

    def __init__(self, base: str, demo: dict[str, str], callbacks: Sink) -> None:
        self.base = f"{base}/api/v1/gbm/"
        self.callbacks = callbacks
        self.webhook = Webhook(demo["webhook_secret"])
        self.heard: list[str] = []
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {demo['api_key']}"

    def trial(self, user_id: str) -> Any:
        return self._post("trial", user_id, goodsId="9890001")

    def lock(self, user_id: str, team_id: str = "") -> Any:
        return self._post(
            "lock_market_pay_order",
            user_id,
            goodsId="9890001",
            activityId=100123,
            teamId=team_id,
            outTradeNo=f"demo-{user_id}",
            notifyConfigVO={"notifyType": "HTTP", "notifyUrl": self.callbacks.url},
        )

    def settle(self, user_id: str) -> Any:
        now_ms = time.time_ns() // 1_000_000
        return self._post(
            "settlement_market_pay_order",
            user_id,
            outTradeNo=f"demo-{user_id}",
            outTradeTime=now_ms,
        )

    def refund(self, user_id: str) -> Any:
        return self._post("refund_market_pay_order", user_id, outTradeNo=f"demo-{user_id}")

    def team(self, team_id: str) -> Any:
        return self._get(f"trade/teams/{team_id}")

    def order(self, user_id: str) -> Any:
        return self._get(f"trade/orders/demo-{user_id}")

    def events(self, *, after: int) -> Any:
        return self._get(f"events?after={after}")

    def fill(self, *shoppers: str, team_id: str = "") -> str:
        """Each locks a seat; without a team the first opens one. Returns the team."""
        for shopper in shoppers:
            seat = expect(self.lock(shopper, team_id), "0000")["data"]
            if team_id:
                same(seat["teamId"], team_id, "the team")
                print(f"   {shopper} takes a seat")
            else:
                team_id = seat["teamId"]
                print(f"   {shopper} opens team {team_id}, {seat['payPrice']:.2f} to pay")
        return team_id

    def pay(self, team_id: str, *shoppers: str) -> None:
        for shopper in shoppers:
            settled = expect(self.settle(shopper), "0000")["data"]
            same(settled["teamId"], team_id, "the team")
            progress = expect(self.team(team_id), "0000")["data"]
            print(f"   {shopper} paid: {progress['completeCount']} of {progress['targetCount']}")

    def leave(self, shopper: str) -> None:
        same(expect(self.refund(shopper), "0000")["data"]["code"], "success", "the refund")

    def expect_success(self, team_id: str, *shoppers: str) -> None:
        """The mall is called about this team and these orders."""
        payload = self._hear()
        same(payload["teamId"], team_id, "the team called about")
        orders = [f"demo-{shopper}" for shopper in shoppers]
        same(payload["outTradeNoList"], orders, "the orders called about")

    def expect_refund(self, *shoppers_and_types: str) -> None:
        """The mall is told to let go of these orders: shopper, type, shopper, type, …"""
        wanted = dict(zip(shoppers_and_types[::2], shoppers_and_types[1::2], strict=True))
        found = {}
        for _ in wanted:
            payload = self._hear()
            found[payload["userId"]] = payload["type"]
        same(found, wanted, "the refunds called about")

    def _hear(self) -> Any:
        try:
            headers, body = self.callbacks.received.get(timeout=30)
        except queue.Empty:
            raise StepError("no callback within 30 seconds") from None
        payload = self.webhook.verify(body, headers)  # raises when forged
        self.heard.append(headers["webhook-id"])
        print(f"   the mall gets {headers['webhook-id']}, the signature verifies:")
        print(f"      {body.decode()}")
        return payload

    def _get(self, path: str) -> Any:
        return self.session.get(self.base + path, timeout=10).json()

    def _post(self, path: str, user_id: str, **fields: Any) -> Any:
        body = {"userId": user_id, "source": "s01", "channel": "c01", **fields}
        return self.session.post(f"{self.base}trade/{path}", json=body, timeout=10).json()


@contextmanager
def stack(var_dir: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The embedded stack on free ports; yields its address and the demo's credentials."""
    port, redis_port = free_port(), free_port()
    print("Starting a stack of its own …", flush=True)
    with (var_dir / "stack.log").open("w") as log:
        process = subprocess.Popen(
            [ROOT / "bin" / "run.sh"],
            env=environment(var_dir) | {"PORT": str(port), "REDIS_PORT": str(redis_port)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(base, process)
        yield base, json.loads((var_dir / "demo.json").read_text("utf-8"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def environment(var_dir: Path) -> dict[str, str]:
    """The embedded mode, whatever is set outside."""
    empty = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "AMQP_URL"), "")
    defaults = {"DEBUG": "true", "DEMO": "true", "CALLBACK_NETWORKS": "127.0.0.0/8"}
    return os.environ | empty | defaults | {"VAR_DIR": str(var_dir)}


def enter_refund_url(var_dir: Path, url: str) -> None:
    """What an operator does in the console: where the mall s01/c01 wants to hear of refunds."""
    change = f"Channel.objects.filter(source='s01').update(refund_notify_url='{url}')"
    command = [str(ROOT / "bin" / "run.sh"), "manage", "shell", "--command", change]
    subprocess.run(command, env=environment(var_dir), check=True, stdout=subprocess.DEVNULL)


def wait_until_up(base: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with requests.Session() as session:
                session.trust_env = False
                if session.get(base, timeout=2).ok:
                    print(f"   up at {base}")
                    return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise StepError("the stack did not start")


@contextmanager
def sink() -> Iterator[Sink]:
    """The mall's callback endpoint."""
    callbacks = Sink()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if callbacks.down:
                callbacks.refused += 1
            else:
                callbacks.received.put((dict(self.headers.items()), body))
            self.send_response(500 if callbacks.down else 200)
            self.end_headers()
            self.wfile.write(b"error" if callbacks.down else b"success")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    callbacks.url = f"http://127.0.0.1:{server.server_port}/group_buy_notify"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield callbacks
    finally:
        server.shutdown()
        server.server_close()


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not happened():
        if time.monotonic() > deadline:
            raise StepError(f"{what} did not come within 15 seconds")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def say(step: str) -> None:
    print(f"\n{step}", flush=True)


def expect(body: Any, code: str) -> Any:
    same(body.get("code"), code, f"the code of {body}")
    return body


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise StepError(f"{what}: {found!r} instead of {wanted!r}")


if __name__ == "__main__":
    sys.exit(main())
