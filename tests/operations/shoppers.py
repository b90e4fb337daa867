"""A light load on a platform behind nginx: shoppers who look, lock a seat and pay."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread

import requests

from groupbuy_client import Client, GroupBuyError, Seat
from tests.operations.edge import OFFER, PATIENCE, Edge
from tests.stack import wait_for

PAUSE = 0.1  # seconds; three shoppers stay below nginx's limit for an address


class Shoppers:
    def __init__(self, edge: Edge, client: Client, number: int = 3) -> None:
        self._edge, self._client, self._number = edge, client, number
        self._stop = Event()
        self.answers = 0
        self.failures: list[str] = []

    @contextmanager
    def buying(self) -> Iterator[None]:
        threads = [Thread(target=self._shop, args=(number,)) for number in range(self._number)]
        for each in threads:
            each.start()
        try:
            self.wait_for_more()
            yield
            self.wait_for_more()
        finally:
            self._stop.set()
            for each in threads:
                each.join(PATIENCE)

    def wait_for_more(self, number: int = 30) -> None:
        """Wait for this many more answers."""
        before = self.answers
        wait_for(lambda: self.answers >= before + number, "answers")

    def _shop(self, number: int) -> None:
        browser, turn = self._edge.session(), 0
        while not self._stop.wait(PAUSE):
            turn += 1
            self._try(lambda: self._look(browser))
            self._try(lambda name=f"{number}-{turn}": self._buy(name))  # type: ignore[misc]

    def _try(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except (requests.RequestException, GroupBuyError) as exc:
            self.failures.append(repr(exc))
        self.answers += 1

    def _look(self, browser: requests.Session) -> None:
        """Get a page with a cookie, so that it does not come from the cache."""
        cookie = {"Cookie": "shopper_x=y"}
        browser.get(self._edge.url + OFFER, headers=cookie, timeout=PATIENCE).raise_for_status()

    def _buy(self, name: str) -> None:
        lock(self._client, name)
        self._client.settle(user_id=name, out_trade_no=name, paid_at=datetime.now(UTC))


def lock(client: Client, name: str) -> Seat:
    """Open a team by a shopper and an order of this name."""
    return client.lock(
        user_id=name,
        goods_id="9890001",
        activity_id=100123,
        out_trade_no=name,
        notify_url="http://127.0.0.1:9/",
    )
