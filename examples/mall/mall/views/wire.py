"""The endpoints that existing static pages call, compatible with the Java mall's.

The session identifies the shopper, and a user id in the body must match it. With
MALL_BELIEVE_USER_ID the user id identifies the shopper, for pages that have no session. Requests
are JSON, which a page of another origin cannot send unless CORS allows it, so there is no CSRF
token.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from mall import buying, login, returning
from mall.alipay import Form
from mall.buying import RefusedError, Wish
from mall.login import State
from mall.models import LONGEST_ID, Goods, Order, Shopper
from mall.wechat import WeChatError

OK, ERROR, ILLEGAL, NO_LOGIN = "0000", "0001", "0002", "0003"
LONGEST_BODY = 10_000
LONGEST_PAGE = 50
ASK_AGAIN_AFTER = timedelta(seconds=3)
Fields = dict[str, Any]
View = Callable[..., HttpResponse]


class IllegalError(Exception):
    """A field is missing or wrong; the text names it."""


def endpoint(view: Callable[[HttpRequest, Fields, Shopper], HttpResponse]) -> View:
    """Decorate a view that takes a shopper's POST of JSON."""

    @csrf_exempt
    @require_POST
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        try:
            fields = _json(request)
            shopper = _shopper(request, fields)
            if shopper is None:
                return answer(NO_LOGIN, "未登录", status=401)
            return view(request, fields, shopper)
        except IllegalError as exc:
            return answer(ILLEGAL, f"非法参数: {exc}", status=400)

    return wrapped


def answer(code: str, info: str, data: Any = None, *, status: int = 200) -> JsonResponse:
    body = {"code": code, "info": info, "data": data}
    return JsonResponse(body, status=status, json_dumps_params={"ensure_ascii": False})


@require_GET
def qrcode_ticket(request: HttpRequest) -> HttpResponse:
    """GET weixin_qrcode_ticket and weixin_qrcode_ticket_scene, whose fingerprint is not used."""
    try:
        ticket = login.new_ticket(request, now=timezone.now())
    except WeChatError:
        return answer(ERROR, "微信暂不可用", status=503)
    return answer(OK, "成功", ticket.wechat_ticket or ticket.ticket)


@require_GET
def check_login(request: HttpRequest) -> HttpResponse:
    state, shopper = login.check(request, request.GET.get("ticket", ""), now=timezone.now())
    if shopper is None:
        return answer(NO_LOGIN, "未登录" if state is State.WAITING else "二维码已失效")
    response = answer(OK, "成功", shopper.user_id)
    login.remember(response, shopper)
    return response


@endpoint
def create_pay_order(request: HttpRequest, fields: Fields, shopper: Shopper) -> HttpResponse:
    """Place an order. The answer's data is one HTML form, which the page inserts and submits."""
    kind = _number(fields, "marketType", 0, at_most=1)
    in_team = kind == Order.Kind.TEAM
    goods = Goods.objects.filter(goods_id=_text(fields, "productId", 32)).first()
    if goods is None:
        raise IllegalError("productId: no such goods")
    wish = Wish(
        shopper=shopper,
        goods=goods,
        kind=Order.Kind(kind),
        activity_id=_number(fields, "activityId", 0, at_most=2**63 - 1) or None,
        team_id=_text(fields, "teamId", 32, required=False) if in_team else "",
    )
    now = timezone.now()
    try:
        order = buying.place(wish, now=now)
        form = buying.pay_form(order, now=now)
    except RefusedError as refused:
        return answer(refused.code or ERROR, refused.text)
    return answer(OK, "成功", _html(form))


@endpoint
def order_list(request: HttpRequest, fields: Fields, shopper: Shopper) -> HttpResponse:
    """List the shopper's orders, oldest first; lastId is the id of the previous page's last one."""
    last, size = _number(fields, "lastId", 0), _number(fields, "pageSize", 10)
    size = max(1, min(size, LONGEST_PAGE))
    found = list(Order.objects.filter(shopper=shopper, pk__gt=last).order_by("pk")[: size + 1])
    page = found[:size]
    data = {
        "orderList": [_listed(order) for order in page],
        "hasMore": len(found) > size,
        "lastId": page[-1].pk if page else last or None,
    }
    return answer(OK, "成功", data)


