"""Alipay's protocol: what is signed, what verifies, and how its answers are read."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from django.core.management import CommandError, call_command
from django.utils import timezone

from mall import alipay, rsa2
from mall.alipay import AlipayError, ForgedError
from mall.models import Order
from pretend_alipay.__main__ import APP_ID, Alipay
from tests.conftest import Place, open_form, trade

NOON = datetime(2026, 1, 31, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai
pytestmark = pytest.mark.django_db


def test_the_text_that_a_request_signs() -> None:
    fields = {"method": "m", "biz_content": '{"a":"书 +&"}', "empty": "", "sign": "x",
              "sign_type": "RSA2"}  # fmt: skip
    assert rsa2.request_content(fields) == (
        'biz_content={"a":"书 +&"}&method=m&sign_type=RSA2'.encode()
    )


def test_the_text_that_a_notification_signs() -> None:
    fields = {"b": "2", "a": "", "sign": "x", "sign_type": "RSA2"}
    assert rsa2.notice_content(fields) == b"a=&b=2"


def test_signatures_agree_with_another_implementation() -> None:
    """The vector was signed by python-alipay-sdk 3.4.0: RSA2 has no random part."""
    directory = Path(__file__).parent / "vector"
    key = rsa2.private_key((directory / "private.pem").read_text())
    content = (directory / "content.txt").read_bytes()
    expected = (directory / "signature.txt").read_text().strip()
    assert rsa2.sign(content, key) == expected
    assert rsa2.is_signed(content, expected, key.public_key())
    assert not rsa2.is_signed(content + b" ", expected, key.public_key())
    assert not rsa2.is_signed(content, "not base64", key.public_key())


def test_the_payment_form(gateway: Alipay, settings: Any) -> None:
    form = alipay.pay_form(
        number="1", amount=Decimal("80"), subject="书 <b>", pay_by=NOON, return_url="r", now=NOON
    )

    assert form.action == f"{gateway.url}/gateway.do?charset=utf-8"
    assert form.fields["biz_content"] == (
        '{"out_trade_no": "1", "total_amount": "80.00", "subject": "书 <b>",'
        ' "product_code": "FAST_INSTANT_TRADE_PAY", "time_expire": "2026-01-31 12:00:00"}'
    )
    assert {name: form.fields[name] for name in ("app_id", "method", "timestamp")} == {
        "app_id": APP_ID,
        "method": "alipay.trade.page.pay",
        "timestamp": "2026-01-31 12:00:00",
    }
    assert form.fields["notify_url"] == f"{settings.MALL_URL}/api/v1/alipay/alipay_notify_url"
    posted = requests.post(form.action, data=form.fields, allow_redirects=False, timeout=5)
    assert (posted.status_code, posted.headers["Location"][:5]) == (302, "/pay/")


def test_a_trade_from_form_to_refund(gateway: Alipay, place: Place) -> None:
    order, now = place(), timezone.now()
    assert alipay.query(order.number, now=now) is None
    trade_no = open_form(gateway, order)
    found = alipay.query(order.number, now=now)
    assert (found and found.status, found and found.paid_at) == ("WAIT_BUYER_PAY", None)

    assert gateway.trades.pay(trade_no)
    assert not gateway.trades.pay(trade_no)
    found = alipay.query(order.number, now=now)
    assert found is not None
    assert (found.is_paid, found.amount, found.trade_no) == (True, Decimal("80.00"), trade_no)
    assert found.paid_at is not None
    with pytest.raises(AlipayError, match="REASON_TRADE_STATUS_INVALID"):
        alipay.close(order.number, now=now)

    request = {"trade_no": trade_no, "out_request_no": "r1"}
    assert not alipay.is_refunded(**request, now=now)
    for _ in range(2):  # the same number returns it once
        alipay.refund(**request, amount=Decimal("80"), now=now)
    assert alipay.is_refunded(**request, now=now)
    with pytest.raises(AlipayError, match="DISCORDANT"):
        alipay.refund(**request, amount=Decimal("70"), now=now)
    with pytest.raises(AlipayError, match="REFUND_AMT"):
        alipay.refund(trade_no=trade_no, out_request_no="r2", amount=Decimal("80"), now=now)
    assert [row["amount"] for row in gateway.trades.books()["returned"]] == ["80.00"]


def test_a_closed_trade_cannot_be_paid(gateway: Alipay, place: Place) -> None:
    order = place()
    trade_no = open_form(gateway, order)
    alipay.close(order.number, now=timezone.now())
    assert not gateway.trades.pay(trade_no)


def test_an_answer_signed_with_another_key_is_forged(
    gateway: Alipay, keys: Path, settings: Any, place: Place
) -> None:
    order = place()
    settings.ALIPAY_PUBLIC_KEY = (keys / "app_public.pem").read_text()
    with pytest.raises(ForgedError):
        alipay.query(order.number, now=timezone.now())


@pytest.mark.parametrize("sub_code", ["isv.invalid-app-id", "ACQ.TRADE_NOT_EXIST"])
def test_an_unsigned_refusal_is_an_error_without_a_code(
    sub_code: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but Alipay may say that a trade does not exist: its order would be closed."""
    order = place()
    refusal = {"code": "40002", "sub_code": sub_code, "sub_msg": "told"}
    answer = requests.Response()
    answer.status_code = 200
    answer._content = json.dumps({"alipay_trade_query_response": refusal}).encode()
    monkeypatch.setattr(requests, "post", lambda *_args, **_options: answer)

    with pytest.raises(AlipayError, match=f"unsigned: 40002 {sub_code} told") as caught:
        alipay.query(order.number, now=timezone.now())
    assert caught.value.code == ""


