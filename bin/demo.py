"""make demo: the whole journey through the HTTP API, on a stack of its own.

One team completes, and then one of its members leaves. Another team loses a member, gets a new one
and completes while the mall is down. A third runs out of time, and a payment for it arrives too
late. Exits with 0 only if every step had the expected result.
"""

import os
import queue
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from groupbuy_client import (
    Client,
    GroupBuyError,
    Refund,
    Seat,
    Settlement,
    TeamRefund,
    TeamStatus,
    TeamSuccess,
    Webhook,
    WebhookError,
)
from tests.purchase import SUBSCRIPTION, buy_in_the_mall
from tests.sink import SUCCESS, Request, Sink, reply
from tests.stack import EMBEDDED, ROOT, direct_session, embedded, second_mall, wait_for

GOODS = "9890001"


class StepError(Exception):
    """A step did not have the expected result."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="groupbuy-demo-") as var_dir:
        print("Starting a stack of its own …", flush=True)
        try:
            with embedded(Path(var_dir)) as (base, credentials):
                print(f"   up at {base}")
                play(Mall(base, credentials), Path(var_dir) / "db.sqlite3")
                say(f"12. Two shoppers buy in the reference mall at {credentials['mall']}")
                for line in buy_in_the_mall(credentials["mall"]):
                    print(f"   {line}")
                buy_in_a_second_mall(Path(var_dir), base)
        except (StepError, GroupBuyError, WebhookError, RuntimeError, TimeoutError) as failure:
            print(f"\nFAILED: {failure}\n\nThe stack's log:")
            print((Path(var_dir) / "stack.log").read_text("utf-8"))
            return 1
    print("\nEvery step had the expected result.")
    return 0


def play(mall: "Mall", database: Path) -> None:
    enter_refund_url(database, mall.notify_url)
    team_id = a_team_completes(mall)
    a_member_leaves_a_complete_team(mall, team_id)
    a_member_leaves_and_the_mall_is_down(mall)
    a_team_runs_out_of_time(mall, database)
    time.sleep(6)  # longer than between two sweeps: a second copy would have arrived by now
    same(mall.received.qsize(), 0, "further callbacks")
    pull_what_was_pushed(mall)


def buy_in_a_second_mall(var_dir: Path, base: str) -> None:
    """Buy with the same shoppers in a second mall, which is the same code with other settings."""
    with second_mall(var_dir, base) as found:
        say(f"13. They buy a subscription in a second mall, s03/c01, at {found['mall']}")
        for line in buy_in_the_mall(found["mall"], SUBSCRIPTION):
            print(f"   {line}")


def a_team_completes(mall: "Mall") -> str:
    say("1. Trial: what does the book cost xiaofuge in a team?")
    trial = mall.client.trial(user_id="xiaofuge", goods_id=GOODS)
    same(trial.refusals, (), "the refusals")
    assert trial.goods
    same(str(trial.goods.pay_price), "80.00", "the team price")
    alone, together = trial.goods.original_price, trial.goods.pay_price
    print(f"   {trial.goods.goods_name}: {alone} alone, {together} in a team")

    say("2. xiaofuge opens a team, two friends join it")
    team_id = mall.fill("xiaofuge", "liergou", "xfg01")

    say("3. A fourth shopper comes too late")
    refused("E0006", mall.lock, "xfg02", team_id)

    say("4. The mall has taken the money: settlement, one of them sent twice")
    mall.pay(team_id, "xiaofuge", "liergou", "liergou", "xfg01")

    say("5. The platform calls the mall")
    mall.expect_success(team_id, "xiaofuge", "liergou", "xfg01")
    return team_id


def a_member_leaves_a_complete_team(mall: "Mall", team_id: str) -> None:
    say("6. liergou gives the book back after the team was complete")
    mall.leave("liergou")
    mall.expect_refund("liergou", "paid_formed")
    same(mall.client.team(team_id).status, TeamStatus.COMPLETE_WITH_REFUNDS, "the team's status")
    print("   the other two keep their price; a repeat changes nothing:")
    print(f"   {mall.refund('liergou').info}")


def a_member_leaves_and_the_mall_is_down(mall: "Mall") -> None:
    say("7. A second team: xfg03 leaves before it is complete, xfg04 takes the seat")
    team_id = mall.fill("xfg02", "xfg03", "xfg05")
    mall.leave("xfg03")
    mall.expect_refund("xfg03", "unpaid_unlock")
    mall.fill("xfg04", team_id=team_id)

    say("8. It completes while the mall is down, and the mall is called once it is up again")
    mall.down = True
    mall.pay(team_id, "xfg02", "xfg04", "xfg05")
    wait_for(lambda: mall.turned_away > 0, "an attempt to call the mall")
    print("   the mall answered 500: the notification will be sent again after 5 seconds")
    mall.down = False
    mall.expect_success(team_id, "xfg02", "xfg05", "xfg04")
    steps = mall.client.order("demo-xfg02").timeline
    print("   xfg02's order: " + " → ".join(step.event for step in steps))


def a_team_runs_out_of_time(mall: "Mall", database: Path) -> None:
    say("9. A third team gets two of three; only xfg06 pays; its quarter of an hour passes")
    team_id = mall.fill("xfg06", "xfg07")
    mall.pay(team_id, "xfg06")
    move_clock(database, minutes=18)
    print("   (the demo has moved every time in the database 18 minutes back)")
    mall.expect_refund("xfg06", "paid_unformed", "xfg07", "unpaid_unlock")
    same(mall.client.team(team_id).status, TeamStatus.FAILED, "the team's status")

    say("10. The payment of xfg07 arrives too late, and is refunded")
    refused("E0106", mall.settle, "xfg07")
    mall.expect_refund("xfg07", "paid_unformed")


def pull_what_was_pushed(mall: "Mall") -> None:
    say("11. GET events: all notifications can also be fetched, in order")
    events = list(mall.client.events())
    same([event.no for event in events], list(range(1, len(events) + 1)), "numbers")
    same(sorted(event.id for event in events), sorted(mall.known), "the events")
    for event in events:
        print(f"   {event.no}. {event.id}")


def enter_refund_url(database: Path, url: str) -> None:
    """Set the mall's refund URL, as an operator does in the console."""
    change = (
        "channel = Channel.objects.get(source='s01', channel='c01');"
        f" channel.refund_notify_url = '{url}'; channel.save()"
    )
    command = [sys.executable, str(ROOT / "manage.py"), "shell", "--verbosity", "0", "-c", change]
    environment = os.environ | EMBEDDED | {"VAR_DIR": str(database.parent)}
    subprocess.run(command, env=environment, check=True)


