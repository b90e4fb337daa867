"""What the page of one team shows, to its members and to everybody else."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from activity.catalog import LiveOffer, find_offer
from groupbuy import channels
from groupbuy.channels import KnownChannel
from pages import offers
from pages.seats import Seat, TeamRow, row_of
from pages.states import Bar, Mine, Seen, TeamState, seen_state, team_state
from trade import market, watch
from trade.market import OpenTeam, mask
from trade.models import Order, Team
from trade.watch import Watched

SEATS = 12  # seats drawn one by one; a larger team shows its first members
OTHERS = 3  # other teams offered where this one cannot be joined


@dataclass(frozen=True, slots=True)
class TeamView:
    """One team as this visitor sees it now. user_id is "" for a guest."""

    channel: KnownChannel
    user_id: str
    code: str
    inviter: str  # the masked id of the code's member; "" if that member has left
    team: Team
    offer: LiveOffer | None  # None: it was deleted, or is long over
    state: TeamState
    own: Order | None
    pay_price: Decimal  # what the visitor pays, or would pay
    bar: Bar | None
    may_open: bool
    seats: Sequence[Seat]
    paid_people: int  # as of the end of the team's time, or of its completion
    ended_early: bool  # the shop ended or completed it before its time was up
    others: Sequence[TeamRow]
    now: datetime

    @property
    def missing(self) -> int:
        return self.team.target_count - self.team.locked_count

    @property
    def unpaid(self) -> int:
        return self.team.locked_count - self.team.paid_count

    @property
    def given_back(self) -> int:
        """Paid seats that were given back after the team's end or completion."""
        return self.paid_people - self.team.paid_count

    @property
    def goods_name(self) -> str:
        return self.offer.goods_name if self.offer else self.team.goods_id

    @property
    def invited_by(self) -> str:
        """The inviter, for a visitor who can join the team or wait for a seat in it."""
        return self.inviter if self.state in (Seen.JOINABLE, Seen.FULL) else ""

    @property
    def saved(self) -> Decimal:
        return self.team.original_price - self.pay_price

    @property
    def may_join(self) -> bool:
        free = seen_state(self.team, now=self.now) is Seen.JOINABLE
        return free and self.bar is None and not self.is_in

    @property
    def is_in(self) -> bool:
        """Has the visitor a seat in this team?"""
        return self.own is not None and self.own.seat_of is not None

    @property
    def takes_more(self) -> bool:
        """Whether somebody can take a free seat now, not necessarily this visitor."""
        is_sold = self.offer is not None and not self.offer.sold_out
        is_sold = is_sold and self.bar is not Bar.WITHDRAWN
        return is_sold and seen_state(self.team, now=self.now) is Seen.JOINABLE

    @property
    def shows_seats(self) -> bool:
        return self.state is not Bar.HIDDEN and self.team.locked_count > 0

    @property
    def hidden_seats(self) -> int:
        return max(0, self.team.locked_count - SEATS)

    def version(self) -> object:
        """Views of the same version differ in nothing but the time left."""
        own, team = self.own, self.team
        return (
            (self.state, self.invited_by),
            (team.status, team.locked_count, team.paid_count, team.completed_by_shop),
            (own.code, *own.state.values(), own.pay_deadline, own.refund_at) if own else (),
            (self.may_open, self.may_join, self.bar, self.pay_price),
            (self.offer.original_price, self.offer.activity.take_limit) if self.offer else (),
            self.others,
            self.seats,
        )


def read_team(
    code: str,
    identify: Callable[[KnownChannel], str],
    *,
    fresh: bool = False,
    now: datetime,
) -> TeamView | None:
    """The team, or None for an unknown code. identify() returns the visitor's user id on a channel.

    fresh: read the database for a shopper, who may be a member and may have just paid.
    """
    team_id = watch.team_of(code)
    if team_id is None:
        return None
    watched = watch.watch(team_id)
    channel = channels.get(watched.team.channel_id)
    if channel is None:  # another process created it within the last second
        return None
    user_id = identify(channel)
    if fresh and user_id:
        watched = watch.read(team_id)
    return view_of(channel, user_id, code, watched, watched.order_of(user_id), now=now)


