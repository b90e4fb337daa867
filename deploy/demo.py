"""make demo: the whole journey through the HTTP API, on a stack of its own.

Three shoppers fill one team, a fourth is refused, all pay (one of them twice), and the mall
gets one signed callback. Exits 0 only if every step was as it should be.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook

ROOT = Path(__file__).resolve().parent.parent
Received = queue.Queue[tuple[dict[str, str], bytes]]


class StepError(Exception):
    """A step was not as it should be."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="groupbuy-demo-") as var_dir:
        try:
            with stack(Path(var_dir)) as (base, demo), sink() as (url, received):
                play(base, demo, url, received)
        except StepError as failure:
            print(f"\nNOT as it should be: {failure}\n\nThe stack's log:")
            print((Path(var_dir) / "stack.log").read_text("utf-8"))
            return 1
    print("\nEverything was as it should be.")
    return 0


def play(base: str, demo: dict[str, str], url: str, received: Received) -> None:
    mall = Mall(base, demo["api_key"], url)
    say("1. Trial: what does the book cost xiaofuge in a team?")
    trial = mall.trial("xiaofuge")
    goods = trial["data"]["goods"]
    expect(trial, "0000")
    same(goods["payPrice"], 80.0, "the team price")
    alone, together = goods["originalPrice"], goods["payPrice"]
    print(f"   {goods['goodsName']}: {alone:.2f} alone, {together:.2f} in a team")

    say("2. xiaofuge opens a team, two friends join it")
    opened = expect(mall.lock("xiaofuge"), "0000")["data"]
    team_id = opened["teamId"]
    print(f"   xiaofuge holds a seat in team {team_id}, {opened['payPrice']:.2f} to pay")
    for friend in ("liergou", "xfg01"):
        joined = expect(mall.lock(friend, team_id), "0000")["data"]
        same(joined["teamId"], team_id, "the team")
        print(f"   {friend} takes a seat")

    say("3. A fourth shopper comes too late")
    refused = expect(mall.lock("xfg02", team_id), "E0006")
    print(f"   refused: {refused['code']} {refused['info']}")

    say("4. The mall has taken the money: settlement, one of them sent twice")
    for shopper in ("xiaofuge", "liergou", "liergou", "xfg01"):
        settled = expect(mall.settle(shopper), "0000")["data"]
        same(settled["teamId"], team_id, "the team")
        progress = expect(mall.team(team_id), "0000")["data"]
        print(f"   {shopper} paid: {progress['completeCount']} of {progress['targetCount']}")
    same(progress["status"], 1, "the team's status")

    say("5. The platform calls the mall")
    try:
        headers, body = received.get(timeout=15)
    except queue.Empty:
        raise StepError("no callback within 15 seconds") from None
    payload = Webhook(demo["webhook_secret"]).verify(body, headers)  # raises when forged
    same(payload["teamId"], team_id, "the team called about")
    orders = [f"demo-{shopper}" for shopper in ("xiaofuge", "liergou", "xfg01")]
    same(payload["outTradeNoList"], orders, "the orders called about")
    print(f"   {body.decode()}")
    print(f"   webhook-id {headers['webhook-id']}: the signature verifies")
    time.sleep(6)  # longer than a sweep: a second copy would have come by now
    same(received.qsize(), 0, "further callbacks")
    timeline = expect(mall.order("xiaofuge"), "0000")["data"]["timeline"]
    print("   xiaofuge's order: " + " → ".join(event["event"] for event in timeline))


class Mall:
    """The back end of the demo's mall, s01/c01."""

    def __init__(self, base: str, api_key: str, notify_url: str) -> None:
        self.base = f"{base}/api/v1/gbm/trade/"
        self.notify_url = notify_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {api_key}"

    def trial(self, user_id: str) -> Any:
        return self._post("trial", user_id, goodsId="9890001")

    def lock(self, user_id: str, team_id: str | None = None) -> Any:
        return self._post(
            "lock_market_pay_order",
            user_id,
            goodsId="9890001",
            activityId=100123,
            teamId=team_id,
            outTradeNo=f"demo-{user_id}",
            notifyConfigVO={"notifyType": "HTTP", "notifyUrl": self.notify_url},
        )

    def settle(self, user_id: str) -> Any:
        now_ms = time.time_ns() // 1_000_000
        return self._post(
            "settlement_market_pay_order",
            user_id,
            outTradeNo=f"demo-{user_id}",
            outTradeTime=now_ms,
        )

    def team(self, team_id: str) -> Any:
        return self.session.get(f"{self.base}teams/{team_id}", timeout=10).json()

    def order(self, user_id: str) -> Any:
        return self.session.get(f"{self.base}orders/demo-{user_id}", timeout=10).json()

    def _post(self, path: str, user_id: str, **fields: Any) -> Any:
        body = {"userId": user_id, "source": "s01", "channel": "c01", **fields}
        return self.session.post(self.base + path, json=body, timeout=10).json()


@contextmanager
def stack(var_dir: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The embedded stack on free ports; yields its address and the demo's credentials."""
    port, redis_port = free_port(), free_port()
    own = {"PORT": str(port), "REDIS_PORT": str(redis_port), "VAR_DIR": str(var_dir)}
    empty = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"), "")
    defaults = {"DEBUG": "true", "DEMO": "true", "CALLBACK_NETWORKS": "127.0.0.0/8"}
    print("Starting a stack of its own …", flush=True)
    with (var_dir / "stack.log").open("w") as log:
        process = subprocess.Popen(
            [ROOT / "deploy" / "run.sh"],
            env=os.environ | own | empty | defaults,
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
def sink() -> Iterator[tuple[str, Received]]:
    """The mall's callback endpoint; yields its URL and what it has received."""
    received: Received = queue.Queue()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received.put((dict(self.headers.items()), self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"success")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/group_buy_notify", received
    finally:
        server.shutdown()
        server.server_close()


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