def move_clock(database: Path, *, minutes: int) -> None:
    """Let time pass: move all times of teams and orders into the past by this much."""
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
            connection.execute(f"UPDATE {table} SET {moved}")  # noqa: S608  constant names


class Mall:
    """The back end of the demo's mall, s01/c01, and its callback endpoint."""

    def __init__(self, base: str, credentials: dict[str, str]) -> None:
        key = credentials["api_key"]
        self.client = Client(base, key, source="s01", channel="c01", session=direct_session)
        self.webhook = Webhook(credentials["webhook_secret"])
        self.known: list[str] = []
        self.down = False
        self.turned_away = 0
        self.received: queue.Queue[Request] = queue.Queue()
        self.notify_url = f"{Sink(self._receive).url}/group_buy_notify"

    def _receive(self, request: Request) -> bytes:
        if self.down:
            self.turned_away += 1
            return reply(500, b"error")
        self.received.put(request)
        return SUCCESS

    def lock(self, user_id: str, team_id: str | None = None) -> Seat:
        return self.client.lock(
            user_id=user_id,
            goods_id=GOODS,
            activity_id=100123,
            out_trade_no=f"demo-{user_id}",
            notify_url=self.notify_url,
            team_id=team_id,
        )

    def settle(self, user_id: str) -> Settlement:
        paid_at = datetime.now(UTC)
        return self.client.settle(user_id=user_id, out_trade_no=f"demo-{user_id}", paid_at=paid_at)

    def refund(self, user_id: str) -> Refund:
        return self.client.refund(user_id=user_id, out_trade_no=f"demo-{user_id}")

    def fill(self, *shoppers: str, team_id: str = "") -> str:
        """Lock a seat for each; without a team_id the first opens a team. Returns the team's id."""
        for shopper in shoppers:
            seat = self.lock(shopper, team_id or None)
            if team_id:
                same(seat.team_id, team_id, "the team")
                print(f"   {shopper} takes a seat")
            else:
                team_id = seat.team_id
                print(f"   {shopper} opens team {team_id}, {seat.pay_price} to pay")
        return team_id

    def pay(self, team_id: str, *shoppers: str) -> None:
        for shopper in shoppers:
            same(self.settle(shopper).team_id, team_id, "the team")
            team = self.client.team(team_id)
            print(f"   {shopper} paid: {team.complete_count} of {team.target_count}")

    def leave(self, shopper: str) -> None:
        same(self.refund(shopper).code, "success", "the refund")

    def expect_success(self, team_id: str, *shoppers: str) -> None:
        """Require that the mall's next callback is about this team and these orders."""
        notification = self._next()
        orders = tuple(f"demo-{shopper}" for shopper in shoppers)
        same(notification, TeamSuccess(notification.id, team_id, orders), "the callback")

    def expect_refund(self, *shoppers_and_types: str) -> None:
        """Require that the next callbacks are these refunds: shopper, type, shopper, type, …"""
        wanted = dict(zip(shoppers_and_types[::2], shoppers_and_types[1::2], strict=True))
        found = {}
        for _ in wanted:
            notification = self._next()
            if isinstance(notification, TeamRefund):
                found[notification.user_id] = notification.type
        same(found, wanted, "the refunds called about")

    def _next(self) -> TeamSuccess | TeamRefund:
        try:
            request = self.received.get(timeout=30)
        except queue.Empty:
            raise StepError("no callback within 30 seconds") from None
        notification = self.webhook.verify(request.headers, request.body)
        self.known.append(notification.id)
        print(f"   the mall gets {notification.id}, the signature verifies:")
        print(f"      {request.body.decode()}")
        return notification


def say(step: str) -> None:
    print(f"\n{step}", flush=True)


def refused(code: str, call: Callable[..., object], *arguments: str) -> None:
    """Require that the call is refused with this code."""
    try:
        answer = call(*arguments)
    except GroupBuyError as error:
        same(error.code, code, "the refusal")
        print(f"   refused: {error}")
    else:
        raise StepError(f"{answer} instead of the refusal {code}")


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise StepError(f"{what}: {found!r} instead of {wanted!r}")


if __name__ == "__main__":
    sys.exit(main())
