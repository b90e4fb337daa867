"""Error pages: what happened, and a link to the shop."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

FAILED = """<!doctype html>
<html lang="zh-hans">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>出错了 · Something went wrong</title>
<link rel="stylesheet" href="/static/mall.css">
<main><div class="one"><section class="card panel">
<h1>出错了</h1><p>这一页没能打开。您的订单不受影响，请稍后再试。</p>
<h2 lang="en">Something went wrong</h2>
<p lang="en">This page could not be shown. Your orders are safe. Please try again later.</p>
<a class="main" href="">再试一次 · Try again</a>
</section></div></main>
</html>
"""


def problem(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    return render(request, "problem.html", {"title": title, "text": text}, status=status)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(request, 404, _("Not found"), _("There is no page at this address."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = _("Your browser did not send the shop's cookie. Allow cookies, go back, and try again.")
    return problem(request, 403, _("That did not come from this page"), text)


def server_error(request: HttpRequest, *args: Any) -> HttpResponse:
    """Respond with a static page: templates or the database may be what failed."""
    return HttpResponse(FAILED.replace("/static/", settings.STATIC_URL), status=500)