@endpoint
def refund_order(request: HttpRequest, fields: Fields, shopper: Shopper) -> HttpResponse:
    """Give an order back. info and data.message have the same text: some pages show info only."""
    number = _text(fields, "orderId", 32)
    order = Order.objects.filter(shopper=shopper, number=number).first()
    done, text = False, "订单不存在"
    if order is not None:
        refused = {"CREATE": "订单正在创建，请稍后再试", "CLOSE": "订单已关闭"}
        done = order.status not in refused
        text = refused.get(order.status, "退单已受理，款项原路退回")
        returning.give_back(order, now=timezone.now())
    return answer(OK, text, {"success": done, "message": text, "orderId": number})


@csrf_exempt
@require_POST
def active_pay_notify(request: HttpRequest) -> HttpResponse:
    """Query Alipay because the page reports a payment, at most every ASK_AGAIN_AFTER.

    outTradeNo is a form field or in the query, and must be an unpaid order of the shopper's.
    """
    number = request.POST.get("outTradeNo") or request.GET.get("outTradeNo", "")
    shopper = login.shopper_of(request)
    own = Order.objects.filter(number=number[:32], status=Order.Status.PAY_WAIT)
    if not settings.BELIEVE_USER_ID:
        own = own.filter(shopper=shopper)
    ask_again(own)
    return answer(OK, "成功", "正在向支付宝查询")


def ask_again(own: Any) -> None:
    """Let the loop query Alipay about these orders now, unless it did so within ASK_AGAIN_AFTER."""
    now = timezone.now()
    own.exclude(asked_at__gt=now - ASK_AGAIN_AFTER).update(due_at=now)


def _listed(order: Order) -> Fields:
    amount = order.price if order.amount is None else order.amount
    return {
        "id": order.pk,
        "orderId": order.number,
        "status": order.status,
        "productName": order.goods_name,
        "orderTime": timezone.localtime(order.created_at).isoformat(timespec="milliseconds"),
        "payAmount": float(amount),
        "totalAmount": float(order.price),
        "marketType": order.kind,
        "teamId": order.team_id or None,
        "key": order.key if order.status == Order.Status.DEAL_DONE else "",
    }


def _html(form: Form) -> str:
    """The form as HTML. No field may be named submit, or the page's form.submit() would fail."""
    inputs = format_html_join("", '<input type="hidden" name="{}" value="{}">', form.fields.items())
    return format_html('<form method="post" action="{}">{}</form>', form.action, inputs)


def _json(request: HttpRequest) -> Fields:
    if request.content_type != "application/json":
        raise IllegalError("the body has to be application/json")
    if len(request.body) > LONGEST_BODY:
        raise IllegalError("the body is too long")
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise IllegalError("the body is not a JSON object")
    return fields


def _shopper(request: HttpRequest, fields: Fields) -> Shopper | None:
    shopper = login.shopper_of(request)
    user_id = _text(fields, "userId", LONGEST_ID, required=settings.BELIEVE_USER_ID)
    if settings.BELIEVE_USER_ID:
        return Shopper.objects.get_or_create(user_id=user_id)[0]
    if shopper is not None and user_id not in ("", shopper.user_id):
        raise IllegalError("userId: not the one that is logged in")
    return shopper


def _text(fields: Fields, name: str, longest: int, *, required: bool = True) -> str:
    value = fields.get(name)
    value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if value in (None, "") and not required:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise IllegalError(f"{name}: expected 1 to {longest} characters")
    return value


def _number(fields: Fields, name: str, default: int, *, at_most: int = 2**63 - 1) -> int:
    value = fields.get(name)
    if value in (None, ""):
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= at_most:
        raise IllegalError(f"{name}: expected a number from 0 to {at_most}")
    return value
