"""Trial (试算): may this user see and join the offer, and at what price?

The order of the rules: switches, offer, price, crowd, time window. A trial collects every refusal;
callers decide which refusals matter to them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from activity.catalog import LiveOffer, Price, find_offer
from activity.models import Activity
from groupbuy import switches
from groupbuy.errors import ErrorCode, GroupBuyError
from tag.crowd import crowds_of


@dataclass(frozen=True, slots=True)
class TrialQuery:
    user_id: str
    source: str
    channel: str
    goods_id: str
    activity_id: int | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    offer: LiveOffer | None
    price: Price | None  # of this shopper in a team opened now
    discounted: bool  # False outside the discount's crowd
    visible: bool
    joinable: bool
    crowds: frozenset[str]  # those of the offer's crowds that the user belongs to
    in_cut_range: bool  # the switch's percentage of users
    in_activity_range: bool  # the activity's own
    refusals: tuple[ErrorCode, ...]

    @property
    def first_refusal(self) -> ErrorCode:
        return self.refusals[0] if self.refusals else ErrorCode.SUCCESS

    @property
    def activity_id(self) -> int | None:
        return self.offer.activity.pk if self.offer else None

    @property
    def priced(self) -> Self | None:
        """This trial if it has a price, else None."""
        return self if self.offer and self.price else None

    def accept(self, *, despite: Collection[ErrorCode] = ()) -> tuple[LiveOffer, Price]:
        """The offer and the price. Raises the first refusal that is not in `despite`."""
        for error in self.refusals:
            if error not in despite:
                raise GroupBuyError(error)
        assert self.offer is not None  # else refused as NO_OFFER
        assert self.price is not None  # else refused as UNKNOWN_DISCOUNT
        return self.offer, self.price


def run_trial(query: TrialQuery, *, now: datetime) -> Trial:
    """Refusals in the order of docs/contract.md, 2.2; without an offer no price and no crowd."""
    offer = find_offer(
        source=query.source,
        channel=query.channel,
        goods_id=query.goods_id,
        activity_id=query.activity_id,
        now=now,
    )
    if offer is None:
        in_cut_range, refusals = _switches(query.user_id)
        return _without_offer(in_cut_range, [*refusals, ErrorCode.NO_OFFER])
    return judge(offer, query.user_id, crowds_of(query.user_id, offer.crowds), now=now)


def judge(offer: LiveOffer, user_id: str, crowds: frozenset[str], *, now: datetime) -> Trial:
    """The trial of a user who belongs to these of the offer's crowds."""
    in_cut_range, refusals = _switches(user_id)
    in_activity_range = _in_activity_range(offer.activity, user_id)
    if not refusals and not in_activity_range:
        refusals.append(ErrorCode.OUTSIDE_CUT_RANGE)
    if offer.price is None:
        refusals.append(ErrorCode.UNKNOWN_DISCOUNT)
    visible, joinable = _crowd_scope(offer.activity, crowds)
    if not joinable:
        refusals.append(ErrorCode.OUTSIDE_CROWD)
    refusals += _not_open(offer.activity, now)
    discounted = offer.discount_crowd is None or offer.discount_crowd in crowds
    return Trial(
        offer,
        offer.price if discounted or not offer.price else offer.price.without_discount(),
        discounted=discounted,
        visible=visible,
        joinable=joinable,
        crowds=crowds,
        in_cut_range=in_cut_range,
        in_activity_range=in_activity_range,
        refusals=tuple(refusals),
    )


def _switches(user_id: str) -> tuple[bool, list[ErrorCode]]:
    """Whether cutRange admits the user, and the refusals of the switches."""
    in_cut_range = switches.in_cut_range(user_id)
    refusals = [ErrorCode.DOWNGRADED] if switches.is_downgraded() else []
    if not in_cut_range:
        refusals.append(ErrorCode.OUTSIDE_CUT_RANGE)
    return in_cut_range, refusals


def activity_bucket(activity: Activity, user_id: str) -> int:
    """The user's bucket in this activity, 1 to 100: admitted once its cut_range reaches it.

    Salted with the activity id, so that each activity samples different users.
    """
    return switches.bucket(f"{activity.pk} {user_id}")


def _without_offer(in_cut_range: bool, refusals: list[ErrorCode]) -> Trial:
    return Trial(
        None,
        None,
        discounted=False,
        visible=False,
        joinable=False,
        crowds=frozenset(),
        in_cut_range=in_cut_range,
        in_activity_range=False,
        refusals=tuple(refusals),
    )


def _in_activity_range(activity: Activity, user_id: str) -> bool:
    percent = activity.cut_range
    return percent == 100 or activity_bucket(activity, user_id) <= percent


def _crowd_scope(activity: Activity, crowds: Collection[str]) -> tuple[bool, bool]:
    """(visible, joinable). A restricted activity without a crowd is closed to everybody."""
    if not activity.restrict_visible and not activity.restrict_join:
        return True, True
    inside = activity.crowd_id in crowds
    return inside or not activity.restrict_visible, inside or not activity.restrict_join


def _not_open(activity: Activity, now: datetime) -> list[ErrorCode]:
    if activity.status not in (Activity.Status.IN_EFFECT, Activity.Status.EXPIRED):
        return [ErrorCode.ACTIVITY_NOT_IN_EFFECT]
    return [] if activity.is_open(now) else [ErrorCode.OUTSIDE_WINDOW]
