"""The shop: its front page, the page of goods, and the checkout for the platform's pages."""

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from groupbuy_client import GroupBuyError, Market
from mall import buying, login, market
from mall.buying import RefusedError, Wish
from mall.models import Goods, Order, Shopper
from mall.views.entry import to_login

GUEST = "guest"  # the user id of offer queries while nobody is logged in
KEEP = 10  # seconds that an answer is shown to all guests
OWN_ORDER = ("pay", "return", "view")  # actions of the checkout URL that are about an order


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of a checkout. Anybody can write such a URL, so it is only checked for its form."""

    goods: Goods
    kind: Order.Kind
    activity_id: int | None
    team_id: str

    @property
    def action(self) -> str:
        if self.kind == Order.Kind.ALONE:
            return "alone"
        return "join" if self.team_id else "open"

    @property
    def path(self) -> str:
        """The path of this checkout, made of checked parameters only."""
        query = {"action": self.action, "goodsId": self.goods.pk}
        if self.activity_id is not None:
            query["activityId"] = str(self.activity_id)
        if self.team_id:
            query["teamId"] = self.team_id
        return f"{reverse('checkout')}?{urlencode(query)}"


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    return render(request, "front.html", {"goods": Goods.objects.order_by("goods_id")})


@require_safe
def goods_page(request: HttpRequest, goods_id: str) -> HttpResponse:
    goods = _goods(goods_id)
    shopper = login.shopper_of(request)
    offer, responds = _offer(goods, shopper)
    teams = offer.team_list if offer else ()
    numbers = [each.out_trade_no for each in teams if each.out_trade_no]
    context = {
        "goods": goods,
        "offer": offer,
        "saved": goods.price - offer.goods.pay_price if offer else None,
        "responds": responds,
        "teams": [(each, each.target_count - each.lock_count) for each in teams],
        # The platform may know an order of this shopper that another system has placed.
        "ours": Order.objects.filter(shopper=shopper, number__in=numbers).values_list(
            "number", flat=True
        ),
    }
    return render(request, "goods.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    """GET shows the price. POST places the order and redirects to its page, to pay there."""
    given = request.POST if request.method == "POST" else request.GET
    if given.get("action") in OWN_ORDER and is_number(given.get("outTradeNo", "")):
        path = reverse("order", args=[given["outTradeNo"]])
        return redirect(f"{path}?cancel=1#cancel" if given["action"] == "return" else path)
    asked = _asked(given.dict())
    shopper = login.shopper_of(request)
    if shopper is None:
        return to_login(asked.path)
    if request.method == "POST":
        return _place(request, asked, shopper, _price(given.get("price", "")))
    try:
        price, asked = _trial(asked, shopper)
    except RefusedError as refused:
        return _show(request, asked, None, refused)
    return _show(request, asked, price)


def _place(
    request: HttpRequest, asked: Asked, shopper: Shopper, shown: Decimal | None
) -> HttpResponse:
    wish = Wish(shopper, asked.goods, asked.kind, asked.activity_id, asked.team_id, shown)
    try:
        order = buying.place(wish, now=timezone.now())
    except RefusedError as refused:
        price = shown if refused.is_passing else refused.price
        return _show(request, asked, price, refused)
    return HttpResponseRedirect(reverse("order", args=[order.number]), status=303)


def _trial(asked: Asked, shopper: Shopper) -> tuple[Decimal, Asked]:
    """The price by the platform's trial, and the checkout in that activity. Raises RefusedError."""
    buying.require_on_sale(asked.goods)
    if asked.kind == Order.Kind.ALONE:
        return asked.goods.price, asked
    try:
        trial = market.client(timeout=market.LOOK).trial(
            user_id=shopper.user_id,
            goods_id=asked.goods.goods_id,
            activity_id=asked.activity_id,
        )
    except GroupBuyError as error:
        raise buying.reason(error) from error
    # A team outlives its offer's window, so only the lock knows whether it can be joined.
    if trial.refusals and not asked.team_id:
        first = trial.refusals[0]
        raise buying.reason(GroupBuyError(first.code, first.info, status=200))
    if trial.goods is None:
        return asked.goods.price, asked
    return trial.goods.pay_price, replace(asked, activity_id=trial.activity_id)


def _show(
    request: HttpRequest, asked: Asked, price: Decimal | None, refused: RefusedError | None = None
) -> HttpResponse:
    """Show the order's form if there is a price, and the reason of a refusal."""
    context = {
        "asked": asked,
        "price": price,
        "saved": None if price is None else asked.goods.price - price,
        "in_team": asked.kind == Order.Kind.TEAM,
        "refused": refused,
    }
    return render(request, "checkout.html", context, status=409 if refused else 200)


def _asked(given: dict[str, str]) -> Asked:
    goods = _goods(given.get("goodsId", ""))
    activity, team = given.get("activityId", ""), given.get("teamId", "")
    numbers = all(len(each) <= 19 and (not each or is_number(each)) for each in (activity, team))
    if given.get("action") not in ("alone", "open", "join") or not numbers:
        raise Http404
    kind = Order.Kind.ALONE if given["action"] == "alone" else Order.Kind.TEAM
    joins = given["action"] == "join"
    if joins and not team:
        raise Http404
    return Asked(goods, kind, int(activity) if activity else None, team if joins else "")


def _goods(goods_id: str) -> Goods:
    goods = Goods.objects.filter(goods_id=goods_id).first()
    if goods is None:
        raise Http404
    return goods


def _offer(goods: Goods, shopper: Shopper | None) -> tuple[Market | None, bool]:
    """The platform's offer of these goods, if there is one, and whether the platform responds.

    Guests are one shopper to the platform, which limits each shopper's queries: they share answers.
    """
    if shopper:
        return _ask(shopper.user_id, goods)
    shared: Any = cache.get_or_set(f"offer-{goods.pk}", lambda: _ask(GUEST, goods), KEEP)
    offer, responds = shared
    return offer, responds


def _ask(user_id: str, goods: Goods) -> tuple[Market | None, bool]:
    try:
        client = market.client(timeout=market.LOOK)
        offer = client.query_market(user_id=user_id, goods_id=goods.goods_id)
    except GroupBuyError as error:
        return None, buying.reason(error).code != buying.AGAIN
    return offer if offer.visible else None, True


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(text or "NaN")
    except InvalidOperation:
        return None
    return price if price.is_finite() else None


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def platform_link(request: HttpRequest, to: str) -> HttpResponse:
    """Redirect to a page of the platform, by a hand-over link if the shopper is logged in."""
    shopper = login.shopper_of(request)
    if shopper is None or not settings.PAGE_SECRET:
        return HttpResponseRedirect(settings.PLATFORM_URL + to)
    return HttpResponseRedirect(market.pages().handover_url(shopper.user_id, to))


@require_safe
def go_offers(request: HttpRequest) -> HttpResponse:
    return platform_link(request, market.pages().offers_path())


@require_safe
def go_offer(request: HttpRequest, goods_id: str) -> HttpResponse:
    return platform_link(request, market.pages().offer_path(_goods(goods_id).goods_id))
