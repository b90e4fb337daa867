"""Endpoints that Alipay, WeChat and the platform call. All requests must be signed."""

import json
import logging

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from groupbuy_client import TeamRefund, TeamSuccess, WebhookError
from mall import callbacks, login, market, payments, wechat
from mall.alipay import AlipayError

log = logging.getLogger(__name__)
LONGEST_BODY = 100_000


@csrf_exempt
@require_POST
def alipay_notify(request: HttpRequest) -> HttpResponse:
    """Answer `success` if the notification is verified and stored; else Alipay repeats it a day."""
    try:
        payments.receive(_body(request), now=timezone.now())
    except (AlipayError, ValueError) as exc:
        log.warning("refused a notification to Alipay's endpoint: %s", exc)
        return _text("false")
    return _text("success")


@csrf_exempt
@require_POST
def team_success(request: HttpRequest) -> HttpResponse:
    return _callback(request, TeamSuccess)


@csrf_exempt
@require_POST
def team_refund(request: HttpRequest) -> HttpResponse:
    return _callback(request, TeamRefund)


@csrf_exempt
@require_http_methods(["GET", "POST"])
def weixin_portal(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    if not wechat.is_signed(request.GET.dict(), now=now):
        return _text("false", 403)
    if request.method == "GET":
        return _text(request.GET.get("echostr", "")[:64])
    try:
        scan = wechat.read_scan(_body(request))
    except ValueError as exc:
        return _text(str(exc), 400)
    if scan is not None:
        login.scan(scan.scene, scan.user_id, now=now)
    return _text("success")


def _callback(request: HttpRequest, expected: type) -> HttpResponse:
    """Store a notification with its effect, then answer. A copy gets the same answer."""
    try:
        body = _body(request)
        notification = market.webhook().verify(request.headers, body)
    except (WebhookError, ValueError) as exc:
        log.warning("refused a callback: %s", exc)
        return _text("error", 401)
    if not isinstance(notification, expected):
        return _text("error", 400)
    callbacks.apply(notification, json.loads(body), via="http", now=timezone.now())
    return _text("success")


def _body(request: HttpRequest) -> bytes:
    """The request's body. Raises ValueError if it is too long."""
    if len(request.body) > LONGEST_BODY:
        raise ValueError("the body is too long")
    return request.body


def _text(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
