"""The start page, and the page for a path that does not exist."""

import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from groupbuy.embedded import is_loopback

DEMO_FILE = settings.VAR_DIR / "demo.json"  # written by manage.py seed_demo


def start(request: HttpRequest) -> HttpResponse:
    """Links to console and API page; the demo's credentials, to this machine only."""
    show = settings.DEMO and is_loopback(request) and DEMO_FILE.exists()
    demo = json.loads(DEMO_FILE.read_text("utf-8")) if show else None
    return render(request, "pages/start.html", {"demo": demo})


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "pages/404.html", status=404)
