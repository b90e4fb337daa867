"""Alipay's protocol (支付宝): the payment form, query, close, refund, and notifications.

Every request is signed with the application's key. The signature of an answer covers the exact text
of its first value; that of a notification covers the decoded form. Times are in Shanghai's zone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import requests
from django.conf import settings

from mall import rsa2

SHANGHAI = ZoneInfo("Asia/Shanghai")
MOMENT = "%Y-%m-%d %H:%M:%S"
TIMEOUT = 10  # seconds
DONE = "10000"
PAID = ("TRADE_SUCCESS", "TRADE_FINISHED")
NO_TRADE = "ACQ.TRADE_NOT_EXIST"  # the shopper has not opened the form yet


class AlipayError(Exception):
    """Alipay refused a call or did not answer readably, or one of our keys is wrong."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code  # sub_code, e.g. ACQ.TRADE_NOT_EXIST


class ForgedError(AlipayError):
    """A message without a valid signature of Alipay's."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form that a browser posts to Alipay to pay."""

    action: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trade:
    out_trade_no: str
    trade_no: str
    status: str
    amount: Decimal
    paid_at: datetime | None

    @property
    def is_paid(self) -> bool:
        return self.status in PAID


def pay_form(
    *, number: str, amount: Decimal, subject: str, pay_by: datetime, return_url: str, now: datetime
) -> Form:
    """alipay.trade.page.pay. Alipay accepts no payment for the form after pay_by."""
    content = {
        "out_trade_no": number,
        "total_amount": f"{amount:.2f}",
        "subject": subject,
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "time_expire": local(pay_by),
    }
    more = {"return_url": return_url, "notify_url": notify_url()}
    return Form(
        f"{settings.ALIPAY_GATEWAY}?charset=utf-8",
        _signed("alipay.trade.page.pay", content, now, more),
    )


def query(number: str, *, now: datetime) -> Trade | None:
    """alipay.trade.query. None if the shopper has not opened the form yet. Raises AlipayError."""
    try:
        answer = _call("alipay.trade.query", {"out_trade_no": number}, now)
    except AlipayError as error:
        if error.code == NO_TRADE:
            return None
        raise
    return _trade(answer, paid_at="send_pay_date")


def close(number: str, *, now: datetime) -> None:
    """alipay.trade.close: an unpaid trade cannot be paid afterwards. Raises AlipayError."""
    _call("alipay.trade.close", {"out_trade_no": number}, now)


def refund(*, trade_no: str, amount: Decimal, out_request_no: str, now: datetime) -> None:
    """alipay.trade.refund. A repeat with the same out_request_no moves no money."""
    content = {
        "trade_no": trade_no,
        "refund_amount": f"{amount:.2f}",
        "out_request_no": out_request_no,
    }
    _call("alipay.trade.refund", content, now)


def is_refunded(*, trade_no: str, out_request_no: str, now: datetime) -> bool:
    """alipay.trade.fastpay.refund.query. Its `code` only means that the query worked."""
    content = {"trade_no": trade_no, "out_request_no": out_request_no}
    answer = _call("alipay.trade.fastpay.refund.query", content, now)
    return answer.get("refund_status") == "REFUND_SUCCESS"


def read_notice(body: bytes) -> dict[str, str]:
    """The decoded form of a notification. Raises ForgedError unless Alipay signed it.

    Takes the body as received: a framework's parsed form drops repeated fields, and may drop empty
    ones.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True,
                          errors="strict", max_num_fields=100)  # fmt: skip
    except ValueError as exc:
        raise ForgedError(f"not a form: {exc}") from exc
    fields = dict(pairs)
    if len(fields) != len(pairs) or fields.get("sign_type") != "RSA2":
        raise ForgedError("a field is repeated, or the signature is not RSA2")
    if not rsa2.is_signed(rsa2.notice_content(fields), fields.get("sign", ""), _public_key()):
        raise ForgedError("the signature is not Alipay's")
    return fields


def trade_of(notice: Mapping[str, str]) -> Trade:
    """The trade that a notification describes. Raises AlipayError for missing or wrong fields."""
    return _trade(notice, paid_at="gmt_payment")


def notify_url() -> str:
    return f"{settings.MALL_URL}/api/v1/alipay/alipay_notify_url"


def local(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime(MOMENT)


def _call(method: str, content: Mapping[str, str], now: datetime) -> dict[str, Any]:
    try:
        response = requests.post(
            settings.ALIPAY_GATEWAY,
            params={"charset": "utf-8"},
            data=_signed(method, content, now, {}),
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        response.raise_for_status()
        text = response.content.decode("utf-8")
    except (requests.RequestException, UnicodeDecodeError) as exc:
        raise AlipayError(f"no answer from Alipay: {exc}") from exc
    answer = _read_answer(text, method)
    if answer.get("code") != DONE:
        raise AlipayError(_reason(answer), str(answer.get("sub_code", "")))
    return answer


def _read_answer(text: str, method: str) -> dict[str, Any]:
    """The answer's value; its signature is verified over the value's exact text.

    Alipay signs no refusal of its gateway, such as that of an unknown app id.
    """
    name = f'"{method.replace(".", "_")}_response"'
    try:
        start = text.index(":", text.index(name)) + 1
        start += len(text[start:]) - len(text[start:].lstrip())
        value, end = json.JSONDecoder().raw_decode(text, start)
        signature = json.loads(text).get("sign", "")
    except ValueError as exc:
        raise AlipayError(f"an answer that is not readable: {text[:200]}") from exc
    if not signature and isinstance(value, dict) and value.get("code") != DONE:
        # No code: anybody may have written it, so it must not pass for a TRADE_NOT_EXIST.
        raise AlipayError(f"unsigned: {_reason(value)}")
    if not rsa2.is_signed(text[start:end].encode(), signature, _public_key()):
        raise ForgedError("the answer's signature is not Alipay's")
    if not isinstance(value, dict):
        raise AlipayError("an answer that is not an object")
    return value


def _reason(answer: Mapping[str, Any]) -> str:
    told = answer.get("sub_msg") or answer.get("msg")
    return f"{answer.get('code')} {answer.get('sub_code', '')} {told}"


def _signed(
    method: str, content: Mapping[str, str], now: datetime, more: Mapping[str, str]
) -> dict[str, str]:
    fields = {
        "app_id": settings.ALIPAY_APP_ID,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": local(now),
        "version": "1.0",
        "biz_content": json.dumps(content, ensure_ascii=False),
        **more,
    }
    try:
        key = rsa2.private_key(settings.ALIPAY_PRIVATE_KEY)
    except ValueError as exc:
        raise AlipayError(f"MALL_ALIPAY_PRIVATE_KEY is wrong: {exc}") from exc
    return {**fields, "sign": rsa2.sign(rsa2.request_content(fields), key)}


def _trade(fields: Mapping[str, Any], *, paid_at: str) -> Trade:
    try:
        moment = fields.get(paid_at)
        return Trade(
            str(fields["out_trade_no"]),
            str(fields["trade_no"]),
            str(fields["trade_status"]),
            Decimal(fields["total_amount"]).quantize(Decimal("0.01")),
            datetime.strptime(moment, MOMENT).replace(tzinfo=SHANGHAI) if moment else None,
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise AlipayError(f"a trade that is not readable: {exc!r}") from exc


def _public_key() -> Any:
    try:
        return rsa2.public_key(settings.ALIPAY_PUBLIC_KEY)
    except ValueError as exc:
        raise AlipayError(f"MALL_ALIPAY_PUBLIC_KEY is wrong: {exc}") from exc
