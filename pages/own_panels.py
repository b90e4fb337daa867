"""The texts of each state of one's own order, on the team's page and on the order's."""

from collections.abc import Callable, Mapping

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pages import links, ways
from pages.links import Deed
from pages.panels import Action, Panel, Tone
from pages.states import Mine, TeamState, pay_until
from pages.teams import TeamView
from pages.words import moment


def _unpaid(view: TeamView) -> Panel:
    order = ways.own_order(view)
    end = pay_until(view.team, order)
    return Panel(
        _("Your seat is held: now pay for it"),
        [
            _("It is yours until %(moment)s, then it is free again.")
            % {"moment": moment(end, view.now)}
        ],
        Action(
            _("Pay %(price)s") % {"price": ways.price(view)},
            links.deal(order.code, Deed.PAY),
        ),
        [
            ways.my_order(view),
            Action(_("Give up the seat"), links.deal(order.code, Deed.RETURN)),
        ],
        until=end,
        until_label=_("Time left to pay"),
        tone=Tone.WAIT,
    )


def _confirming(view: TeamView) -> Panel:
    order = ways.own_order(view)
    lead = _(
        "This usually takes seconds, and you need not wait here. Your seat is held until "
        "%(moment)s; a payment made by then counts even if it is confirmed later."
    )
    if order.pay_deadline < view.team.expires_at:  # others may take the seat from then on
        lead = _(
            "This usually takes seconds, and you need not wait here. Your seat is held until "
            "%(moment)s. A payment made by then that is confirmed later counts while a seat "
            "is free; otherwise it goes back to you in full."
        )
    return Panel(
        _("Waiting for the shop to confirm your payment"),
        [lead % {"moment": moment(pay_until(view.team, order), view.now)}],
        Action(_("Look again"), f"{links.order(order.code)}?paid=1"),
        [Action(_("I have not paid yet"), links.order(order.code))],
        tone=Tone.WAIT,
        later=_(
            "This takes longer than usual. You may close this page: your payment counts as soon as "
            "the shop confirms it, and your order then shows it."
        ),
    )


def _forming(view: TeamView) -> Panel:
    headline = ways.missing(view)
    lead = [_("You have paid and are in."), ways.until_full(view)]
    invite = [Action(_("Invite"), links.team(ways.own_order(view).code), shares=True)]
    if view.missing and not view.takes_more:
        lead.insert(1, _("Nobody can join any more: the shop has withdrawn the offer or sold out."))
        invite = []
    main, *also = [*invite, ways.my_order(view)]
    if view.missing == 0:
        headline = ngettext(
            "All seats are taken, %(n)d still to be paid",
            "All seats are taken, %(n)d still to be paid",
            view.unpaid,
        ) % {"n": view.unpaid}
    return Panel(
        headline,
        lead,
        main,
        also,
        until=view.team.expires_at,
        until_label=_("Time left"),
        tone=Tone.GOOD,
    )


def _counting_paid(view: TeamView) -> Panel:
    return Panel(
        _("Time is up: payments are being counted"),
        [
            _(
                "Payments made before %(end)s are still coming in. Within minutes this page shows "
                "the result."
            )
            % {"end": ways.end(view)},
            ways.back_or_goods(view),
        ],
        ways.my_order(view),
        tone=Tone.WAIT,
    )


def _counting_unpaid(view: TeamView) -> Panel:
    return Panel(
        _("Time is up, and your payment has not arrived"),
        [
            _(
                "If you paid before %(end)s it still counts when it arrives now. A payment that "
                "comes too late goes back to you in full."
            )
            % {"end": ways.end(view)}
        ],
        ways.my_order(view),
        tone=Tone.WAIT,
    )


def _my_complete(view: TeamView) -> Panel:
    again = [ways.open_team(view, _("Open another team"))] if view.may_open else []
    return Panel(
        _("Your team is complete"),
        [
            ways.how_complete(view),
            _("%(shop)s sends your goods.") % {"shop": view.channel.name},
        ],
        ways.my_order(view),
        again,
        tone=Tone.GOOD,
    )


def _lapsed(view: TeamView) -> Panel:
    held = moment(ways.own_order(view).pay_deadline, view.now)
    again = [ways.join(view, _("Take a seat again: %(price)s"))] if view.may_join else []
    main, *also = [*again, ways.my_order(view)]
    return Panel(
        _("Your seat is free again"),
        [
            _("It was held until %(held)s and not paid for by then; you owe nothing.")
            % {"held": held},
            _("If you have just paid, that still counts while a seat is free."),
        ],
        main,
        also,
        until=view.team.expires_at,
        until_label=_("The team ends in"),
        tone=Tone.WAIT,
    )


def _lapsed_for_good(view: TeamView) -> Panel:
    lead = _("It was held until %(held)s and not paid for by then; you owe nothing.") % {
        "held": moment(pay_until(view.team, ways.own_order(view)), view.now)
    }
    return ways.elsewhere(view, _("Your seat was not paid for in time"), [lead], mine=True)


def _left(view: TeamView) -> Panel:
    lead = _("You had not paid, so there is nothing to return.")
    return ways.rejoin(view, _("Your seat was given up"), lead)


def _returned(view: TeamView) -> Panel:
    return ways.rejoin(view, _("Your order was cancelled"), ways.money_back(view))


def _my_failed(view: TeamView) -> Panel:
    lead = [ways.money_back(view), *_with_friends(view)]
    return ways.elsewhere(view, ways.not_filled(view), lead, mine=True)


def _my_failed_unpaid(view: TeamView) -> Panel:
    lead = [_("You had not paid, so there is nothing to return."), *_with_friends(view)]
    return ways.elsewhere(view, ways.not_filled(view), lead, mine=True)


def _with_friends(view: TeamView) -> list[str]:
    text = _("If you open a new team, friends who have your old link find it there.")
    return [text] if view.may_open else []


def _late(view: TeamView) -> Panel:
    order = ways.own_order(view)
    paid_at = order.paid_at or view.now
    if paid_at >= view.team.expires_at:
        headline = _("Your payment came after the team's end")
        why = _("You paid at %(paid)s; the team ended at %(end)s.")
    else:
        headline = _("Your payment came when the seat was gone")
        why = _("You paid at %(paid)s, when there was no seat any more.")
    why %= {"paid": moment(paid_at, view.now), "end": ways.end(view)}
    return ways.elsewhere(view, headline, [why, ways.money_back(view)], mine=True)


def _blocked(view: TeamView) -> Panel:
    """Offers no other team: a payment for it would not be accepted either."""
    lead = _("%(shop)s was not selling in teams when your payment arrived.") % {
        "shop": view.channel.name
    }
    return Panel(
        _("Your payment could not be accepted"),
        [lead, ways.money_back(view)],
        ways.alone(view),
        [ways.my_order(view)],
        tone=Tone.OVER,
    )


PANELS: Mapping[TeamState, Callable[[TeamView], Panel]] = {
    Mine.UNPAID: _unpaid,
    Mine.CONFIRMING: _confirming,
    Mine.FORMING: _forming,
    Mine.COUNTING: _counting_paid,
    Mine.COUNTING_UNPAID: _counting_unpaid,
    Mine.COMPLETE: _my_complete,
    Mine.LAPSED: _lapsed,
    Mine.LAPSED_FOR_GOOD: _lapsed_for_good,
    Mine.LEFT: _left,
    Mine.RETURNED: _returned,
    Mine.FAILED: _my_failed,
    Mine.FAILED_UNPAID: _my_failed_unpaid,
    Mine.LATE: _late,
    Mine.BLOCKED: _blocked,
}
