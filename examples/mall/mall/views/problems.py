"""Error pages: what happened, and a link to the shop."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _


def problem(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    return render(request, "problem.html", {"title": title, "text": text}, status=status)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return problem(request, 404, _("Not found"), _("There is no page at this address."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = _("Your browser did not send the shop's cookie. Allow cookies, go back, and try again.")
    return problem(request, 403, _("That did not come from this page"), text)


def server_error(request: HttpRequest, *args: Any) -> HttpResponse:
    """Respond with a static text: templates or the database may be what failed."""
    text = "Something went wrong. Your orders are safe. 出错了，您的订单不受影响，请稍后再试。"
    return HttpResponse(text, status=500, content_type="text/plain; charset=utf-8")
