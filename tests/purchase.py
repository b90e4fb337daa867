"""The last part of make demo: two shoppers buy in a reference mall by the old pages' calls."""

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.stack import direct_session, wait_for


class Product(NamedTuple):
    """An offer in teams of two."""

    goods_id: str
    activity_id: int


COFFEE, SUBSCRIPTION = Product("9890002", 100124), Product("9890101", 100201)


class Shopper:
    def __init__(self, user_id: str, mall: str, product: Product) -> None:
        self.user_id, self.number = user_id, ""
        self._product = product
        self._browser = direct_session()
        self.move_to(mall)

    def move_to(self, mall: str) -> None:
        """Use another URL of the mall from now on."""
        self._api = f"{mall}/api/v1/alipay"

    def order(self, team_id: str | None) -> None:
        self.pay(self.place(team_id))

    def place(self, team_id: str | None) -> str:
        """Place an order; return the payment form."""
        goods_id, activity_id = self._product
        form = self._post(
            "create_pay_order",
            productId=goods_id,
            activityId=activity_id,
            teamId=team_id,
            marketType=1,
        )
        self.number = self.row()["orderId"]
        return str(form)

    def pay(self, form: str) -> None:
        """Post the mall's payment form, and confirm on the pretend Alipay's page."""
        [action] = re.findall(r'action="(.*?)"', form)
        inputs = re.findall(r'name="(\w+)" value="(.*?)"', form)
        posted = {name: html.unescape(value) for name, value in inputs}
        page = self._browser.post(html.unescape(action), data=posted, timeout=10)
        self._browser.post(page.url, timeout=10, allow_redirects=False).raise_for_status()

    def give_back(self) -> None:
        self._post("refund_order", orderId=self.number)

    def row(self) -> Any:
        """The order as the mall's list shows it."""
        [row] = self._post("query_user_order_list", lastId=None, pageSize=10)["orderList"]
        return row

    def _post(self, name: str, **fields: Any) -> Any:
        body = fields | {"userId": self.user_id}
        answer = self._browser.post(f"{self._api}/{name}", json=body, timeout=10).json()
        if answer["code"] != "0000":
            raise RuntimeError(f"the mall answers {answer}")
        return answer["data"]


def buy_in_the_mall(mall: str, product: Product = COFFEE) -> Iterator[str]:
    """Play a purchase and yield a line for each step. Raises if a step goes wrong."""
    leader, friend = (Shopper(name, mall, product) for name in ("mall-leader", "mall-friend"))
    leader.order(None)
    wait_for(lambda: leader.row()["status"] == "PAY_SUCCESS", "the leader's payment")
    row = leader.row()
    yield f"mall-leader opens team {row['teamId']} and pays {row['payAmount']} with Alipay"
    friend.order(row["teamId"])
    yield "mall-friend joins it and pays"
    for shopper in (leader, friend):
        wait_for(lambda who=shopper: who.row()["status"] == "DEAL_DONE", "the goods")  # type: ignore[misc]
        key = shopper.row()["key"]
        yield (
            f"{shopper.number} of {shopper.user_id}: paid, complete, delivered"
            + (f" as the key {key}" if key else "")
        )
