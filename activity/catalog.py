"""The offers, from an in-process copy of activities, discounts and goods."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from django.utils import timezone

from activity import discounts
from activity.models import LONGEST_TEAM, Activity, Offer
from groupbuy import switches
from groupbuy.snapshots import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Price:
    original: Decimal
    pay: Decimal

    @property
    def deduction(self) -> Decimal:
        return self.original - self.pay

    def without_discount(self) -> "Price":
        return Price(self.original, self.original)


@dataclass(frozen=True, slots=True)
class LiveOffer:
    """One Offer with everything that a trial and a lock need."""

    channel_id: int
    goods_id: str
    goods_name: str
    picture: str
    description: str
    sold_out: bool
    original_price: Decimal
    price: Price | None  # None: the discount cannot be calculated
    discount_crowd: str | None
    crowds: frozenset[str]  # the crowds that matter to a trial
    activity: Activity


def find_offer(
    *, source: str, channel: str, goods_id: str, activity_id: int | None, now: datetime
) -> LiveOffer | None:
    """The offer of this activity in any state; without activity_id, the newest one that is open.

    An activity that ended more than LONGEST_TEAM ago has no offer here.
    """
    for offer in offers_of(source=source, channel=channel, goods_id=goods_id):
        activity = offer.activity
        matches = activity.is_open(now) if activity_id is None else activity.pk == activity_id
        if matches:
            return offer
    return None


def offers_of(*, source: str, channel: str, goods_id: str) -> Sequence[LiveOffer]:
    """The offers of these goods on the channel, newest activity first, none LONGEST_TEAM over."""
    return _offers.get().get((source, channel, goods_id), ())


def open_offers(*, source: str, channel: str, now: datetime) -> list[LiveOffer]:
    """The open offers of the channel, one for each goods, newest activity first."""
    first = {
        goods: next((each for each in offers if each.activity.is_open(now)), None)
        for (of_source, of_channel, goods), offers in _offers.get().items()
        if (of_source, of_channel) == (source, channel)
    }
    found = [offer for offer in first.values() if offer]
    return sorted(found, key=lambda offer: offer.activity.pk, reverse=True)


def _load() -> Mapping[tuple[str, str, str], Sequence[LiveOffer]]:
    rows = (
        Offer.objects.filter(activity__end_at__gt=timezone.now() - LONGEST_TEAM)
        .select_related("channel", "sku", "activity__discount")
        .order_by("-activity_id")
    )
    offers = defaultdict(list)
    for row in rows:
        key = row.channel.source, row.channel.channel, row.sku.goods_id
        offers[key].append(live_offer(row))
    return offers


def live_offer(row: Offer) -> LiveOffer:
    """The offer of a row that was read with its channel, sku and activity's discount."""
    return LiveOffer(
        channel_id=row.channel_id,
        goods_id=row.sku.goods_id,
        goods_name=row.sku.name,
        picture=row.sku.picture,
        description=row.sku.description,
        sold_out=row.sku.sold_out,
        original_price=row.sku.original_price,
        price=_price(row),
        discount_crowd=row.activity.discount.crowd_id,
        crowds=_crowds(row.activity),
        activity=row.activity,
    )


def _crowds(activity: Activity) -> frozenset[str]:
    limit = activity.crowd_id if activity.restrict_visible or activity.restrict_join else None
    return frozenset(tag for tag in (limit, activity.discount.crowd_id) if tag is not None)


def _price(row: Offer) -> Price | None:
    original, discount = row.sku.original_price, row.activity.discount
    try:
        pay = discounts.pay_price(discount.plan, discount.expression, original)
    except ValueError as exc:
        _warn_once(discount.pk, discount.plan, discount.expression, str(exc))
        return None
    return Price(original, pay)


@lru_cache(maxsize=1000)
def _warn_once(discount_id: int, plan: str, expression: str, reason: str) -> None:
    logger.warning("discount %s (%s %s): %s", discount_id, plan, expression, reason)


_offers = Snapshot(_load, bypass=switches.caches_off, announced=True)