def view_of(
    channel: KnownChannel,
    user_id: str,
    code: str,
    watched: Watched,
    own: Order | None,
    *,
    said_paid: bool = False,
    now: datetime,
) -> TeamView:
    """The team as this visitor sees it. own is the visitor's order that the page is about."""
    team = watched.team
    offer = find_offer(
        source=channel.source,
        channel=channel.channel,
        goods_id=team.goods_id,
        activity_id=team.activity_id,
        now=now,
    )
    mine = _teams_of(user_id, offer, own)
    bar, discounted = _bar(channel, offer, user_id, len(mine), now)
    state = team_state(team, own, bar, said_paid=said_paid, now=now)
    price = team.pay_price if discounted else team.original_price
    return TeamView(
        channel=channel,
        user_id=user_id,
        code=code,
        inviter=_inviter(watched, code),
        team=team,
        offer=offer,
        state=state,
        own=own,
        pay_price=own.pay_price if own else price,
        bar=bar,
        may_open=bool(offer and bar is None and offer.activity.is_open(now)),
        seats=_seats(watched, own),
        paid_people=watched.paid_at_the_end,
        ended_early=watched.ended_early,
        others=[] if bar or state in STAYS else _others(offer, watched, code, mine, now),
        now=now,
    )


def _bar(
    channel: KnownChannel,
    offer: LiveOffer | None,
    user_id: str,
    taken: int,
    now: datetime,
) -> tuple[Bar | None, bool]:
    """Why the visitor may not buy in a team, and whether the team price applies to the visitor."""
    if offer is None:
        return Bar.WITHDRAWN, True
    trial = offers.try_offer(channel, offer, user_id, now)
    return offers.bar_of(trial, offer, taken=taken), trial.discounted


def _teams_of(user_id: str, offer: LiveOffer | None, own: Order | None) -> set[int]:
    """The teams of the activity that the visitor has a seat in; of a member only this team.

    A member's poll reads this team only. A member who opens another team beyond the limit is
    refused on the way to the mall. A former member may have taken a seat elsewhere.
    """
    if own and own.seat_of:
        return {own.team_id}
    if offer is None or not user_id:
        return set()
    live = watch.live_orders(activity_id=offer.activity.pk, user_id=user_id)
    return {order.team_id for order in live}


def _inviter(watched: Watched, code: str) -> str:
    order = watched.order_with(code)
    return mask(order.user_id) if order and order.seat_of else ""


def _seats(watched: Watched, own: Order | None) -> tuple[Seat, ...]:
    taken = [
        Seat(
            name=mask(order.user_id),
            paid=order.status == Order.Status.PAID,
            is_me=own is not None and order.pk == own.pk,
        )
        for order in watched.members[:SEATS]
    ]
    is_forming = watched.team.status == Team.Status.FORMING
    free = min(SEATS, watched.team.target_count) - len(taken) if is_forming else 0
    return (*taken, *[Seat("")] * free)


def _others(
    offer: LiveOffer | None, watched: Watched, code: str, mine: Collection[int], now: datetime
) -> list[TeamRow]:
    """Open teams to join instead: the inviter's, those of other members of this team, any.

    mine: the teams that the visitor has a seat in.
    """
    if offer is None:
        return []
    inviter = watched.order_with(code)
    friends = {order.user_id for order in watched.orders}
    theirs = market.open_teams_of(inviter.user_id, offer, now=now) if inviter else []
    shown = sorted(market.open_teams(offer, now=now), key=lambda each: each.user_id not in friends)
    teams: dict[int, OpenTeam] = {}
    for each in (*theirs, *shown):
        if each.team.pk not in {watched.team.pk, *mine}:
            teams.setdefault(each.team.pk, each)
    return [row_of(each, is_friend=each.user_id in friends) for each in [*teams.values()][:OTHERS]]


# In these states the page offers no other teams: the visitor can join, or has a seat in this one.
STAYS = (
    Seen.JOINABLE,
    Mine.UNPAID,
    Mine.CONFIRMING,
    Mine.FORMING,
    Mine.COUNTING,
    Mine.COUNTING_UNPAID,
    Mine.COMPLETE,
)
