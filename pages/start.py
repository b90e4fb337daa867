"""The start page, and the demo's links that sign in as a shopper."""

import json
import secrets
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from groupbuy import channels
from groupbuy.channels import KnownChannel
from groupbuy.embedded import is_loopback
from pages import links
from pages.handover import signature
from pages.headers import dress

DEMO_FILE = settings.VAR_DIR / "demo.json"  # written by manage.py seed_demo
DEMO_CHANNEL, DEMO_GOODS = ("s01", "c01"), "9890001"
DEMO_SHOPPERS = ("xiaofuge", "liergou", "xfg01")
GOOD_FOR = 300  # seconds that the demo's hand-over links are valid


def start(request: HttpRequest) -> HttpResponse:
    """Show links to console and API page, and the demo's credentials to this machine only."""
    context: dict[str, Any] = {"demo": None}
    if _is_demo(request):
        context["demo"] = json.loads(DEMO_FILE.read_text("utf-8"))
        if channel := channels.find(*DEMO_CHANNEL):
            context |= {
                "mall": links.shop(channel),
                "wall": links.wall(channel),
                "offer": links.offer(channel, DEMO_GOODS),
                "shoppers": DEMO_SHOPPERS,
            }
    return dress(render(request, "pages/start.html", context))


def demo_shopper(request: HttpRequest, user_id: str) -> HttpResponse:
    """Redirect to a fresh hand-over link for a demo shopper, as a mall does."""
    channel = channels.find(*DEMO_CHANNEL)
    if channel is None or user_id not in DEMO_SHOPPERS or not _is_demo(request):
        raise Http404
    return HttpResponseRedirect(_hand_over(channel, user_id, links.offer(channel, DEMO_GOODS)))


def _is_demo(request: HttpRequest) -> bool:
    return settings.DEMO and is_loopback(request) and DEMO_FILE.exists()


def _hand_over(channel: KnownChannel, user_id: str, to: str) -> str:
    until, nonce = int(timezone.now().timestamp()) + GOOD_FOR, secrets.token_urlsafe(16)
    sign = signature(
        channel.page_secrets[0],
        source=channel.source,
        channel=channel.channel,
        user_id=user_id,
        until=until,
        nonce=nonce,
        to=to,
    )
    query = {"userId": user_id, "until": until, "nonce": nonce, "to": to, "sign": sign}
    return f"{reverse('enter', args=DEMO_CHANNEL)}?{urlencode(query)}"
