"""Login: the page with the QR code, its poll, logout, and the demo's pretend phone."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from mall import login, wechat
from mall.login import State
from mall.models import LONGEST_ID
from mall.views.problems import problem
from mall.wechat import WeChatError

LONGEST_PATH = 1000  # of the path to return to: a Location is limited, and our paths are shorter
PEOPLE = ("xiaofuge", "liergou", "xfg01", "xfg02", "xfg03")  # shoppers of the platform's demo


def to_login(back: str) -> HttpResponse:
    query = urlencode({"next": back if len(back) < LONGEST_PATH else reverse("front")})
    return HttpResponseRedirect(f"{reverse('login')}?{query}", status=303)


@require_safe
def login_page(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    try:
        ticket = login.new_ticket(request, now=now)
    except WeChatError:
        text = _("WeChat is not responding. Try again in a minute.")
        return problem(request, 503, _("No code to scan"), text)
    context = {
        "ticket": ticket,
        "next": _next(request.GET),
        "remembered": login.remembered(request, now=now),
        "people": PEOPLE,
    }
    return render(request, "login.html", context)


@require_POST
def login_check(request: HttpRequest) -> HttpResponse:
    """Log in if the code has been scanned. Responds to a script by JSON, else by a redirect."""
    name, back = request.POST.get("ticket", ""), _next(request.POST)
    state, shopper = login.check(request, name, now=timezone.now())
    response: HttpResponse
    if "application/json" in request.headers.get("Accept", ""):
        response = JsonResponse({"state": state, "next": back})
    elif state is State.DONE:
        response = HttpResponseRedirect(back, status=303)
    else:
        response = to_login(back)
    if shopper is not None:
        login.remember(response, shopper)
    return response


@require_POST
def login_again(request: HttpRequest) -> HttpResponse:
    """Log in without a scan, by the secret in this browser's cookie."""
    shopper, back = login.remembered(request, now=timezone.now()), _next(request.POST)
    if shopper is None:
        return to_login(back)
    login.enter(request, shopper)
    return HttpResponseRedirect(back, status=303)


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect(reverse("front"), status=303)
    login.leave(request, response)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def phone(request: HttpRequest) -> HttpResponse:
    """The demo's pretend phone: its form scans the code, as WeChat would report it."""
    if not settings.DEMO:
        raise Http404
    given = request.POST if request.method == "POST" else request.GET
    name, user_id = given.get("ticket", ""), given.get("user", "").strip()
    context: dict[str, Any] = {"ticket": name, "people": PEOPLE}
    if request.method == "POST":
        if not (0 < len(user_id) <= LONGEST_ID and user_id.isprintable()):
            text = _("A name has 1 to 64 characters.")
            return problem(request, 400, _("Not a valid name"), text)
        context |= {"scanned": _scan(name, user_id), "scanner": user_id}
    return render(request, "phone.html", context)


def _scan(name: str, user_id: str) -> bool:
    """Process a scan as a real one: an XML message, signed, verified and read."""
    now = timezone.now()
    timestamp, nonce = str(int(now.timestamp())), "demo"
    query = {"timestamp": timestamp, "nonce": nonce,
             "signature": wechat.signature(timestamp, nonce)}  # fmt: skip
    scan = wechat.read_scan(wechat.scan_message(name, user_id))
    if scan is None or not wechat.is_signed(query, now=now):
        return False
    return login.scan(scan.scene, scan.user_id, now=now)


def _next(given: Any) -> str:
    """The path of this site to return to, or else the shop's."""
    back = given.get("next", "")
    safe = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return back if safe else reverse("front")
