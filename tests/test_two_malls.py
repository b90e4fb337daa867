"""Two reference malls on one platform: the same shoppers buy in both, and no data gets mixed."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from groupbuy_client import Client, GroupBuyError
from tests.purchase import SUBSCRIPTION, buy_in_the_mall
from tests.stack import direct_session, embedded, second_mall

NUMBER = re.compile(r"^(\d{20}) of (mall-\w+): paid, complete, delivered(?: as the key (\S+))?$")


class Side:
    """One mall, after both of its shoppers have bought in a team."""

    def __init__(self, database: Path, addresses: dict[str, str], lines: list[str]) -> None:
        self.addresses = addresses
        self.team_id = re.findall(r"opens team (\d+)", lines[0])[0]
        found = [NUMBER.fullmatch(line) for line in lines[-2:]]
        self.orders = {match[1]: match[2] for match in found if match}
        self.keys = [match[3] for match in found if match]
        with closing(sqlite3.connect(database)) as connection:
            self.stored = {row[0] for row in connection.execute("SELECT number FROM mall_order")}
            received = connection.execute("SELECT payload FROM mall_received").fetchall()
            self.told = [json.loads(payload) for (payload,) in received]

    def books(self) -> Any:
        answer = direct_session().get(f"{self.addresses['alipay']}/books", timeout=10)
        return answer.json()

    def client(self, platform: str, source: str) -> Client:
        return Client(
            platform,
            self.addresses["api_key"],
            source=source,
            channel="c01",
            session=direct_session,
        )


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Side, Side]]:
    """The platform's URL, and both malls."""
    var_dir = tmp_path_factory.mktemp("malls")
    with embedded(var_dir) as (platform, first), second_mall(var_dir, platform) as second:
        second |= json.loads((var_dir / "demo-s03-c01.json").read_text("utf-8"))
        lines = [
            list(buy_in_the_mall(first["mall"])),
            list(buy_in_the_mall(second["mall"], SUBSCRIPTION)),
        ]
        yield (
            platform,
            Side(var_dir / "mall/mall.sqlite3", first, lines[0]),
            Side(var_dir / "mall2/mall.sqlite3", second, lines[1]),
        )


def test_each_mall_has_its_own_orders_money_and_notifications(
    sides: tuple[str, Side, Side],
) -> None:
    _platform, *both = sides

    for side, price in zip(both, ("47.92", "128.00"), strict=True):
        assert sorted(side.orders.values()) == ["mall-friend", "mall-leader"]
        assert side.stored == set(side.orders)
        paid = {row["out_trade_no"]: row["amount"] for row in side.books()["paid"]}
        assert paid == dict.fromkeys(side.orders, price)
        assert side.books()["returned"] == []
        assert [told["teamId"] for told in side.told] == [side.team_id]
        assert set(side.told[0]["outTradeNoList"]) == set(side.orders)


def test_only_the_second_mall_delivers_keys(sides: tuple[str, Side, Side]) -> None:
    _platform, first, second = sides

    assert first.keys == [None, None]
    assert len(set(second.keys)) == 2
    assert all(re.fullmatch(r"[0-9A-F]{4}(-[0-9A-F]{4}){4}", key) for key in second.keys)


def test_the_platform_shows_neither_mall_the_other(sides: tuple[str, Side, Side]) -> None:
    platform, first, second = sides

    for side, other, source in ((first, second, "s01"), (second, first, "s03")):
        client = side.client(platform, source)
        own = [event for event in client.events() if event.payload["teamId"] == side.team_id]
        assert len(own) == 1
        assert all(event.payload["teamId"] != other.team_id for event in client.events())
        assert client.team(side.team_id).complete_count == 2
        with pytest.raises(GroupBuyError, match="E0010"):
            client.team(other.team_id)
        with pytest.raises(GroupBuyError, match="E0104"):
            client.order(next(iter(other.orders)))


def test_a_key_is_valid_for_its_own_channel_only(sides: tuple[str, Side, Side]) -> None:
    platform, first, second = sides

    for side, source in ((first, "s03"), (second, "s01")):
        with pytest.raises(GroupBuyError, match="0403"):
            side.client(platform, source).trial(user_id="mall-leader", goods_id="9890101")
