"""Signs in a shopper whom the mall hands over, and signs the shopper out again."""

from collections.abc import Mapping
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from groupbuy.channels import KnownChannel
from pages import handover, links, problems
from pages.frame import form_page
from pages.handover import Link, Refusal, RefusedError
from pages.shopper import looking, sign_in, sign_out
from pages.visit import channel_named, frame
from trade.market import mask

ASK = "ask"  # a parameter of the path: show the form


@form_page
@require_http_methods(["GET", "POST"])  # no HEAD: link previews send it and would use the link
def enter(request: HttpRequest, source: str, channel: str) -> HttpResponse:
    """Exchange a hand-over link for a session.

    A link that was followed from an unknown site first shows a form; its POST is the visitor's
    confirmation. The page of that form leads back to itself in another language, by ASK.
    """
    known = channel_named(source, channel)
    given = request.POST if request.method == "POST" else request.GET
    try:
        link = handover.read_link(known, given.dict(), now=timezone.now())
        referer = request.headers.get("Referer", "")
        if ASK in request.GET or handover.is_from_elsewhere(known, referer, request.get_host()):
            return _ask(request, known, link, given.dict())
        _use(request, known, link)
    except RefusedError as refused:
        raise problems.refused_link(known, refused.refusal) from refused
    response = HttpResponseRedirect(link.to or links.wall(known), status=303)
    sign_in(response, known, link.user_id)
    return response


@form_page
@require_POST
def leave(request: HttpRequest, source: str, channel: str) -> HttpResponse:
    known = channel_named(source, channel)
    response = HttpResponseRedirect(links.wall(known), status=303)
    sign_out(response, known)
    return response


def _use(request: HttpRequest, channel: KnownChannel, link: Link) -> None:
    """Use the link. The browser that has used it may follow it again: a second tap, or back."""
    try:
        handover.use(channel, link)
    except RefusedError as refused:
        if refused.refusal is not Refusal.USED or looking(request, channel) != link.user_id:
            raise


def _ask(
    request: HttpRequest, channel: KnownChannel, link: Link, given: Mapping[str, str]
) -> HttpResponse:
    path = reverse("enter", args=[channel.source, channel.channel])
    named = {name: given.get(name, "") for name in handover.PARAMETERS}
    context = frame(request, channel) | {
        "who": mask(link.user_id),
        "given": named.items(),
        "here": f"{path}?{urlencode({**named, ASK: 1})}",
        "shop": links.shop(channel),
    }
    return render(request, "pages/confirm.html", context, status=403)
