"""What must always hold. Each check returns the rows that break it, as sentences."""

from collections.abc import Callable, Iterator

from django.db.models import Count, F, Q

from groupbuy.money import FEN
from trade.models import NotifyTask, Order, Team

COMPLETE = (Team.Status.COMPLETE, Team.Status.COMPLETE_WITH_REFUNDS)
LIVE = Q(orders__status__lt=Order.Status.CLOSED)
PAID = Q(orders__status=Order.Status.PAID)


def seats_within_target() -> Iterator[str]:
    """1. 0 ≤ paid ≤ locked ≤ target for every team."""
    broken = Team.objects.exclude(
        paid_count__gte=0,
        paid_count__lte=F("locked_count"),
        locked_count__lte=F("target_count"),
    )
    for team in broken:
        yield f"team {team.pk}: {team.paid_count}/{team.locked_count}/{team.target_count}"


def counters_match_orders() -> Iterator[str]:
    """2. locked_count is the number of live orders, paid_count that of paid ones."""
    counted = Team.objects.annotate(live=Count("orders", LIVE), paid=Count("orders", PAID))
    for team in counted.exclude(live=F("locked_count"), paid=F("paid_count")):
        yield (
            f"team {team.pk}: counts {team.locked_count} taken and {team.paid_count} paid,"
            f" has {team.live} and {team.paid}"
        )


def complete_means_target_reached() -> Iterator[str]:
    """3. A team is complete exactly when it reached its target once, or by the shop."""
    full = Q(paid_count=F("target_count"))
    for team in Team.objects.filter(full).exclude(status__in=COMPLETE):
        yield f"team {team.pk}: paid by all but {team.get_status_display()}"
    short = Team.objects.filter(status=Team.Status.COMPLETE, completed_by_shop=False)
    for team in short.exclude(full):
        yield f"team {team.pk}: complete with {team.paid_count} of {team.target_count} paid"
    for team in Team.objects.filter(status__in=COMPLETE, completed_at=None):
        yield f"team {team.pk}: complete but never completed"


def promises_are_made_once() -> Iterator[str]:
    """5. A completed team has one team_success promise; a closed order one team_refund
    promise for each time it was closed."""
    promised = set(NotifyTask.objects.values_list("key", flat=True))
    completed = set(Team.objects.exclude(completed_at=None).values_list("pk", flat=True).iterator())
    expected = {f"team_success-{pk}" for pk in completed}
    made = {key for key in promised if key.startswith("team_success-")}
    yield from (f"missing {key}" for key in sorted(expected - made))
    yield from (f"unfounded {key}" for key in sorted(made - expected))
    refunds = {key.split("-")[1] for key in promised if key.startswith("team_refund-")}
    for order in Order.objects.filter(status=Order.Status.CLOSED):
        if str(order.pk) not in refunds:
            yield f"order {order.pk}: closed without a team_refund promise"


def turns_within_limit() -> Iterator[str]:
    """6. A person's live orders are at most take_limit in an activity, and one in a team."""
    live = Order.objects.exclude(status=Order.Status.CLOSED)
    turns = live.values("activity_id", "user_id", limit=F("activity__take_limit"))
    for row in turns.annotate(count=Count("pk")).filter(count__gt=F("limit")):
        yield f"user {row['user_id']} has {row['count']} orders in {row['activity_id']}"
    seats = live.values("team_id", "user_id").annotate(count=Count("pk"))
    for seat in seats.filter(count__gt=1):
        yield f"user {seat['user_id']} has {seat['count']} seats in team {seat['team_id']}"


def paid_in_time() -> Iterator[str]:
    """7. A paid order has a payment time before its team's end."""
    paid = Order.objects.filter(status=Order.Status.PAID)
    for order in paid.exclude(paid_at__lt=F("team__expires_at")):
        yield f"order {order.pk}: paid at {order.paid_at}"


def prices_are_fair() -> Iterator[str]:
    """8. What is paid lies between one fen and the original price."""
    for order in Order.objects.exclude(pay_price__gte=FEN, pay_price__lte=F("original_price")):
        yield f"order {order.pk}: {order.pay_price} of {order.original_price}"


INVARIANTS: tuple[Callable[[], Iterator[str]], ...] = (
    seats_within_target,
    counters_match_orders,
    complete_means_target_reached,
    promises_are_made_once,
    turns_within_limit,
    paid_in_time,
    prices_are_fair,
)


def broken() -> dict[str, list[str]]:
    """The name of each invariant that does not hold -> the rows that break it."""
    found = {check.__name__: list(check()) for check in INVARIANTS}
    return {name: rows for name, rows in found.items() if rows}
