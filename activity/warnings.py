"""Warnings before an activity is published (发布前提醒).

They refuse nothing: each may be what the operator wants.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from activity import discounts
from activity.models import LIVE, Activity, Discount, Offer, Sku
from groupbuy.durations import duration

Check = Callable[[Activity, Sequence[Offer], datetime], Iterator[str]]


def warnings(activity: Activity, now: datetime) -> list[str]:
    """The texts of all warnings, each once; none for an activity that is over."""
    if activity.status not in LIVE or activity.end_at <= now:
        return []
    offers = list(activity.offers.select_related("channel", "sku"))
    texts = [text for check in CHECKS for text in check(activity, offers, now)]
    return list(dict.fromkeys(texts))  # goods may be offered on several channels


def price_of(discount: Discount, sku: Sku) -> Decimal | None:
    """The team price; None if the discount cannot be calculated."""
    try:
        return discounts.pay_price(discount.plan, discount.expression, sku.original_price)
    except ValueError:
        return None


def overlapping(activity: Activity, offers: Sequence[Offer]) -> dict[int, Offer]:
    """The keys of offers that conflict with another live activity -> that activity's offer."""
    clashes = Offer.objects.select_related("activity").filter(
        channel__in={offer.channel_id for offer in offers},
        sku__in={offer.sku_id for offer in offers},
        activity__status__in=LIVE,
        activity__start_at__lt=activity.end_at,
        activity__end_at__gt=activity.start_at,
    )
    found = {(each.channel_id, each.sku_id): each for each in clashes.exclude(activity=activity)}
    pairs = ((offer.pk, found.get((offer.channel_id, offer.sku_id))) for offer in offers)
    return {pk: clash for pk, clash in pairs if clash}


def _offers(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    if not offers:
        yield _("It offers no goods: add an offer.")


def _cost(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    for offer in offers:
        price, cost = price_of(activity.discount, offer.sku), offer.sku.cost_price
        if price is not None and cost is not None and price < cost:
            yield _("%(goods)s: the team price %(price)s is below its cost of %(cost)s.") % {
                "goods": offer.sku,
                "price": price,
                "cost": cost,
            }


def _overlap(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    clashes = overlapping(activity, offers)
    for offer in offers:
        if clash := clashes.get(offer.pk):
            yield _("%(goods)s on %(channel)s is also offered by %(activity)s at that time.") % {
                "goods": offer.sku,
                "channel": offer.channel,
                "activity": clash.activity,
            }


def _time(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    """Warn if every team opened from now on would outlive the activity, not only the last ones."""
    left = activity.end_at - max(now, activity.start_at)
    if left < timedelta(minutes=activity.valid_minutes):
        yield _(
            "A team has %(time)s, and the activity ends at %(end)s: teams will still be"
            " forming after its end."
        ) % {
            "time": duration(activity.valid_minutes),
            "end": date_format(localtime(activity.end_at), "Y-m-d H:i"),
        }


def _crowd(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    crowd = activity.crowd if activity.restrict_visible or activity.restrict_join else None
    size = crowd.size if crowd else None
    if size == 0:
        yield _("Nobody belongs to the crowd %(crowd)s: nobody can join.") % {"crowd": crowd}
    elif size is not None and size < activity.target_count:
        yield ngettext(
            "The crowd %(crowd)s has %(size)d member, and a team needs %(target)d people.",
            "The crowd %(crowd)s has %(size)d members, and a team needs %(target)d people.",
            size,
        ) % {"crowd": crowd, "size": size, "target": activity.target_count}


def _discount_crowd(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    crowd = activity.discount.crowd
    if crowd and crowd.size == 0:
        yield _("Nobody belongs to the discount's crowd %(crowd)s: everybody pays full.") % {
            "crowd": crowd
        }


def _admitted(activity: Activity, offers: Sequence[Offer], now: datetime) -> Iterator[str]:
    if activity.cut_range == 0:
        yield _("It admits 0 per cent of the users: nobody can see it.")


CHECKS: Sequence[Check] = (_offers, _cost, _overlap, _time, _crowd, _discount_crowd, _admitted)
