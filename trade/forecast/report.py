"""Forecasts of an offer: the simulated figures, and the same figures from the rows of the trade."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import Avg, F, QuerySet
from django.utils.translation import gettext as _

from activity.discounts import pay_price
from activity.models import Activity, Offer
from groupbuy.ids import first_id
from groupbuy.money import to_money
from trade.forecast.simulation import (
    MOST_FRIENDS,
    Guess,
    Outcome,
    Rules,
    expected_seats,
    fitted_spread,
    simulate,
)
from trade.models import Forecast, Order, Team

MOST_SEATS = 10_000  # of one simulated campaign; a hundred of them take about two seconds
MOST_ORDERS = 100_000  # that a page reads to compare a forecast with
HISTORY = timedelta(days=30)
MINUTE = timedelta(minutes=1)


class Campaign(NamedTuple):
    """The result of a campaign, simulated or real. Seats are paid orders, money is in yuan."""

    opened: int  # teams
    full: int
    by_shop: int
    failed: int
    paid: int  # seats
    kept: int
    peak: int  # seats taken in forming teams at one time
    gmv: Decimal  # of all paid seats
    refunds: Decimal
    discount: Decimal  # of kept seats
    margin: Decimal

    @property
    def completion(self) -> Decimal | None:
        """Percentage of the ended teams that became full; None without one."""
        ended = self.full + self.by_shop + self.failed
        return to_money(Decimal(100 * self.full) / ended) if ended else None


COUNTS = ("opened", "full", "by_shop", "failed", "paid", "kept", "peak")
MONEY = ("gmv", "refunds", "discount", "margin")
GUESSED = ("visitors", "joins", "spread", "friend_minutes", "pays", "returns")
FIGURES = (*COUNTS, "completion", *MONEY)


def fill(forecast: Forecast) -> None:
    """Copy the present rules of the offer to the forecast, and simulate.

    Raises ValidationError for a discount that cannot be calculated, and for guesses whose
    simulation would take too long.
    """
    forecast.starts_at = max(forecast.offer.activity.start_at, forecast.created_at)
    _take_rules(forecast)
    rules, guess = _rules(forecast), _guess(forecast)
    seats = expected_seats(rules, guess, days=forecast.days)
    if seats * max(1, guess.spread / MOST_FRIENDS) > MOST_SEATS:  # friends without a seat come, too
        message = _("More than %(most)d buyers: forecast fewer days or a part of the visitors.")
        raise ValidationError({"visitors": message % {"most": MOST_SEATS}})
    runs = [
        _priced(outcome, forecast)
        for outcome in simulate(rules, guess, days=forecast.days, seed=forecast.seed)
    ]
    forecast.figures = {name: _spread(runs, name) for name in FIGURES}
    forecast.losing_runs = round(100 * sum(run.margin < 0 for run in runs) / len(runs))


def _take_rules(forecast: Forecast) -> None:
    activity = forecast.offer.activity
    for name in ("target_count", "valid_minutes", "hold_minutes", "group_type"):
        setattr(forecast, name, getattr(activity, name))
    original, discount = forecast.offer.sku.original_price, activity.discount
    forecast.original_price = original
    try:
        forecast.pay_price = pay_price(discount.plan, discount.expression, original)
    except ValueError as exc:
        raise ValidationError({"offer": _("Correct the discount's expression.")}) from exc


def _rules(forecast: Forecast) -> Rules:
    return Rules(
        forecast.target_count,
        forecast.valid_minutes,
        forecast.hold_minutes,
        shop_completes=forecast.group_type == Activity.GroupType.SHOP_COMPLETES,
    )


def _guess(forecast: Forecast) -> Guess:
    return Guess(
        buyers=float(forecast.visitors * forecast.conversion / 100),
        joins=float(forecast.joins / 100),
        spread=float(forecast.spread),
        friend_minutes=forecast.friend_minutes,
        pays=float(forecast.pays / 100),
        returns=float(forecast.returns / 100),
    )


def _priced(outcome: Outcome, forecast: Forecast) -> Campaign:
    kept = outcome.paid - outcome.returned
    return Campaign(
        *(outcome.opened, outcome.full, outcome.by_shop, outcome.failed),
        *(outcome.paid, kept, outcome.peak),
        gmv=outcome.paid * forecast.pay_price,
        refunds=outcome.returned * forecast.pay_price,
        discount=kept * (forecast.original_price - forecast.pay_price),
        margin=kept * (forecast.pay_price - forecast.unit_cost) - forecast.fixed_cost,
    )


def _spread(runs: Iterable[Campaign], name: str) -> list[str]:
    """The 5 % quantile, the median and the 95 % quantile; empty without values."""
    values = sorted(value for run in runs if (value := getattr(run, name)) is not None)
    return [str(values[int(len(values) * share)]) for share in (0.05, 0.5, 0.95) if values]


def fact(forecast: Forecast, now: datetime) -> Campaign | None:
    """The campaign so far, from the teams opened in the forecast's days.

    None before these days, or if there are more than MOST_ORDERS orders.
    """
    until = min(now, forecast.ends_at)
    if until <= forecast.starts_at:
        return None
    teams = list(_of_offer(Team, forecast.offer, forecast.starts_at, until)[:MOST_ORDERS])
    by_pk = {team.pk: team for team in teams}
    found = list(_of_offer(Order, forecast.offer, forecast.starts_at, now)[: MOST_ORDERS + 1])
    if len(found) > MOST_ORDERS:
        return None
    orders = [order for order in found if order.team_id in by_pk]
    paid = [o for o in orders if o.settled_at and o.close_reason not in Order.WITHOUT_A_SEAT]
    kept = [o for o in paid if o.status == Order.Status.PAID]
    back = sum((o.pay_price for o in paid if o.status == Order.Status.CLOSED), Decimal(0))
    margin = sum((o.pay_price - forecast.unit_cost for o in kept), -forecast.fixed_cost)
    return Campaign(
        opened=len(teams),
        full=sum(bool(t.completed_at and not t.completed_by_shop) for t in teams),
        by_shop=sum(t.completed_by_shop for t in teams),
        failed=sum(t.status == Team.Status.FAILED for t in teams),
        paid=len(paid),
        kept=len(kept),
        peak=_peak(orders, by_pk, now),
        gmv=sum((o.pay_price for o in paid), Decimal(0)),
        refunds=back,
        discount=sum((o.deduction_price for o in kept), Decimal(0)),
        margin=margin,
    )


def _of_offer(model: type[Team | Order], offer: Offer, start: datetime, end: datetime) -> QuerySet:
    """Rows made from start to before end, by key: ids grow with time."""
    return model._default_manager.filter(
        activity=offer.activity_id,
        pk__gte=first_id(start - timedelta(minutes=10)),
        created_at__gte=start,
        created_at__lt=end,
        channel=offer.channel_id,
        goods_id=offer.sku.goods_id,
    )


def _peak(orders: list[Order], teams: dict[int, Team], now: datetime) -> int:
    """The largest number of seats that were taken in forming teams at one time."""
    changes: list[tuple[datetime, int]] = []
    for order in orders:
        team = teams[order.team_id]
        ends = [order.closed_at, team.completed_at]
        if team.status == Team.Status.FAILED:
            ends.append(team.expires_at)
        changes += [(order.created_at, 1), (min((e for e in ends if e), default=now), -1)]
    most = seats = 0
    for _moment, change in sorted(changes):
        seats += change
        most = max(most, seats)
    return most


def guesses(offer: Offer, now: datetime) -> dict[str, object]:
    """Initial values of a forecast from the last thirty days of this offer's goods and channel.

    The first member of a team counts as a buyer who came alone, every other one as a friend. Empty
    if nothing was paid for.
    """
    since = now - HISTORY
    rows = {"channel": offer.channel_id, "goods_id": offer.sku.goods_id}
    teams = Team.objects.filter(pk__gte=first_id(since), created_at__gte=since, **rows)
    orders = Order.objects.filter(pk__gte=first_id(since), created_at__gte=since, **rows)
    opened, locked = teams.count(), orders.count()
    paid = orders.exclude(settled_at=None).exclude(close_reason__in=Order.WITHOUT_A_SEAT).count()
    if not opened or not paid:
        return {}
    given_back = orders.filter(close_reason=Order.CloseReason.REFUNDED).exclude(paid_at=None)
    friends = orders.filter(created_at__gt=F("team__created_at"))
    after = friends.aggregate(after=Avg(F("created_at") - F("team__created_at")))["after"]
    forecast = Forecast(
        offer=offer,
        conversion=Decimal(Forecast._meta.get_field("conversion").default),
        joins=0,
        pays=round(Decimal(100 * paid) / locked, 1),
        returns=round(Decimal(100 * given_back.count()) / paid, 1),
    )
    forecast.visitors = round(opened / HISTORY.days * 100 / float(forecast.conversion))
    if after:
        forecast.friend_minutes = max(round(after / MINUTE), 1)
    try:
        _take_rules(forecast)
    except ValidationError:
        return {}  # fill() refuses the offer
    spread = fitted_spread(_rules(forecast), _guess(forecast), seats=paid / opened)
    forecast.spread = round(Decimal(spread), 2)
    return {name: getattr(forecast, name) for name in GUESSED}
