"""The texts of each state of a team for visitors; those for its members are in own_panels."""

from collections.abc import Callable, Mapping

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pages import links, own_panels, ways
from pages.panels import Action, Panel, Tone
from pages.states import Bar, Seen, TeamState
from pages.teams import TeamView


def panel(view: TeamView) -> Panel:
    return PANELS[view.state](view)


def _joinable(view: TeamView) -> Panel:
    return Panel(
        ways.missing(view),
        [ways.until_full(view)],
        ways.join(view),
        ways.ways_on(view),
        until=view.team.expires_at,
        until_label=_("Time left"),
    )


def _full(view: TeamView) -> Panel:
    lead = ngettext(
        "%(n)d seat is still to be paid for. If it is not, it comes free and you see it here.",
        "%(n)d seats are still to be paid for. If one is not, it comes free and you see it here.",
        view.unpaid,
    ) % {"n": view.unpaid}
    return ways.elsewhere(view, _("All seats are taken"), [lead], until=True)


def _counting(view: TeamView) -> Panel:
    lead = _("Payments made before %(end)s are still being counted.") % {"end": ways.end(view)}
    return ways.elsewhere(view, _("Time is up"), [lead])


def _complete(view: TeamView) -> Panel:
    return ways.elsewhere(view, _("This team is complete"), [ways.how_complete(view)])


def _failed(view: TeamView) -> Panel:
    lead = _("Everybody who has paid gets all of their money back.")
    return ways.elsewhere(view, ways.not_filled(view), [lead])


def _withdrawn(view: TeamView) -> Panel:
    lead = _("The shop has withdrawn it; nobody can join any more.")
    return ways.elsewhere(view, _("This offer is over"), [lead])


def _hidden(view: TeamView) -> Panel:
    buy = ways.alone(view, _("Buy: %(price)s"))
    return Panel(_("Sold by %(shop)s") % {"shop": view.channel.name}, [], buy)


def _not_invited(view: TeamView) -> Panel:
    lead = [
        _("%(shop)s offers this team price to customers it has invited.")
        % {"shop": view.channel.name}
    ]
    if not view.user_id:
        lead.append(_("If you were invited, open this page from the shop so that it knows you."))
    return Panel(_("A team for invited customers"), lead, ways.alone(view), tone=Tone.OVER)


def _sold_out(view: TeamView) -> Panel:
    return Panel(
        _("Sold out"),
        [_("Nobody can join any more. Teams that are already complete still get their goods.")],
        Action(_("Other offers"), links.wall(view.channel)),
        tone=Tone.OVER,
    )


def _limit(view: TeamView) -> Panel:
    limit = view.offer.activity.take_limit if view.offer else 1
    return Panel(
        _("Limit reached: %(n)d of %(n)d") % {"n": limit},
        [_("This offer allows no more, so you cannot join this team as well.")],
        Action(_("My orders"), links.orders(view.channel)),
        [ways.alone(view)],
        tone=Tone.OVER,
    )


PANELS: Mapping[TeamState, Callable[[TeamView], Panel]] = {
    Seen.JOINABLE: _joinable,
    Seen.FULL: _full,
    Seen.COUNTING: _counting,
    Seen.COMPLETE: _complete,
    Seen.FAILED: _failed,
    Bar.HIDDEN: _hidden,
    Bar.WITHDRAWN: _withdrawn,
    Bar.NOT_INVITED: _not_invited,
    Bar.SOLD_OUT: _sold_out,
    Bar.LIMIT: _limit,
    **own_panels.PANELS,
}
