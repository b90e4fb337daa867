"""Fixtures: a mall with one article and one shopper, a stub platform, and a pretend Alipay."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from groupbuy_client import read_notification
from mall import alipay, buying, callbacks, work
from mall.alipay import Trade
from mall.buying import Wish
from mall.keys import make_demo_keys
from mall.models import Goods, Message, Order, Shopper
from pretend_alipay.__main__ import APP_ID, SELLER_ID, Alipay
from tests.platform import ACTIVITY, Platform

Place = Callable[..., Order]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert str(address[0]).startswith("127."), f"a test tried to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def _callbacks_by_http(settings: Any) -> None:
    """Only tests/test_rabbitmq.py uses RabbitMQ."""
    settings.AMQP_URL = ""


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    cache.clear()


@pytest.fixture
def _time_stands() -> Iterator[None]:
    """For tests of what is due in some seconds. Name it before all that takes time."""
    with time_machine.travel(timezone.now(), tick=False):
        yield


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    make_demo_keys(directory)
    return directory


@pytest.fixture
def platform(settings: Any) -> Iterator[Platform]:
    server = Platform()
    settings.PLATFORM_URL = server.url
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def gateway(settings: Any, keys: Path, tmp_path: Path) -> Iterator[Alipay]:
    """The pretend Alipay. It sends no notifications unless a test changes its knobs."""
    for name in ("alipay_private.pem", "app_public.pem"):
        (tmp_path / name).write_text((keys / name).read_text())
    server = Alipay(0, tmp_path)
    server.notices.knobs.lose = True
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    settings.ALIPAY_GATEWAY = f"{server.url}/gateway.do"
    settings.ALIPAY_APP_ID, settings.ALIPAY_SELLER_ID = APP_ID, SELLER_ID
    settings.ALIPAY_PRIVATE_KEY = (keys / "app_private.pem").read_text()
    settings.ALIPAY_PUBLIC_KEY = (keys / "alipay_public.pem").read_text()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def goods(db: None) -> Goods:
    return Goods.objects.create(goods_id="9890001", name="a book", price=Decimal("100.00"))


@pytest.fixture
def shopper(db: None) -> Shopper:
    return Shopper.objects.create(user_id="xiaofuge")


@pytest.fixture
def visitor(db: None) -> Client:
    return Client(headers={"Accept-Language": "en"})


@pytest.fixture
def browser(shopper: Shopper) -> Client:
    """An English browser in which the shopper is logged in."""
    client = Client(headers={"Accept-Language": "en"})
    log_in(client, shopper)
    return client


@pytest.fixture
def place(platform: Platform, gateway: Alipay, goods: Goods, shopper: Shopper) -> Place:
    """Places an order that waits for its payment, in a team or alone."""

    def placed(
        kind: Order.Kind = Order.Kind.TEAM, *, team_id: str = "", who: Shopper = shopper
    ) -> Order:
        activity = ACTIVITY if kind == Order.Kind.TEAM else None
        return buying.place(Wish(who, goods, kind, activity, team_id), now=timezone.now())

    return placed


@pytest.fixture
def paid(place: Place, gateway: Alipay, platform: Platform) -> Order:
    """An order in a team, paid and settled."""
    order = place()
    pay(gateway, order)
    run_loop(timedelta(seconds=31))
    order.refresh_from_db()
    assert (order.status, order.settled_at is not None) == (Order.Status.PAY_SUCCESS, True)
    platform.calls.clear()
    return order


def log_in(client: Client, shopper: Shopper) -> None:
    session = client.session
    session["shopper"] = shopper.pk
    session.save()


def text(client: Client, path: str, expected: int = 200, /, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == expected
    return answer.content.decode()


def open_form(gateway: Alipay, order: Order) -> str:
    """Post the payment form as a browser does; return Alipay's number of the trade."""
    form = buying.pay_form(order, now=timezone.now())
    assert form.fields["method"] == "alipay.trade.page.pay"
    return submit(gateway, order)


def submit(gateway: Alipay, order: Order) -> str:
    """Post a form of this order that was made earlier; return Alipay's number of the trade."""
    gateway.trades.open(
        {"notify_url": "", "return_url": ""}
        | {"out_trade_no": order.number, "total_amount": str(order.amount), "subject": "a book"}
        | {"time_expire": alipay.local(order.pay_by or timezone.now())}
    )
    return str(gateway.trades.find(out_trade_no=order.number)["trade_no"])


def pay(gateway: Alipay, order: Order) -> str:
    trade_no = open_form(gateway, order)
    assert gateway.trades.pay(trade_no)
    return trade_no


def trade(order: Order, trade_no: str = "2026", amount: str = "80.00") -> Trade:
    """A paid trade, as Alipay reports it."""
    return Trade(order.number, trade_no, "TRADE_SUCCESS", Decimal(amount), timezone.now())


def run_loop(after: timedelta = timedelta(0)) -> datetime:
    """Run the loop at this much later than now until nothing is due; return that time."""
    now = timezone.now() + after
    while work.work(now=now, clock=lambda: now):
        pass
    return now


def notify(payload: dict[str, Any], key: str = "n1") -> bool:
    notification = read_notification(key, json.dumps(payload))
    return callbacks.apply(notification, payload, via="http", now=timezone.now())


def kinds() -> list[str]:
    return list(Message.objects.order_by("pk").values_list("kind", flat=True))


def books(gateway: Alipay) -> list[str]:
    return [row["out_request_no"] for row in gateway.trades.books()["returned"]]