def test_an_unreachable_alipay_is_an_error(gateway: Alipay, settings: Any) -> None:
    settings.ALIPAY_GATEWAY = "http://127.0.0.1:1/gateway.do"
    with pytest.raises(AlipayError, match="no answer"):
        alipay.query("1", now=NOON)


def notice(gateway: Alipay, order: Order, **changes: str) -> bytes:
    paid = trade(order)
    fields = gateway.notices.fields(
        {"out_trade_no": paid.out_trade_no, "trade_no": paid.trade_no, "status": paid.status}
        | {"amount": str(paid.amount), "subject": "书 + & =", "paid_at": "2026-01-31 12:00:00"}
    )
    return urlencode(fields | changes).encode()


def test_a_notification_is_read_as_it_was_signed(gateway: Alipay, place: Place) -> None:
    fields = alipay.read_notice(notice(gateway, place()))
    assert (fields["subject"], fields["body"]) == ("书 + & =", "")  # an empty field counts
    assert alipay.trade_of(fields).paid_at == NOON


@pytest.mark.parametrize(
    "change",
    [
        {"total_amount": "0.01"},
        {"body": "x"},
        {"extra": "x"},
        {"sign": ""},
        {"sign": "AAAA"},
        {"sign_type": "RSA"},
        {"sign_type": "NONE"},
    ],
)
def test_a_changed_notification_is_forged(
    gateway: Alipay, place: Place, change: dict[str, str]
) -> None:
    with pytest.raises(ForgedError):
        alipay.read_notice(notice(gateway, place(), **change))


@pytest.mark.parametrize("body", [b"", b"x", b"\xff=1", b"a=1&a=2", b"%"])
def test_a_body_that_is_not_a_form_is_forged(gateway: Alipay, body: bytes) -> None:
    with pytest.raises(ForgedError):
        alipay.read_notice(body)


def test_a_repeated_field_is_forged(gateway: Alipay, place: Place) -> None:
    with pytest.raises(ForgedError):
        alipay.read_notice(notice(gateway, place()) + b"&total_amount=80.00")


def selftest() -> str:
    out = StringIO()
    call_command("alipay_selftest", stdout=out)
    return out.getvalue()


def test_the_self_test_passes_with_the_right_keys(gateway: Alipay) -> None:
    assert "All is well" in selftest()


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("ALIPAY_PRIVATE_KEY", "", "MALL_ALIPAY_PRIVATE_KEY is not an RSA private key"),
        ("ALIPAY_PRIVATE_KEY", "alipay_private", "MALL_ALIPAY_PUBLIC_KEY is the application's own"),
        ("ALIPAY_PRIVATE_KEY", "other_private", "MALL_ALIPAY_PRIVATE_KEY is wrong"),
        ("ALIPAY_PUBLIC_KEY", "", "MALL_ALIPAY_PUBLIC_KEY is not an RSA public key"),
        ("ALIPAY_PUBLIC_KEY", "app_public", "MALL_ALIPAY_PUBLIC_KEY is the application's own"),
        ("ALIPAY_PUBLIC_KEY", "other_public", "MALL_ALIPAY_PUBLIC_KEY is wrong"),
    ],
)
def test_the_self_test_names_the_wrong_key(
    gateway: Alipay, keys: Path, settings: Any, name: str, key: str, says: str
) -> None:
    vector = Path(__file__).parent / "vector"
    places = {"other_private": vector / "private.pem", "other_public": vector / "public.pem"}
    path = places.get(key, keys / f"{key}.pem")
    setattr(settings, name, path.read_text() if key else "")
    with pytest.raises(CommandError, match=says):
        selftest()


def test_the_self_test_names_a_wrong_app(gateway: Alipay, settings: Any) -> None:
    settings.ALIPAY_APP_ID = "1"
    with pytest.raises(CommandError, match=r"unsigned: \S+ isv\.invalid-app-id"):
        selftest()


def test_the_pretend_alipay_refuses_unsigned_and_unknown(gateway: Alipay) -> None:
    for app_id, code in (("1", "isv.invalid-app-id"), (APP_ID, "isv.invalid-signature")):
        fields = {"method": "m", "app_id": app_id}
        answer = requests.post(f"{gateway.url}/gateway.do", data=fields, timeout=5)
        assert code in answer.text
    assert requests.get(f"{gateway.url}/pay/1", timeout=5).status_code == 404
    wrong = requests.post(f"{gateway.url}/knobs", data={"falsify": "x"}, timeout=5)
    assert wrong.status_code == 400
