"""What the page of one offer shows, and the wall of a channel's offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from activity.catalog import LiveOffer, Price, offers_of, open_offers
from activity.models import Activity
from activity.trial import Trial, TrialQuery, run_trial
from groupbuy.channels import KnownChannel
from pages.seats import TeamRow, row_of
from pages.states import Bar, OfferState, barred, my_state, offer_state
from trade import market, watch
from trade.market import OpenTeam, Statistic
from trade.models import Order

TEAMS, MORE_TEAMS = 4, 20  # open teams that an offer's page shows at once, and unfolds
SOON = timedelta(hours=48)  # before its end an open offer counts down


@dataclass(frozen=True, slots=True)
class OfferView:
    """One offer as this visitor sees it now. user_id is "" for a guest."""

    channel: KnownChannel
    user_id: str
    offer: LiveOffer
    asked: int | None  # the activity that the visitor's link names
    price: Price
    state: OfferState | Bar
    bar: Bar | None  # also where the visitor's own order decides the state
    own: Sequence[Order]  # the visitor's live orders of this offer
    teams: Sequence[TeamRow]
    more_teams: Sequence[TeamRow]
    statistic: Statistic
    now: datetime

    @property
    def is_shown(self) -> bool:
        """May the page show the team price? Otherwise it shows plain goods at the single price."""
        return self.state is not Bar.HIDDEN

    @property
    def ends_soon(self) -> bool:
        return self.offer.activity.end_at - self.now < SOON

    @property
    def may_open(self) -> bool:
        """May this visitor open a team, or another one?"""
        return (
            self.state in (OfferState.OPEN, OfferState.MINE_DONE, OfferState.MINE_FORMING)
            and self.bar is None
            and self.offer.activity.is_open(self.now)
        )

    def version(self) -> object:
        """Views of the same version differ in nothing but the time left."""
        activity = self.offer.activity
        return (
            (self.state, self.bar),
            self.price,
            (activity.start_at, activity.end_at, activity.target_count),
            (activity.valid_minutes, activity.take_limit),
            (self.may_open, self.ends_soon),
            [(o.code, o.status, o.pay_deadline, o.team.paid_count) for o in self.own],
            (self.teams, self.more_teams),
            self.statistic if self.is_shown else (),
        )


@dataclass(frozen=True, slots=True)
class WallRow:
    offer: LiveOffer
    price: Price
    open_teams: int


def read_offer(
    channel: KnownChannel, goods_id: str, *, activity_id: int | None, user_id: str, now: datetime
) -> OfferView | None:
    """The offer, or None if the channel never offered these goods, or not in that activity."""
    offer = _choose(channel, goods_id, activity_id, now)
    if offer is None:
        return None
    trial = try_offer(channel, offer, user_id, now)
    return view_of(channel, offer, trial, asked=activity_id, user_id=user_id, now=now)


def view_of(
    channel: KnownChannel,
    offer: LiveOffer,
    trial: Trial,
    *,
    asked: int | None,
    user_id: str,
    now: datetime,
) -> OfferView:
    """The offer as this visitor sees it, given the visitor's trial; asked as in OfferView."""
    taken = watch.live_orders(activity_id=offer.activity.pk, user_id=user_id) if user_id else []
    bar = bar_of(trial, offer, taken=len(taken))
    own = [order for order in taken if market.is_of(order, offer)]
    mine = [my_state(order.team, order, now=now) for order in own]
    state = offer_state(offer.activity, bar, mine, now=now)
    teams = [] if bar else _joinable(offer, own, state, now)
    return OfferView(
        channel=channel,
        user_id=user_id,
        offer=offer,
        asked=asked,
        price=trial.price or Price(offer.original_price, offer.original_price),
        state=state,
        bar=bar,
        own=own,
        teams=[row_of(each) for each in teams[:TEAMS]],
        more_teams=[row_of(each) for each in teams[TEAMS : TEAMS + MORE_TEAMS]],
        statistic=market.statistic(offer.activity.pk),
        now=now,
    )


def read_wall(channel: KnownChannel, *, user_id: str, now: datetime) -> list[WallRow]:
    """The open offers that this visitor may see; then those that save nothing or are sold out."""
    counts = market.open_counts(channel.pk)
    rows = []
    for offer in open_offers(source=channel.source, channel=channel.channel, now=now):
        trial = try_offer(channel, offer, user_id, now)
        if trial.price and bar_of(trial, offer, taken=0) is not Bar.HIDDEN:
            teams = counts.get((offer.activity.pk, offer.goods_id), 0)
            rows.append(WallRow(offer, trial.price, teams))
    return sorted(rows, key=lambda row: (row.offer.sold_out, not row.price.deduction))


def try_offer(channel: KnownChannel, offer: LiveOffer, user_id: str, now: datetime) -> Trial:
    query = TrialQuery(user_id, channel.source, channel.channel, offer.goods_id, offer.activity.pk)
    return run_trial(query, now=now)


def bar_of(trial: Trial, offer: LiveOffer, *, taken: int) -> Bar | None:
    return barred(
        trial.refusals,
        visible=trial.visible,
        sold_out=offer.sold_out,
        taken=taken,
        limit=offer.activity.take_limit,
    )


def _choose(
    channel: KnownChannel, goods_id: str, activity_id: int | None, now: datetime
) -> LiveOffer | None:
    """The open offer of these goods, or else the next to start, or else the last that ended."""
    found = [
        offer
        for offer in offers_of(source=channel.source, channel=channel.channel, goods_id=goods_id)
        if offer.activity.status != Activity.Status.CREATED
        and activity_id in (None, offer.activity.pk)
    ]

    def distance(offer: LiveOffer) -> tuple[int, float]:
        activity = offer.activity
        if activity.is_open(now):
            return 0, 0
        if activity.status == Activity.Status.IN_EFFECT and now < activity.start_at:
            return 1, activity.start_at.timestamp()
        return 2, -activity.end_at.timestamp()

    return min(found, key=distance, default=None)


def _joinable(
    offer: LiveOffer, own: Sequence[Order], state: OfferState | Bar, now: datetime
) -> list[OpenTeam]:
    """Open teams if the visitor may join one; those with the fewest free seats first."""
    if state not in (OfferState.OPEN, OfferState.MINE_DONE):
        return []
    mine = {order.team_id for order in own}
    teams = [each for each in market.open_teams(offer, now=now) if each.team.pk not in mine]
    return sorted(teams, key=lambda each: each.team.target_count - each.team.locked_count)
