"""The examples of the documents work, such as the receiver of the integration guide."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.test import Client
from django.utils.translation import override

from groupbuy.errors import ErrorCode
from pages.handover import read_link
from tests.checks import failure, send
from tests.factories import known_channel, make_channel, make_promise
from tests.stack import wait_for
from trade.invariants import INVARIANTS
from trade.models import NotifyTask

ROOT = Path(__file__).parent.parent
DOCS, CLIENT = ROOT / "docs", ROOT / "clients/python/src"
pytestmark = pytest.mark.django_db


def _examples(guide: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text("utf-8"), re.S)


@pytest.fixture(params=["integration.md", "integration.zh-CN.md"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The guide's example, running with the channel's secret: its URL and what it prints."""
    [code] = [each for each in _examples(request.param) if "make_server" in each]
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    secret = make_channel().webhook_secret
    code = code.replace("whsec_your_secret", secret).replace("9000", str(port))
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(CLIENT)},
            stdout=out,
            stderr=subprocess.DEVNULL,
        )
    with socket.socket() as probe:
        wait_for(lambda: not probe.connect_ex(("127.0.0.1", port)), "the guide's receiver")
    yield f"http://127.0.0.1:{port}/", printed
    process.kill()
    process.wait()


def test_the_guides_receiver_takes_each_notification_once(receiver: tuple[str, Path]) -> None:
    url, printed = receiver
    success = make_promise(target=url, payload='{"teamId":"1","outTradeNoList":["a","b"]}')
    refund, release = refund_of("a", "paid_formed", url), refund_of("b", "unpaid_unlock", url)

    for task in (release, refund, success, success, refund):
        assert send(task) == 200
    assert failure(forged(success)).status_code == 500

    assert printed.read_text().splitlines() == [
        "return the money of a",
        "ship ['b']",
    ]


def refund_of(out_trade_no: str, kind: str, url: str) -> NotifyTask:
    ids = {"userId": "u", "teamId": "1", "orderId": "2", "activityId": 100123}
    payload = json.dumps({"type": kind, "outTradeNo": out_trade_no, **ids})
    return make_promise(f"team_refund-{out_trade_no}-{kind}", target=url, payload=payload)


def forged(task: NotifyTask) -> NotifyTask:
    """The same notification, signed with the secret of another channel."""
    task.channel = make_channel("other", "mall")
    return task


def test_both_guides_show_the_same_receiver_and_every_code() -> None:
    texts = [(DOCS / f"integration{kind}.md").read_text("utf-8") for kind in ("", ".zh-CN")]

    assert _examples("integration.md") == _examples("integration.zh-CN.md")
    for text in texts:
        assert set(re.findall(r"`(E?0\d{3})`", text)) == {error.code for error in ErrorCode}


def test_the_architecture_lists_every_invariant() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8").replace("`", "")
    [listed] = re.findall(r"## What always holds\n(.*?)\n## ", page, re.S)
    with override("en"):
        sentences = [str(each.sentence) for each in INVARIANTS]
    numbers, texts = zip(*(each.split(". ", 1) for each in sentences), strict=True)
    assert re.findall(r"^(\d+)\. ", listed, re.M) == sorted(set(numbers), key=int)
    for text in texts:
        assert text in " ".join(listed.split())


def test_the_guides_quote_the_reference_mall_as_it_is() -> None:
    quote = r"\[`\w+\.py`\]\(\.\./(examples/mall/[\w/]+\.py)\) `(\w+)`:\n\n```python\n(.*?)```"
    for kind in ("", ".zh-CN"):
        quotes = re.findall(quote, (DOCS / f"integration{kind}.md").read_text("utf-8"), re.S)
        assert [name for _path, name, _code in quotes] == ["apply", "_let_go", "_settle"]
        for path, name, code in quotes:
            assert code.startswith(f"def {name}(")
            assert f"\n\n{code}" in (ROOT / path).read_text("utf-8")


def test_the_guides_hand_over_opens_a_session() -> None:
    channel = make_channel(checkout_url="https://mall.example.com/buy")
    [code] = [each for each in _examples("integration.md") if "handover_url" in each]
    names: dict[str, Any] = {}
    exec(code.replace("gbp_your_secret", channel.page_secret), names)  # noqa: S102  it is ours

    url = urlsplit(names["handover_url"]("wang=小明 &"))

    client = Client(headers={"Accept-Language": "en"})
    entered = client.get(f"{url.path}?{url.query}")
    assert (entered.status_code, entered["Location"]) == (303, "/my/s01/c01")
    assert "You are wa***&amp;" in client.get("/my/s01/c01").content.decode()


def test_the_guides_signed_link_is_right() -> None:
    make_channel(page_secret="gbp_your_secret")
    text = (DOCS / "integration.md").read_text("utf-8")
    [link] = re.findall(r"^(/h/s01/c01\?[^\n]*\n\s+&sign=\w+)$", text, re.M)
    query = dict(parse_qsl(urlsplit(re.sub(r"\s", "", link)).query))

    read = read_link(known_channel(), query, now=datetime.fromtimestamp(1795700000 - 60, UTC))

    assert (read.user_id, read.to) == ("xiaofuge", "/my/s01/c01")
