"""Texts and actions that several states of a team share."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from activity.models import Activity
from pages import links
from pages.links import Deed
from pages.panels import Action, Panel, Tone
from pages.teams import TeamView
from pages.words import moment, money
from trade.models import Order


def join(view: TeamView, label: str = "") -> Action:
    label = label or _("Join: %(price)s")
    return Action(label % {"price": price(view)}, links.join(view.code))


def elsewhere(
    view: TeamView, headline: str, lead: list[str], *, mine: bool = False, until: bool = False
) -> Panel:
    """The panel of a team in which nothing is left to do; its actions lead elsewhere."""
    ways = ways_on(view)
    also = [*([my_order(view)] if mine else []), *ways[1:]]
    return Panel(
        headline,
        lead,
        ways[0],
        also,
        until=view.team.expires_at if until else None,
        until_label=_("Time left"),
        tone=Tone.OVER,
    )


def rejoin(view: TeamView, headline: str, lead: str) -> Panel:
    ways = [*([join(view, _("Join again: %(price)s"))] if view.may_join else []), *ways_on(view)]
    return Panel(headline, [lead], ways[0], [my_order(view), *ways[1:]], tone=Tone.OVER)


def ways_on(view: TeamView) -> list[Action]:
    """Actions that lead on; the first is always possible."""
    opened = [open_team(view)] if view.may_open else []
    offer = [] if view.may_open else [Action(_("Other offers"), links.wall(view.channel))]
    is_sold_out = view.offer is not None and view.offer.sold_out
    return [*opened, *offer, *([] if is_sold_out else [alone(view)])]


def open_team(view: TeamView, label: str = "") -> Action:
    return Action(
        label or _("Open a team of my own"),
        links.buy(view.channel, view.team.goods_id, Deed.OPEN),
    )


def alone(view: TeamView, label: str = "") -> Action:
    price = view.offer.original_price if view.offer else view.team.original_price
    return Action(
        (label or _("Buy alone: %(price)s")) % {"price": money(price)},
        links.buy(view.channel, view.team.goods_id, Deed.ALONE),
    )


def my_order(view: TeamView) -> Action:
    return Action(_("See my order"), links.order(own_order(view).code))


def own_order(view: TeamView) -> Order:
    assert view.own is not None  # else the state is not one of Mine
    return view.own


def price(view: TeamView) -> str:
    return money(view.pay_price)


def end(view: TeamView) -> str:
    return moment(view.team.expires_at, view.now)


def missing(view: TeamView) -> str:
    return ngettext("%(n)d more person needed", "%(n)d more people needed", view.missing) % {
        "n": view.missing
    }


def until_full(view: TeamView) -> str:
    if view.team.group_type == Activity.GroupType.SHOP_COMPLETES:
        text = _("If it is not full by %(end)s, the shop completes it for everybody who has paid.")
    else:
        text = _("If it is not full by %(end)s, everybody's money goes back.")
    return text % {"end": end(view)}


def back_or_goods(view: TeamView) -> str:
    if view.team.group_type == Activity.GroupType.SHOP_COMPLETES:
        return _("You have paid, so the goods are yours either way.")
    return _("If the team is not full, your %(price)s goes back in full.") % {"price": price(view)}


def how_complete(view: TeamView) -> str:
    at = moment(view.team.completed_at or view.team.expires_at, view.now)
    if view.team.completed_by_shop and view.ended_early:
        return _(
            "The shop completed the team early, with %(n)d of %(target)d people, at %(at)s."
        ) % {"n": view.paid_people, "target": view.team.target_count, "at": at}
    if view.team.completed_by_shop:
        return ngettext(
            "Time was up with %(n)d of %(target)d people; the shop completed the team at %(at)s.",
            "Time was up with %(n)d of %(target)d people; the shop completed the team at %(at)s.",
            view.paid_people,
        ) % {"n": view.paid_people, "target": view.team.target_count, "at": at}
    return ngettext(
        "%(n)d person bought; complete at %(at)s.",
        "%(n)d people bought together; complete at %(at)s.",
        view.team.target_count,
    ) % {"n": view.team.target_count, "at": at}


def not_filled(view: TeamView) -> str:
    if view.ended_early:
        return _("The shop ended this team before its time was up")
    missing = view.team.target_count - view.paid_people
    return ngettext(
        "Time was up with %(n)d person missing", "Time was up with %(n)d people missing", missing
    ) % {"n": missing}


def money_back(view: TeamView) -> str:
    """A text: the money was refunded, if the mall has confirmed it; else its return was ordered."""
    order = own_order(view)
    if order.refund_at and order.refund_amount:
        return _(
            "%(shop)s refunded %(amount)s at %(at)s, the way you paid; your bank or wallet may "
            "take some working days to show it."
        ) % {
            "shop": view.channel.name,
            "amount": money(order.refund_amount),
            "at": moment(order.refund_at, view.now),
        }
    at = moment(order.closed_at or view.now, view.now)
    return _(
        "Your %(price)s goes back in full, the way you paid. The refund was ordered at %(at)s; "
        "your bank or wallet may take some working days to show it."
    ) % {"price": price(view), "at": at}
