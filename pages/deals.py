"""Redirects to the mall's checkout URL while an action is possible, else a page with the reason.

The checkout URL gets action and goodsId, and activityId, teamId and outTradeNo where they are known
(docs/integration.md). Nothing is locked here: the mall does that.
"""

from collections.abc import Mapping, Sequence

from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _

from groupbuy import channels
from groupbuy.channels import KnownChannel
from pages import links, problems
from pages.frame import page
from pages.links import Deed
from pages.offers import OfferView
from pages.panels import Action
from pages.problems import ProblemError
from pages.states import Bar, Mine, OfferState, Seen, seen_state
from pages.teams import TeamView
from pages.visit import frame, in_wechat, offer_asked, own_order, team_asked
from pages.words import moment
from trade.models import Order

NEEDED: Mapping[str, Sequence[int]] = {  # the states in which an order can be paid or given back
    Deed.PAY: (Order.Status.LOCKED,),
    Deed.RETURN: (Order.Status.LOCKED, Order.Status.PAID),
}
PAID = (Deed.ALONE, Deed.OPEN, Deed.JOIN, Deed.PAY)  # those that end with a payment


@page
def buy(request: HttpRequest, source: str, channel: str, goods_id: str, deed: str) -> HttpResponse:
    """Redirect to buy alone, which is always possible, or to open a team."""
    view = offer_asked(request, source, channel, goods_id)
    if deed == Deed.OPEN:
        if not view.may_open:
            raise _cannot_open(view)
        to = links.checkout(
            view.channel, Deed.OPEN, goodsId=goods_id, activityId=view.offer.activity.pk
        )
    elif deed == Deed.ALONE:
        to = links.checkout(view.channel, Deed.ALONE, goodsId=goods_id)
    else:
        raise problems.no_such_offer(view.channel)
    back = links.offer(view.channel, goods_id, activity_id=view.asked)
    return _go(request, view.channel, to, Deed(deed), what=view.offer.goods_name, back=back)


@page
def join(request: HttpRequest, code: str) -> HttpResponse:
    view = team_asked(request, code, fresh=True)
    if not view.may_join:
        raise _cannot_join(view)
    to = links.checkout(
        view.channel,
        Deed.JOIN,
        goodsId=view.team.goods_id,
        activityId=view.team.activity_id,
        teamId=view.team.pk,
    )
    back = links.team(code)
    return _go(request, view.channel, to, Deed.JOIN, what=view.goods_name, back=back)


@page
def deal(request: HttpRequest, code: str, deed: str) -> HttpResponse:
    """Redirect to the visitor's own order at the mall, to pay for it, give it back or see it."""
    known, _watched, order = own_order(request, code)
    if deed not in (Deed.PAY, Deed.RETURN, Deed.VIEW):
        raise problems.no_such_order(known)
    if order is None:
        return HttpResponseRedirect(links.team(code))
    if order.status not in NEEDED.get(deed, tuple(Order.Status)):
        return HttpResponseRedirect(links.order(code))
    to = links.checkout(
        known,
        Deed(deed),
        goodsId=order.goods_id,
        activityId=order.activity_id,
        teamId=order.team_id,
        outTradeNo=order.out_trade_no,
    )
    back = links.order(code)
    return _go(request, known, to, Deed(deed), what=order.out_trade_no, back=back)


@page
def outside(request: HttpRequest, signed: str) -> HttpResponse:
    """Go on to the mall; inside WeChat, show how to open this address in the browser."""
    try:
        channel_id, to, back = links.read_outside(signed)
    except BadSignature as exc:
        raise problems.old_link() from exc
    channel = channels.get(channel_id)
    if channel is None or not in_wechat(request):
        return HttpResponseRedirect(to, status=303)
    context = frame(request, channel) | {"here": request.build_absolute_uri(), "back": back}
    return render(request, "pages/outside.html", context)


def _go(
    request: HttpRequest, channel: KnownChannel, to: str, deed: Deed, *, what: str, back: str
) -> HttpResponse:
    if to and channel.pays_outside_wechat and deed in PAID and in_wechat(request):
        to = links.outside(channel, to, back)
    if to:
        return HttpResponseRedirect(to, status=303)
    context = frame(request, channel) | {"what": what, "deed": deed.value, "back": back}
    return render(request, "pages/how.html", context)


def _cannot_open(view: OfferView) -> ProblemError:
    start = moment(view.offer.activity.start_at, view.now)
    reasons: dict[OfferState | Bar | None, str] = {
        OfferState.NOT_STARTED: _("Starts at %(moment)s") % {"moment": start},
        Bar.LIMIT: _("You have taken part as often as this offer allows."),
        Bar.NOT_INVITED: _("The shop offers this to customers it has invited."),
        Bar.SOLD_OUT: _("It has just been sold out."),
    }
    why = view.bar if view.state is OfferState.MINE_FORMING else view.state
    back = links.offer(view.channel, view.offer.goods_id, activity_id=view.asked)
    return ProblemError(
        409,
        _("No team can be opened here now"),
        reasons.get(why, _("The offer has ended, or you have a seat in a team already.")),
        [Action(_("Back to the offer"), back)],
        view.channel,
    )


def _cannot_join(view: TeamView) -> ProblemError:
    reasons: dict[Bar | None, str] = {
        Bar.LIMIT: _("You have taken part as often as this offer allows."),
        Bar.NOT_INVITED: _("The shop offers this to customers it has invited."),
        Bar.SOLD_OUT: _("It has just been sold out."),
        Bar.WITHDRAWN: _("The shop has withdrawn it; nobody can join any more."),
    }
    title = _("You cannot join this team")
    lead = reasons.get(view.bar, _("The offer is not open to you."))
    match view.state if view.is_in or not view.own else seen_state(view.team, now=view.now):
        case Seen.FULL:
            title = _("Just taken")
            lead = _("Somebody took the last seat a moment ago. It may come free again.")
        case Seen.COMPLETE | Mine.COMPLETE:
            title, lead = _("This team is complete"), _("There are no seats left in it.")
        case Seen.COUNTING | Seen.FAILED:
            title, lead = _("Time was up"), _("Nobody can join this team any more.")
        case Mine():
            title = _("You are in this team already")
            lead = _("Each shopper has one seat in a team.")
    ways = [
        Action(_("Back to the team"), links.team(view.code)),
        Action(_("See the offer"), links.offer(view.channel, view.team.goods_id)),
    ]
    return ProblemError(409, title, lead, ways, view.channel)
