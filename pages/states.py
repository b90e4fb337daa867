"""The states of a page: those of an offer, of a team and of one's own order.

All functions are pure functions of rows and the time. The texts of each state are in offer_panels,
team_panels, own_panels and order_panels.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import assert_never

from activity.models import Activity
from groupbuy.errors import ErrorCode
from trade.models import Order, Team

Status, Reason, TeamStatus = Order.Status, Order.CloseReason, Team.Status


class Bar(Enum):
    """Why this visitor may not buy in a team here."""

    HIDDEN = auto()  # this visitor may not see the offer: the page shows no trace of it
    WITHDRAWN = auto()
    NOT_INVITED = auto()  # this visitor may see the offer, but only a crowd may join
    SOLD_OUT = auto()
    LIMIT = auto()


class Mine(Enum):
    """The state of the visitor's own order."""

    UNPAID = auto()
    CONFIRMING = auto()  # the shopper is back from paying, and the mall has not settled yet
    FORMING = auto()
    COUNTING = auto()  # time is up; payments made in time may still arrive
    COUNTING_UNPAID = auto()
    COMPLETE = auto()
    LAPSED = auto()  # the hold is over, and the team still has a free seat
    LAPSED_FOR_GOOD = auto()
    LEFT = auto()  # given back unpaid
    RETURNED = auto()  # given back paid
    FAILED = auto()
    FAILED_UNPAID = auto()
    LATE = auto()
    BLOCKED = auto()  # paid on a blacklisted channel


class Seen(Enum):
    """The state of a team for a visitor who has no order in it."""

    JOINABLE = auto()
    FULL = auto()  # every seat is taken, and some are not paid
    COUNTING = auto()
    COMPLETE = auto()
    FAILED = auto()


class OfferState(Enum):
    NOT_STARTED = auto()
    OPEN = auto()
    MINE_UNPAID = auto()
    MINE_OVERDUE = auto()  # the time to pay is over; a payment made in time may still arrive
    MINE_FORMING = auto()
    MINE_DONE = auto()
    ENDED = auto()


TeamState = Mine | Seen | Bar


def barred(
    refusals: Collection[ErrorCode], *, visible: bool, sold_out: bool, taken: int, limit: int
) -> Bar | None:
    """The bar that a trial's refusals amount to, apart from the activity's time window."""
    unseen = (ErrorCode.DOWNGRADED, ErrorCode.OUTSIDE_CUT_RANGE, ErrorCode.UNKNOWN_DISCOUNT)
    if ErrorCode.NO_OFFER in refusals:
        return Bar.WITHDRAWN
    if not visible or any(code in refusals for code in unseen):
        return Bar.HIDDEN
    if ErrorCode.ACTIVITY_NOT_IN_EFFECT in refusals:
        return Bar.WITHDRAWN
    if ErrorCode.OUTSIDE_CROWD in refusals:
        return Bar.NOT_INVITED
    if sold_out:
        return Bar.SOLD_OUT
    return Bar.LIMIT if taken >= limit else None


def offer_state(
    activity: Activity, bar: Bar | None, own: Sequence[Mine], *, now: datetime
) -> OfferState | Bar:
    """The state of the offer's page. The visitor's own order comes first: to pay for or to fill."""
    if Mine.UNPAID in own:
        return OfferState.MINE_UNPAID
    if Mine.FORMING in own or Mine.COUNTING in own:
        return OfferState.MINE_FORMING
    if Mine.LAPSED in own or Mine.COUNTING_UNPAID in own:
        return OfferState.MINE_OVERDUE
    if bar in (Bar.HIDDEN, Bar.NOT_INVITED, Bar.SOLD_OUT):
        return bar
    if activity.status == Activity.Status.IN_EFFECT and now < activity.start_at:
        return OfferState.NOT_STARTED
    if bar is Bar.WITHDRAWN or not activity.is_open(now):
        return OfferState.ENDED
    if bar is Bar.LIMIT:
        return OfferState.MINE_DONE if own and activity.take_limit == 1 else Bar.LIMIT
    return OfferState.MINE_DONE if own else OfferState.OPEN


def team_state(
    team: Team, own: Order | None, bar: Bar | None, *, said_paid: bool = False, now: datetime
) -> TeamState:
    if own is not None:
        return my_state(team, own, said_paid=said_paid, now=now)
    if bar is Bar.HIDDEN:
        return bar
    seen = seen_state(team, now=now)
    return bar if bar and seen is Seen.JOINABLE else seen


def seen_state(team: Team, *, now: datetime) -> Seen:
    match TeamStatus(team.status):
        case TeamStatus.FORMING if now >= team.expires_at:
            return Seen.COUNTING
        case TeamStatus.FORMING:
            return Seen.FULL if team.is_full() else Seen.JOINABLE
        case TeamStatus.FAILED if team.completed_at is None:
            return Seen.FAILED
        case TeamStatus.COMPLETE | TeamStatus.COMPLETE_WITH_REFUNDS | TeamStatus.FAILED:
            return Seen.COMPLETE
        case status:
            assert_never(status)


def my_state(team: Team, order: Order, *, said_paid: bool = False, now: datetime) -> Mine:
    """The state of an order in this team. said_paid: the shopper is back from paying."""
    match Status(order.status):
        case Status.LOCKED:
            return _held(team, order, said_paid=said_paid, now=now)
        case Status.PAID if team.status != TeamStatus.FORMING:
            return Mine.COMPLETE
        case Status.PAID:
            return Mine.FORMING if now < team.expires_at else Mine.COUNTING
        case Status.CLOSED:
            return _closed(team, order, now=now)
        case status:
            assert_never(status)


def pay_until(team: Team, order: Order) -> datetime:
    """The end of the hold, or of the team if that comes first."""
    return min(order.pay_deadline, team.expires_at)


def _held(team: Team, order: Order, *, said_paid: bool, now: datetime) -> Mine:
    if said_paid:
        return Mine.CONFIRMING
    if now >= team.expires_at:
        return Mine.COUNTING_UNPAID
    return Mine.UNPAID if now < order.pay_deadline else Mine.LAPSED


def _closed(team: Team, order: Order, *, now: datetime) -> Mine:
    paid = order.paid_at is not None
    match Reason(order.close_reason):
        case Reason.HOLD_TIMEOUT:
            free = team.is_joinable(now) and not team.is_full()
            return Mine.LAPSED if free else Mine.LAPSED_FOR_GOOD
        case Reason.TEAM_ENDED:
            return Mine.FAILED if paid else Mine.FAILED_UNPAID
        case Reason.REFUNDED:
            return Mine.RETURNED if paid else Mine.LEFT
        case Reason.LATE_PAYMENT:
            return Mine.LATE
        case Reason.BLACKLISTED:
            return Mine.BLOCKED
        case reason:
            assert_never(reason)
