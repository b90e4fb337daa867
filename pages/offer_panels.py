"""The texts of each state of an offer."""

from collections.abc import Callable, Mapping

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from groupbuy.durations import duration
from pages import links
from pages.links import Deed
from pages.offers import OfferView
from pages.panels import Action, Panel, Tone
from pages.states import Bar, Mine, OfferState, my_state, pay_until
from pages.words import moment, money
from trade.models import Order


def panel(view: OfferView) -> Panel:
    return PANELS[view.state](view)


def _not_started(view: OfferView) -> Panel:
    start = view.offer.activity.start_at
    reminder = links.calendar(view.channel, view.offer.goods_id, activity_id=view.asked)
    return Panel(
        _("Starts at %(moment)s") % {"moment": moment(start, view.now)},
        [_("From then on teams can be opened here.")],
        Action(_("Remind me: add to calendar"), reminder),
        [_alone(view)],
        until=start,
        until_label=_("Starts in"),
    )


def _open(view: OfferView) -> Panel:
    activity = view.offer.activity
    others = activity.target_count - 1
    headline = ngettext(
        "Buy together with %(n)d other", "Buy together with %(n)d others", others
    ) % {"n": others}
    time = duration(activity.valid_minutes)
    lead = _("Open a team and invite others: there are %(time)s to fill it.") % {"time": time}
    if view.teams:
        lead = _("Join a team below, or open one of your own with %(time)s to fill it.") % {
            "time": time
        }
    return Panel(
        headline,
        [lead],
        _open_team(view),
        [_alone(view)],
        until=activity.end_at if view.ends_soon else None,
        until_label=_("Ends in"),
    )


def _mine_unpaid(view: OfferView) -> Panel:
    order = _first(view, Mine.UNPAID)
    end = pay_until(order.team, order)
    return Panel(
        _("Your seat is held: now pay for it"),
        [
            _("It is yours until %(moment)s, then it is free again.")
            % {"moment": moment(end, view.now)}
        ],
        Action(
            _("Pay %(price)s") % {"price": money(order.pay_price)},
            links.deal(order.code, Deed.PAY),
        ),
        [
            Action(_("See the team"), links.team(order.code)),
            Action(_("Give up the seat"), links.deal(order.code, Deed.RETURN)),
        ],
        until=end,
        until_label=_("Time left to pay"),
        tone=Tone.WAIT,
    )


def _mine_overdue(view: OfferView) -> Panel:
    order = _first(view, Mine.LAPSED, Mine.COUNTING_UNPAID)
    end = moment(pay_until(order.team, order), view.now)
    lead = _(
        "If you paid before %(end)s it still counts when it arrives now. A payment that "
        "comes too late goes back to you in full."
    )
    if order.pay_deadline < order.team.expires_at:  # others may take the seat from then on
        lead = _(
            "If you paid before %(end)s it still counts while a seat is free. Otherwise it "
            "goes back to you in full."
        )
    return Panel(
        _("Time is up, and your payment has not arrived"),
        [lead % {"end": end}],
        Action(_("See my order"), links.order(order.code)),
        [Action(_("See the team"), links.team(order.code))],
        tone=Tone.WAIT,
    )


def _mine_forming(view: OfferView) -> Panel:
    order = _first(view, Mine.FORMING, Mine.COUNTING)
    missing = order.team.target_count - order.team.paid_count
    again = [_open_team(view, _("Open another team"))] if view.may_open else []
    see = Action(_("See the team"), links.team(order.code))
    lead = _("Your team has time until %(moment)s. Invite friends by its link.")
    ways = [Action(_("Invite"), links.team(order.code), shares=True), see, *again]
    if view.bar in (Bar.WITHDRAWN, Bar.SOLD_OUT):
        lead, ways = _("Your team has time until %(moment)s, but nobody can join any more."), [see]
    return Panel(
        ngettext("You are in: %(n)d payment to go", "You are in: %(n)d payments to go", missing)
        % {"n": missing},
        [lead % {"moment": moment(order.team.expires_at, view.now)}],
        ways[0],
        ways[1:],
        until=order.team.expires_at,
        until_label=_("Time left"),
        tone=Tone.GOOD,
    )


