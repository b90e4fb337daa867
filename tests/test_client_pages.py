"""The Python client's links to the shopper pages, followed on the platform."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client as Browser

from groupbuy.models import Channel
from groupbuy_client import Pages
from tests.factories import GOODS, NOW, make_activity, make_channel
from tests.pages.scenes import ME, offer_at, team_at
from trade.models import Order

README = Path(__file__).parent.parent / "clients/python/README.md"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def pages_of(channel: Channel, **options: Any) -> Pages:
    return Pages(
        "https://platform.example.com/",
        channel.page_secret,
        source=channel.source,
        channel=channel.channel,
        **options,
    )


def follow(browser: Browser, url: str) -> Any:
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "platform.example.com")
    return browser.get(f"{parts.path}?{parts.query}", headers={"Accept-Language": "en"})


@pytest.mark.parametrize("user_id", ["wang=小明 &", "a/b\\c?d#e%41+f"])
def test_a_handover_opens_a_session_once(user_id: str) -> None:
    pages = pages_of(make_channel())
    url, browser = pages.handover_url(user_id, pages.orders_path()), Browser()

    entered = follow(browser, url)

    assert (entered.status_code, entered["Location"]) == (303, "/my/s01/c01")
    assert browser.get("/my/s01/c01").status_code == 200
    assert follow(Browser(), url).status_code == 403


@pytest.mark.parametrize(("after", "status"), [(59, 303), (60, 403)])
def test_a_handover_is_valid_for_as_long_as_asked(after: int, status: int) -> None:
    url = pages_of(make_channel(), valid_for=timedelta(minutes=1)).handover_url("wang")

    with time_machine.travel(NOW + timedelta(seconds=after), tick=False):
        assert follow(Browser(), url).status_code == status


@pytest.mark.parametrize(("ahead", "status"), [(30, 303), (31, 403)])
def test_the_longest_handover_allows_for_a_difference_between_the_clocks(
    ahead: int, status: int
) -> None:
    channel = make_channel()
    with time_machine.travel(NOW + timedelta(seconds=ahead), tick=False):  # the mall's clock
        url = pages_of(channel, valid_for=timedelta(minutes=15)).handover_url("wang")

    assert follow(Browser(), url).status_code == status


def test_the_paths_lead_to_their_pages() -> None:
    offer_at(NOW)
    channel = make_channel()
    team_at(NOW, ME)
    pages, browser = pages_of(channel), Browser()
    follow(browser, pages.handover_url(ME))
    order = Order.objects.get()

    for path in (pages.offers_path(), pages.offer_path(GOODS), pages.orders_path()):
        assert browser.get(path).status_code == 200
    for paid, query in ((False, ""), (True, "?paid=1")):
        found = browser.get(pages.order_path(order.out_trade_no, paid=paid))
        assert (found.status_code, found["Location"]) == (302, f"/t/{order.code}/order{query}")


@pytest.mark.parametrize("goods_id", ["a/b", "~1", "../x", "a?b#c", "商品 #1"])
def test_every_goods_id_is_one_segment(goods_id: str) -> None:
    channel = make_channel()
    make_activity(goods_id=goods_id)

    page = Browser().get(pages_of(channel).offer_path(goods_id))

    assert page.status_code == 200


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"secret": "whsec_AAAA"}, "secret"),
        ({"valid_for": timedelta(minutes=16)}, "valid_for"),
        ({"valid_for": timedelta(0)}, "valid_for"),
    ],
)
def test_a_wrong_argument_is_named(changed: dict[str, Any], field: str) -> None:
    arguments: dict[str, Any] = {"secret": "gbp_a", "source": "s01", "channel": "c01"}

    with pytest.raises(ValueError, match=f"^{field}: "):
        Pages("https://platform.example.com", **arguments | changed)


def test_only_a_path_can_be_shown() -> None:
    with pytest.raises(ValueError, match=r"^to: "):
        pages_of(make_channel()).handover_url("wang", "https://evil.example.com/")


def test_a_handover_needs_the_secret() -> None:
    pages = Pages("https://platform.example.com", source="s01", channel="c01")

    with pytest.raises(ValueError, match=r"^secret: "):
        pages.handover_url("wang")
    assert pages.offers_path() == "/o/s01/c01"


def test_the_readmes_code_hands_a_shopper_over() -> None:
    channel = make_channel()
    [code] = [
        each
        for each in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S)
        if "Pages(" in each
    ]
    names: dict[str, Any] = {"redirect": lambda url: url}
    exec(code.replace("gbp_your_secret", channel.page_secret), names)  # noqa: S102  our own README

    assert follow(Browser(), names["my_group_orders"]("wang"))["Location"] == "/my/s01/c01"
