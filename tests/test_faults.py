"""Bodies that are refused, and faults below /api/ that no view answers: all have the envelope."""

import gzip
import json
from codecs import BOM_UTF8
from typing import Any

import pytest
import time_machine
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.middleware.common import CommonMiddleware
from django.test import Client
from rest_framework.test import APIClient

from groupbuy.bodies import FAULT, MAX_BODY, BodyError, BodyFault
from tests.factories import NOW, make_activity
from tests.test_wire import INDEX, LOCK, TRIAL, lock_body
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


# --- bodies ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, text_of()),
        ({"Content-Encoding": "br"}, text_of()),
        ({}, text_of() + b" " * MAX_BODY),
        ({"Content-Type": f"{JSON};charset=klingon"}, text_of()),
        ({}, b"{"),
    ],
)
def test_a_wrong_key_is_refused_before_an_unreadable_body(
    headers: dict[str, str], body: bytes
) -> None:
    """Mutation: access.py lets the errors of the body, which it reads for its line of log, out."""
    headers = {"Content-Type": JSON, "Authorization": "Bearer gbm_0_0"} | headers

    response = APIClient().post(
        LOCK, body, content_type=headers.pop("Content-Type"), headers=headers
    )

    assert envelope(response)[:2] == (401, "0401")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (BodyFault.CUT_OFF, (400, "0002", "非法参数: 请求体不完整或已损坏")),
        (BodyFault.SLOW, (408, "0004", "更新记录为0: 请求体未能及时到达，请重新发送")),
        (BodyFault.TOO_LARGE, (413, "0002", "非法参数: 请求体超过 64 KiB")),
    ],
)
def test_a_body_that_the_server_could_not_read_reaches_no_view(
    mall: APIClient, fault: BodyFault, expected: tuple[int, str, str]
) -> None:
    make_activity()

    response = mall.post(LOCK, lock_body(), format="json", **{FAULT: BodyError(fault)})  # type: ignore[arg-type]

    assert envelope(response) == expected
    assert Order.objects.count() == 0


def test_the_console_reads_the_same_fault_as_text(client: Client) -> None:
    fault = {FAULT: BodyError(BodyFault.UPLOAD_TOO_LARGE)}

    response = client.post("/admin/", headers={"Accept-Language": "en"}, **fault)  # type: ignore[arg-type]

    assert (response.status_code, response["Content-Type"]) == (413, "text/plain")
    assert response.content == b"the upload is larger than 32 MiB"


# --- faults that no view answers ------------------------------------------------------------


@pytest.mark.parametrize("host", ["shop.example", "a,127.0.0.1", "127.0.0.1/x", "[::1", "a b", ""])
def test_a_wrong_host(mall: APIClient, host: str) -> None:
    make_activity()

    response = mall.post(
        LOCK, lock_body(), format="json", HTTP_HOST=host, SERVER_NAME="shop.example"
    )

    assert envelope(response) == (400, "0002", "非法参数: Host: 不是本平台的域名")
    assert Order.objects.count() == 0


def test_a_wrong_host_below_other_paths_has_a_page(client: Client) -> None:
    response = client.get("/", headers={"Host": "shop.example"})

    assert (response.status_code, response["Content-Type"]) == (400, "text/html; charset=utf-8")


@pytest.mark.parametrize("error", [RequestDataTooBig, SuspiciousOperation])
def test_a_request_that_django_finds_suspicious(
    mall: APIClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def suspicious(*args: Any, **kwargs: Any) -> None:
        raise error("secret")

    monkeypatch.setattr("trade.views.lock_order", suspicious)
    make_activity()

    response = mall.post(LOCK, lock_body(), format="json", headers={"Accept-Language": "en"})

    assert envelope(response) == (400, "0002", "Illegal parameter: the request is malformed")


@pytest.mark.parametrize("debug", [True, False])
def test_a_bug_in_middleware(
    mall: APIClient, monkeypatch: pytest.MonkeyPatch, settings: Any, *, debug: bool
) -> None:
    settings.DEBUG = debug
    monkeypatch.setattr(CommonMiddleware, "process_request", lambda *a: 1 / 0)
    mall.raise_request_exception = False

    assert envelope(mall.post(TRIAL, {}, format="json")) == (500, "0001", "未知失败")


def test_the_embedded_stack_refuses_other_machines(settings: Any) -> None:
    at = settings.MIDDLEWARE.index("groupbuy.faults.envelope_faults") + 1
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:at],
        "groupbuy.embedded.loopback_only",
        *settings.MIDDLEWARE[at:],
    ]

    response = APIClient().post(TRIAL, {}, format="json", REMOTE_ADDR="10.0.0.1")

    status, code, info = envelope(response)
    assert (status, code) == (403, "0403")
    assert "This is the embedded stack" in info


def test_a_fault_keeps_its_headers(client: APIClient, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example"]
    headers = {"Origin": "https://shop.example", "Host": "shop.example"}

    response = client.post(INDEX, {}, format="json", headers=headers)

    assert envelope(response)[0] == 400
    assert response["Access-Control-Allow-Origin"] == "https://shop.example"


@pytest.mark.parametrize(
    "path",
    [
        "/api/%00",
        "/api/%FF%FE",
        "/api/%0d%0aX",
        "/api/" + "x" * 5000,
        "/api//v1/gbm/trade/trial",
        "/api/v1/gbm/trade/../trial",
        "/api/v1/gbm/trade/orders/%00",
        "/api/v1/gbm/trade/teams/%FF",
    ],
)
def test_any_path_and_method(mall: APIClient, path: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS", "TRACE", "NONSENSE"):
        status, code, _info = envelope(mall.generic(method, path, "", JSON))
        assert (status, code) in [(404, "0002"), (405, "0002"), (200, "E0104"), (200, "E0010")]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "http://["),
        ("Origin", "\x00"),
        ("Accept-Language", "\x00" * 600),
        ("Cookie", "sessionid=\xff; =;;"),
        ("X-Forwarded-For", "not an address"),
        ("X-Forwarded-Host", "shop.example"),
        ("Authorization", "Bearer \xff\x00"),
        ("Content-Length", "x"),
        ("Accept", "\xff"),
    ],
)
def test_any_header(client: APIClient, header: str, value: str) -> None:
    client.raise_request_exception = False

    response = client.post(INDEX, {}, format="json", headers={header: value})

    assert envelope(response)[:2] == (200, "0002")