def _mine_done(view: OfferView) -> Panel:
    order = view.own[-1]
    again = [_open_team(view, _("Open another team"))] if view.may_open else []
    return Panel(
        _("Your team is complete"),
        [
            _("%(shop)s sends the goods; your order shows the progress.")
            % {"shop": view.channel.name}
        ],
        Action(_("See my order"), links.order(order.code)),
        [*again, _alone(view)],
        tone=Tone.GOOD,
    )


def _limit(view: OfferView) -> Panel:
    limit = view.offer.activity.take_limit
    return Panel(
        _("Limit reached: %(n)d of %(n)d") % {"n": limit},
        [_("This offer allows no more. If you cancel an order, you can take part again.")],
        Action(_("My orders"), links.orders(view.channel)),
        [_alone(view)],
        tone=Tone.OVER,
    )


def _hidden(view: OfferView) -> Panel:
    """The panel of an offer that this visitor may not see: as if there were none."""
    buy = Action(
        _("Buy: %(price)s") % {"price": money(view.price.original)},
        links.buy(view.channel, view.offer.goods_id, Deed.ALONE),
    )
    return Panel(_("Sold by %(shop)s") % {"shop": view.channel.name}, [], buy)


def _not_invited(view: OfferView) -> Panel:
    lead = [
        _("%(shop)s offers this team price to customers it has invited.")
        % {"shop": view.channel.name}
    ]
    if not view.user_id:
        lead.append(_("If you were invited, open this page from the shop so that it knows you."))
    return Panel(_("A price for invited customers"), lead, _alone(view), tone=Tone.OVER)


def _sold_out(view: OfferView) -> Panel:
    return Panel(
        _("Sold out"),
        [_("Teams that are already complete still get their goods.")],
        Action(_("Other offers"), links.wall(view.channel)),
        tone=Tone.OVER,
    )


def _ended(view: OfferView) -> Panel:
    end = view.offer.activity.end_at
    over = end <= view.now
    headline = (
        _("Ended at %(moment)s") % {"moment": moment(end, view.now)}
        if over
        else _("This offer is over")
    )
    lead = _("No more teams are opened. A team that is still open can be joined by its link.")
    if view.bar is Bar.WITHDRAWN:
        lead = _("The shop has withdrawn it; nobody can join any more.")
    return Panel(
        headline,
        [lead],
        _alone(view),
        [Action(_("Other offers"), links.wall(view.channel))],
        tone=Tone.OVER,
    )


def _alone(view: OfferView) -> Action:
    return Action(
        _("Buy alone: %(price)s") % {"price": money(view.price.original)},
        links.buy(view.channel, view.offer.goods_id, Deed.ALONE),
    )


def _open_team(view: OfferView, label: str = "") -> Action:
    return Action(
        label or _("Open a team: %(price)s") % {"price": money(view.price.pay)},
        links.buy(view.channel, view.offer.goods_id, Deed.OPEN, activity_id=view.asked),
    )


def _first(view: OfferView, *states: Mine) -> Order:
    return next(order for order in view.own if my_state(order.team, order, now=view.now) in states)


PANELS: Mapping[OfferState | Bar, Callable[[OfferView], Panel]] = {
    OfferState.NOT_STARTED: _not_started,
    OfferState.OPEN: _open,
    OfferState.MINE_UNPAID: _mine_unpaid,
    OfferState.MINE_OVERDUE: _mine_overdue,
    OfferState.MINE_FORMING: _mine_forming,
    OfferState.MINE_DONE: _mine_done,
    OfferState.ENDED: _ended,
    Bar.HIDDEN: _hidden,
    Bar.WITHDRAWN: _ended,
    Bar.NOT_INVITED: _not_invited,
    Bar.SOLD_OUT: _sold_out,
    Bar.LIMIT: _limit,
}
