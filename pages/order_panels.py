"""The texts of one's own orders: the list's rows, and the order's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from groupbuy.channels import KnownChannel
from pages import links, own_panels
from pages.links import Deed
from pages.orders import OrderList, OrderRow, Tab
from pages.panels import Action, Panel, Tone
from pages.states import Mine, TeamState, pay_until
from pages.teams import TeamView
from pages.words import moment, money
from trade.models import Order, RefundType
from trade.progress import OrderEvent


@dataclass(frozen=True, slots=True)
class Listed:
    """One order in the list."""

    row: OrderRow
    name: str
    words: str
    until: datetime | None
    action: Action
    tone: Tone


def listed(channel: KnownChannel, orders: OrderList, tab: Tab) -> dict[str, Any]:
    names = {
        Tab.ALL: _("All"),
        Tab.TO_PAY: _("To pay"),
        Tab.RUNNING: _("In progress"),
        Tab.DONE: _("Done"),
        Tab.BACK: _("Refunds"),
    }
    base = links.orders(channel)
    return {
        "tabs": [(name, f"{base}?tab={each}", each is tab) for each, name in names.items()],
        "rows": [_listed(row) for row in orders.rows],
        "next": f"{base}?tab={tab}&after={orders.next}" if orders.next else "",
    }


def context(view: TeamView, order: Order, history: Sequence[OrderEvent]) -> dict[str, Any]:
    return {
        "view": view,
        "order": order,
        "panel": _panel(view, order),
        "sums": _sums(order),
        "history": _history(view, order, history),
    }


def _listed(row: OrderRow) -> Listed:
    order = row.order
    until = {
        Mine.UNPAID: pay_until(order.team, order),
        Mine.FORMING: order.team.expires_at,
    }.get(row.state)
    action, tone = Action(_("Details"), links.order(order.code)), Tone.CALM
    if row.state is Mine.UNPAID:
        action, tone = Action(_("Pay"), links.deal(order.code, Deed.PAY)), Tone.WAIT
    if row.state is Mine.FORMING:
        action, tone = Action(_("Invite"), links.team(order.code)), Tone.GOOD
    name = row.sku.name if row.sku else order.goods_id
    return Listed(row, name, _short(order, row.state), until, action, tone)


def _short(order: Order, state: Mine) -> str:
    if order.refund_amount:
        return _("Refunded: %(amount)s") % {"amount": money(order.refund_amount)}
    words = {
        Mine.UNPAID: _("To be paid"),
        Mine.CONFIRMING: _("Being confirmed"),
        Mine.FORMING: _("Waiting for the team"),
        Mine.COUNTING: _("Payments are being counted"),
        Mine.COUNTING_UNPAID: _("Time is up"),
        Mine.COMPLETE: _("Team complete"),
        Mine.LAPSED: _("Not paid, seat free again"),
        Mine.LAPSED_FOR_GOOD: _("Not paid in time"),
        Mine.LEFT: _("Cancelled"),
        Mine.RETURNED: _("Cancelled, refund under way"),
        Mine.FAILED: _("Team not filled, refund under way"),
        Mine.FAILED_UNPAID: _("Team not filled"),
        Mine.LATE: _("Paid too late, refund under way"),
        Mine.BLOCKED: _("Not accepted, refund under way"),
    }
    return words[state]


def _panel(view: TeamView, order: Order) -> Panel:
    """The panel of the team's page, with the actions of the order."""
    code, state = order.code, view.state
    panel = own_panels.PANELS[state](view)
    give_back = Action(_("Cancel the order"), links.deal(code, Deed.RETURN))
    label = _("Delivery and help") if state is Mine.COMPLETE else _("The order at the shop")
    at_shop = Action(label, links.deal(code, Deed.VIEW))
    team = Action(_("See the team"), links.team(code))
    if notice := _before_giving_back(state):
        panel = replace(panel, lead=[*panel.lead, notice % {"price": money(order.pay_price)}])
    if state in (Mine.UNPAID, Mine.FORMING):
        return replace(panel, also=[give_back, team])
    if state in (Mine.COMPLETE, Mine.COUNTING, Mine.COUNTING_UNPAID):
        also = [give_back] if state is Mine.COMPLETE else []
        return replace(panel, main=at_shop, also=[*also, team])
    if state is Mine.CONFIRMING:
        return panel
    to_itself = links.order(code)
    ways = [way for way in (panel.main, *panel.also) if way.url != to_itself]
    return replace(panel, main=ways[0] if ways else at_shop, also=[*ways[1:], at_shop][:3])


def _before_giving_back(state: TeamState) -> str:
    """What giving the order back means for seat, money and team; "" if it cannot be given back."""
    match state:
        case Mine.UNPAID:
            return _("If you cancel, your seat is free for others, and you owe nothing.")
        case Mine.FORMING:
            return _(
                "If you cancel, your seat is free for others and your %(price)s goes back in "
                "full; the team goes on without you."
            )
        case Mine.COMPLETE:
            return _(
                "If you cancel, your %(price)s goes back in full; the team stays complete "
                "for the others."
            )
        case _:
            return ""


def _sums(order: Order) -> list[tuple[str, str]]:
    """The price alone, what is saved, and what is to be paid, was paid, or is refunded."""
    sums = [(_("Price alone"), money(order.original_price))]
    if order.deduction_price:
        sums.append((_("Saved in the team"), f"−{money(order.deduction_price)}"))
    if order.paid_at is None:
        label = _("To pay") if order.status == Order.Status.LOCKED else _("Not paid")
        return [*sums, (label, money(order.pay_price))]
    sums.append((_("Paid"), money(order.pay_price)))
    if order.refund_amount:
        sums.append((_("Refunded"), money(order.refund_amount)))
    elif order.status == Order.Status.CLOSED:
        sums.append((_("Goes back to you"), money(order.pay_price)))
    return sums


def _history(view: TeamView, order: Order, history: Sequence[OrderEvent]) -> list[tuple[str, str]]:
    """The order's events and their times, oldest first."""
    words: Mapping[str, str] = {
        "locked": _("Seat held"),
        "paid": _("Your payment arrived"),
        "team_complete": _("Team complete"),
        "closed": _closed(order),
        "team_success_delivered": _("The shop was told to send the goods"),
        "team_refund_delivered": _("The shop was told to return your money"),
        RefundType.UNPAID_UNLOCK: _("The shop was told that the seat is free"),
        "refund_confirmed": _("The shop confirmed your refund"),
    }
    return [
        (moment(each.at, view.now), words.get(each.kind) or words[each.event]) for each in history
    ]


def _closed(order: Order) -> str:
    paid = order.paid_at is not None
    words = {
        Order.CloseReason.HOLD_TIMEOUT: _("Not paid in time: the seat was free again"),
        Order.CloseReason.LATE_PAYMENT: _("Your payment came too late: your refund was ordered"),
        Order.CloseReason.BLACKLISTED: _("Your payment was not accepted: your refund was ordered"),
        Order.CloseReason.REFUNDED: _("Cancelled: your refund was ordered")
        if paid
        else _("The seat was given up"),
        Order.CloseReason.TEAM_ENDED: _("Team not filled: your refund was ordered")
        if paid
        else _("Team not filled"),
    }
    return words.get(Order.CloseReason(order.close_reason), "") if order.close_reason else ""
