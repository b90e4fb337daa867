"""Error pages: what happened, in plain words, and where to go next."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from groupbuy import channels
from groupbuy.channels import KnownChannel
from pages import links
from pages.handover import Refusal
from pages.headers import dress
from pages.panels import Action
from pages.shopper import looking
from pages.words import both
from trade.market import mask

RETRY = 10  # seconds after which a page that needs the database may be tried again


class ProblemError(Exception):
    """Raised by a view to show an error page instead.

    A page without actions links to the shops that have handed this browser over.
    """

    def __init__(
        self,
        status: int,
        title: str,
        lead: str,
        actions: Sequence[Action] = (),
        channel: KnownChannel | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.lead = lead
        self.actions = actions
        self.channel = channel


def answer(request: HttpRequest, problem: ProblemError) -> HttpResponse:
    actions = problem.actions or _to_shops(request)
    user_id = looking(request, problem.channel) if problem.channel else ""
    context = {
        "problem": problem,
        "actions": actions,
        "channel": problem.channel,
        "shopper": mask(user_id) if user_id else "",
    }
    return dress(render(request, "pages/problem.html", context, status=problem.status))


def no_such_team() -> ProblemError:
    return ProblemError(
        404,
        _("There is no such team"),
        _("The link may have been cut off or mistyped. Ask its sender for the whole link."),
    )


def no_such_offer(channel: KnownChannel | None) -> ProblemError:
    ways = [Action(_("See all offers"), links.wall(channel))] if channel else []
    return ProblemError(
        404,
        _("There is no such offer"),
        _("It may have been taken down, or the link was cut off."),
        ways,
        channel,
    )


def old_link() -> ProblemError:
    return ProblemError(
        403,
        _("This link has expired"),
        _("Go back to the offer or the team, and choose again."),
    )


def no_such_order(channel: KnownChannel) -> ProblemError:
    return ProblemError(
        404,
        _("There is no such order"),
        _("You have no group order with this number here."),
        [Action(_("My orders"), links.orders(channel))],
        channel,
    )


def not_known(channel: KnownChannel) -> ProblemError:
    """The page for a guest who opened something that only a shopper may see."""
    return ProblemError(
        403,
        _("Please come from the shop"),
        _(
            "Only you can see your orders. Open %(shop)s and follow its link to your group orders; "
            "then this page knows you."
        )
        % {"shop": channel.name},
        _from_the_shop(channel),
        channel,
    )


def refused_link(channel: KnownChannel, refusal: Refusal) -> ProblemError:
    title, lead = {
        Refusal.UNREADABLE: (
            _("This link is not complete"),
            _("Part of it is missing, or it is valid for longer than a link may be."),
        ),
        Refusal.NOT_SIGNED: (
            _("This link was changed"),
            _("It differs from the link that the shop made, so it does not work."),
        ),
        Refusal.EXPIRED: (
            _("This link has expired"),
            _("For your safety, such a link works for a few minutes only."),
        ),
        Refusal.USED: (
            _("This link was used before"),
            _("For your safety, such a link works once, so that nobody else can use it."),
        ),
    }[refusal]
    go_back = _("Go back to %(shop)s and open the page from there; this makes a new link.") % {
        "shop": channel.name
    }
    return ProblemError(403, title, both(lead, go_back), _from_the_shop(channel), channel)


def too_many(request: HttpRequest, seconds: int) -> HttpResponse:
    text = ngettext(
        "Your connection requested too many pages. Try again in %(n)d second.",
        "Your connection requested too many pages. Try again in %(n)d seconds.",
        seconds,
    ) % {"n": seconds}
    again = [Action(_("Try again"), request.get_full_path())] if request.method == "GET" else []
    problem = ProblemError(429, _("A moment, please"), text, again)
    response = answer(request, problem)
    response["Retry-After"] = str(seconds)
    return response


def _to_shops(request: HttpRequest) -> list[Action]:
    """Links to the offers of the shops that have handed this browser over."""
    return [
        Action(_("Offers of %(shop)s") % {"shop": channel.name}, links.wall(channel))
        for channel in channels.known()
        if looking(request, channel)
    ]


def _from_the_shop(channel: KnownChannel) -> list[Action]:
    shop = links.shop(channel)
    to_shop = [Action(_("To %(shop)s") % {"shop": channel.name}, shop)] if shop else []
    return [*to_shop, Action(_("See all offers"), links.wall(channel))]


# --- Error handlers of Django -----------------------------------------------------------------


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    problem = ProblemError(404, _("Page not found"), _("The link may be old or mistyped."))
    return answer(request, problem)


def unknown_paths(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware for DEBUG: an unknown path shows visitors of the demo what it shows in service."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code == 404 and request.resolver_match is None:
            return page_not_found(request)
        return response

    return middleware


def server_error(request: HttpRequest) -> HttpResponse:
    """Respond with a static file, as nothing else may work: 503 if the database is down, or 500."""
    away = isinstance(sys.exc_info()[1], OperationalError | InterfaceError)
    status = 503 if away else 500
    text = (Path(settings.BASE_DIR) / f"static/errors/{status}.html").read_text("utf-8")
    response = HttpResponse(text, status=status)
    if away:
        response["Retry-After"] = str(RETRY)
    return dress(response)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    problem = ProblemError(
        403,
        _("Your browser did not send its cookie"),
        _(
            "This form is protected by a cookie. Allow cookies for this site, go back, load the "
            "page again and send the form once more. Nothing has been changed."
        ),
        _form(request),
    )
    return answer(request, problem)


def _form(request: HttpRequest) -> list[Action]:
    """A link to the form's page if the Referer names it."""
    page = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(page, {request.get_host()})
    return [Action(_("Load the form again"), page)] if is_ours else []
