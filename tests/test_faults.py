"""Bodies that are read or refused, each with the envelope."""

import gzip
import json
from codecs import BOM_UTF8
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from groupbuy.bodies import MAX_BODY
from tests.factories import NOW, make_activity
from tests.test_wire import LOCK, lock_body
from trade.models import Order, Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
JSON = "application/json"


@pytest.fixture
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def text_of(user_id: str = "xiaofuge") -> bytes:
    return json.dumps(lock_body(user_id, goodsName="书"), ensure_ascii=False).encode()


def envelope(response: Any) -> tuple[int, str, str]:
    """Status, code and info of an envelope, which must be all there is."""
    body = json.loads(response.content)
    assert response["Content-Type"] == JSON
    assert response.get("Content-Length", str(len(response.content))) == str(len(response.content))
    assert set(body) == {"code", "info", "data"}
    assert body["data"] is None
    return response.status_code, body["code"], body["info"]


@pytest.mark.parametrize("content_type", [JSON, f"{JSON}; charset=UTF8", f'{JSON};charset="ascii"'])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", text_of()),
        ("identity", BOM_UTF8 + text_of()),
        ("gzip", gzip.compress(text_of())),
        ("x-gzip", gzip.compress(BOM_UTF8 + text_of())),
        ("GZip", gzip.compress(text_of())),
    ],
)
def test_gzip_and_a_byte_order_mark_are_read(
    mall: APIClient, coding: str, body: bytes, content_type: str
) -> None:
    make_activity()

    response = mall.post(
        LOCK, body, content_type=content_type, headers={"Content-Encoding": coding}
    )

    assert (response.status_code, response.json()["code"]) == (200, "0000")
    assert Order.objects.get().user_id == "xiaofuge"


@pytest.mark.parametrize(
    ("headers", "body", "status", "detail"),
    [
        ({"Content-Encoding": "gzip"}, text_of(), 400, "Content-Encoding: the body is not gzip"),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(text_of())[:-1],
            400,
            "Content-Encoding: the body is not gzip",
        ),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(text_of()) + b"{}",
            400,
            "Content-Encoding: the body is not gzip",
        ),
        (
            {"Content-Encoding": "gzip"},
            gzip.compress(text_of() + b" " * 50_000_000),
            413,
            "the body is larger than 64 KiB",
        ),
        ({}, text_of() + b" " * MAX_BODY, 413, "the body is larger than 64 KiB"),
        (
            {"Content-Encoding": "br"},
            text_of(),
            415,
            "Content-Encoding: br is not supported, only gzip",
        ),
        (
            {"Content-Encoding": "gzip, gzip"},
            text_of(),
            415,
            "Content-Encoding: gzip, gzip is not supported, only gzip",
        ),
        (
            {"Content-Type": f"{JSON};charset=gbk"},
            text_of().decode().encode("gbk"),
            415,
            "Content-Type: charset gbk is not supported, only UTF-8",
        ),
        (
            {"Content-Type": f"{JSON};charset=klingon"},
            text_of(),
            415,
            "Content-Type: charset klingon is not supported, only UTF-8",
        ),
        ({}, BOM_UTF8 + BOM_UTF8 + text_of(), 400, "the body is not JSON"),
        ({}, text_of().decode().encode("gbk"), 400, "the body is not JSON"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    mall: APIClient, headers: dict[str, str], body: bytes, status: int, detail: str
) -> None:
    make_activity()
    headers = {"Content-Type": JSON, "Accept-Language": "en"} | headers

    response = mall.post(LOCK, body, content_type=headers.pop("Content-Type"), headers=headers)

    assert envelope(response) == (status, "0002", f"Illegal parameter: {detail}")
    assert (Team.objects.count(), Order.objects.count()) == (0, 0)
