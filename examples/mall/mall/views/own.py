"""A shopper's own pages: orders, one order, messages, and the return from Alipay."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from mall import buying, login, market, returning
from mall.buying import RefusedError
from mall.models import Message, Order, Refund, Shopper
from mall.views.entry import to_login
from mall.views.shop import is_number, platform_link
from mall.views.wire import ask_again

NEWEST = 50  # rows on a page of a list
Status = Order.Status
OVER = (Status.WAIT_REFUND, Status.CLOSE)
HEADLINES = {
    Status.CREATE: _("Your order is being placed"),
    Status.PAY_WAIT: _("Your seat is held"),
    Status.PAY_SUCCESS: _("Paid"),
    Status.MARKET: _("Your team is complete"),
    Status.DEAL_DONE: _("Sent to you"),
    Status.WAIT_REFUND: _("Your money is on its way back"),
    Status.CLOSE: _("Your money is back"),
}
Row = TypeVar("Row", Order, Message)


def own(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a page of a shopper's own. Visitors without a login log in first, then return."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        shopper = login.shopper_of(request)
        if shopper is None:
            return to_login(
                request.get_full_path() if request.method != "POST" else reverse("orders")
            )
        return view(request, shopper, *args, **kwargs)

    return wrapped


@require_safe
@own
def orders(request: HttpRequest, shopper: Shopper) -> HttpResponse:
    found = Order.objects.filter(shopper=shopper).select_related("goods")
    page, older = _page(request, found)
    return render(request, "orders.html", {"orders": page, "older": older})


@require_safe
@own
def order(request: HttpRequest, shopper: Shopper, number: str) -> HttpResponse:
    """Show one order: its state, the money, and a fresh payment form while it can be paid."""
    found, form, refused = _own(shopper, number), None, None
    if found.status == Status.PAY_WAIT and not found.wants_back:
        try:
            form = buying.pay_form(found, now=timezone.now())
        except RefusedError as refusal:
            refused = refusal
    refund = Refund.objects.filter(order=found).order_by("-pk").first()
    context = {
        "order": found,
        "form": form,
        "refused": refused,
        "refund": refund,
        "saved": found.price - (found.price if found.amount is None else found.amount),
        "headline": _headline(found),
        "state": _state(found, refund),
        "moves": _moves(found, refund),
        "in_wechat": "MicroMessenger" in request.headers.get("User-Agent", ""),
        "may_give_back": not (found.wants_back or found.status in (Status.CREATE, *OVER)),
        "invites": found.status == Status.PAY_SUCCESS
        and bool(found.settled_at)
        and not found.settle_code,
        "messages": Message.objects.filter(order=found).order_by("pk"),
    }
    return render(request, "order.html", context)


@require_safe
@own
def state(request: HttpRequest, shopper: Shopper, number: str) -> HttpResponse:
    """Return the state that the order's page polls; the page reloads when it changes."""
    found = _own(shopper, number)
    refund = Refund.objects.filter(order=found).order_by("-pk").first()
    return JsonResponse({"state": _state(found, refund)})


@require_POST
@own
def give_back(request: HttpRequest, shopper: Shopper, number: str) -> HttpResponse:
    returning.give_back(_own(shopper, number), now=timezone.now())
    return HttpResponseRedirect(reverse("order", args=[number]), status=303)


@require_safe
@own
def messages(request: HttpRequest, shopper: Shopper) -> HttpResponse:
    """Show the newest messages, and mark them as read."""
    found = Message.objects.filter(shopper=shopper).select_related("order")
    box, older = _page(request, found)
    Message.objects.filter(pk__in=[each.pk for each in box], read_at=None).update(
        read_at=timezone.now()
    )
    return render(request, "messages.html", {"box": box, "older": older})


@require_safe
@own
def go_order(request: HttpRequest, shopper: Shopper, number: str) -> HttpResponse:
    """Redirect to the platform's page of the order, which polls if the payment is being settled."""
    found = _own(shopper, number)
    waiting = found.status == Status.PAY_SUCCESS and found.settled_at is None
    return platform_link(request, market.pages().order_path(found.number, paid=waiting))


@require_safe
def paid(request: HttpRequest) -> HttpResponse:
    """Show the page after Alipay, without a session. The loop queries Alipay for the result."""
    found = _returned(request)
    ask_again(Order.objects.filter(pk=found.pk, status=Status.PAY_WAIT))
    context = {"order": found, "state": _paid_state(found)}
    return render(request, "paid.html", context)


@require_safe
def paid_state(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"state": _paid_state(_returned(request))})


def _page(request: HttpRequest, found: QuerySet[Row]) -> tuple[list[Row], int | None]:
    """The newest rows, or those ?before= a row; and the row before which there are more."""
    before = request.GET.get("before", "")
    if is_number(before) and len(before) < 19:  # the database's numbers end there
        found = found.filter(pk__lt=int(before))
    rows = list(found.order_by("-pk")[: NEWEST + 1])
    return rows[:NEWEST], rows[NEWEST - 1].pk if len(rows) > NEWEST else None


def _returned(request: HttpRequest) -> Order:
    found = Order.objects.filter(number=request.GET.get("out_trade_no", "")[:32]).first()
    if found is None or found.status == Status.CREATE:
        raise Http404
    return found


def _paid_state(order: Order) -> str:
    """The only fact about an order that is shown without a login."""
    if order.status == Status.PAY_WAIT:
        return "waiting"
    if order.trade_no:
        return "refund" if order.settle_code or order.status in OVER else "paid"
    return "returned" if Refund.objects.filter(order=order).exists() else "closed"


def _own(shopper: Shopper, number: str) -> Order:
    found = Order.objects.select_related("goods").filter(shopper=shopper, number=number).first()
    if found is None:
        raise Http404
    return found


def _headline(order: Order) -> Any:
    if order.wants_back and order.status not in OVER:
        return _("Being cancelled")
    if order.status == Status.PAY_WAIT and not order.in_team:
        return _("Your order is waiting for payment")
    if order.status == Status.CLOSE and not order.trade_no:
        return _("Closed")
    return HEADLINES[Status(order.status)]


def _moves(order: Order, refund: Refund | None) -> bool:
    """May the order still change without its shopper?"""
    if refund is not None and refund.state != Refund.State.CONFIRMED:
        return True
    if order.status == Status.DEAL_DONE:
        return order.wants_back
    return order.status != Status.CLOSE


def _state(order: Order, refund: Refund | None) -> str:
    settled = "settled" if order.settled_at else order.settle_code
    return ".".join((order.status, settled, str(order.wants_back), refund.state if refund else ""))
