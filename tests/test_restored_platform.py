"""The platform is restored from a backup, and its mall has traded since that backup."""

import os
import subprocess
import sys
from pathlib import Path

from groupbuy_client import Client, OrderStatus
from tests.purchase import COFFEE, Shopper
from tests.stack import EMBEDDED, ROOT, direct_session, embedded, wait_for


def test_the_mall_settles_and_gives_back_orders_that_the_backup_lacks(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with embedded(tmp_path) as (platform, found):
        names = ("leader", "slow", "stranger", "friend", "leaver")
        leader, slow, stranger, friend, leaver = (
            Shopper(name, found["mall"], COFFEE) for name in names
        )
        leader.order(None)
        leaver.order(None)
        form = slow.place(None)
        for each in (leader, leaver):
            reached(each, "PAY_SUCCESS")
        client = platforms(platform, found)
        for each in (leader, leaver):
            wait_for(lambda who=each: is_paid(client, who), "settlements")  # type: ignore[misc]
        manage(tmp_path, "backup", str(backup))

        slow.pay(form)
        stranger.order(None)
        friend.order(leader.row()["teamId"])
        leaver.give_back()
        for each, status in ((friend, "DEAL_DONE"), (leader, "DEAL_DONE"), (leaver, "CLOSE")):
            reached(each, status)
        for each in (slow, stranger):
            wait_for(lambda who=each: is_paid(client, who), "settlements")  # type: ignore[misc]
    for file in tmp_path.glob("db.sqlite3*"):
        file.unlink()
    manage(tmp_path, "restore", str(backup))

    with embedded(tmp_path) as (platform, found):
        client = platforms(platform, found)
        listed = compare(tmp_path, platform)
        mended = compare(tmp_path, platform, "--mend")
        for each in (stranger, leaver):
            each.move_to(found["mall"])
        reached(stranger, "CLOSE")
        wait_for(lambda: client.order(leaver.number).refund_time, "the refund's confirmation")

        assert listed == [
            f"{leader.number}: sent, not complete there",
            f"{leaver.number}: given back here, paid there",
            f"{slow.number}: paid here, not paid there",
            f"{stranger.number}: paid here, unknown there",
            f"{friend.number}: sent, not complete there",
        ]
        assert mended == [
            f"{leader.number}: sent, not complete there: left as it is",
            f"{leaver.number}: given back here, paid there: given back there",
            f"{slow.number}: paid here, not paid there: settled again",
            f"{stranger.number}: paid here, unknown there: the money goes back",
            f"{friend.number}: sent, not complete there: left as it is",
        ]
        assert client.order(slow.number).trade_order_status is OrderStatus.PAID
        assert client.order(leaver.number).trade_order_status is OrderStatus.CLOSED
        answer = direct_session().get(f"{found['alipay']}/books", timeout=10).json()
        order = {row["trade_no"]: row["out_trade_no"] for row in answer["paid"]}
        returned = [order[row["trade_no"]] for row in answer["returned"]]
        assert sorted(returned) == sorted([leaver.number, stranger.number])
        assert compare(tmp_path, platform) == [listed[0], listed[-1]]


def platforms(url: str, found: dict[str, str]) -> Client:
    return Client(url, found["api_key"], source="s01", channel="c01", session=direct_session)


def reached(shopper: Shopper, status: str) -> None:
    wait_for(lambda: shopper.row()["status"] == status, f"{shopper.user_id}: {status}")


def is_paid(client: Client, shopper: Shopper) -> bool:
    return client.order(shopper.number).trade_order_status is OrderStatus.PAID


def manage(var_dir: Path, *command: str) -> None:
    environment = os.environ | EMBEDDED | {"VAR_DIR": str(var_dir)}
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)


def compare(var_dir: Path, platform: str, *options: str) -> list[str]:
    """Run the mall's command; return its lines that name an order."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "clients/python/src"),
        "NO_PROXY": "127.0.0.1",
        "MALL_DEMO": "on",
        "MALL_VAR_DIR": str(var_dir / "mall"),
        "MALL_PLATFORM_URL": platform,
        "MALL_CREDENTIALS": str(var_dir / "demo.json"),
    }
    command = [sys.executable, "examples/mall/manage.py", "compare", *options]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "differences are left" in run.stderr, run.stderr
    return [line for line in run.stdout.splitlines() if not line.endswith("notifications")]
