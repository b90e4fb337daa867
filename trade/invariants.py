"""What must always hold: INVARIANTS. Each check returns the rows that break it."""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from django.db.models import Count, F, Q, QuerySet
from django.utils.functional import Promise as LazyText
from django.utils.translation import gettext_lazy as _

from groupbuy.fields import read_id
from groupbuy.money import FEN
from tag import bitmaps
from trade import outbox
from trade.expire import GRACE
from trade.models import NotifyTask, Order, RefundType, Team

SWEEP_PERIOD = timedelta(seconds=10)  # the longest between two sweeps, see settings
CHUNK = 500  # rows looked at at once
PAID_KINDS = (RefundType.PAID_UNFORMED, RefundType.PAID_FORMED)
COMPLETE = (Team.Status.COMPLETE, Team.Status.COMPLETE_WITH_REFUNDS)
LIVE = Q(orders__status__lt=Order.Status.CLOSED)
PAID = Q(orders__status=Order.Status.PAID)


def seats_within_target() -> Iterator[str]:
    broken = Team.objects.exclude(
        paid_count__gte=0,
        paid_count__lte=F("locked_count"),
        locked_count__lte=F("target_count"),
    )
    for team in broken:
        yield f"team {team.pk}: {team.paid_count}/{team.locked_count}/{team.target_count}"


def counters_match_orders() -> Iterator[str]:
    counted = Team.objects.annotate(live=Count("orders", LIVE), paid=Count("orders", PAID))
    for team in counted.exclude(live=F("locked_count"), paid=F("paid_count")):
        yield (
            f"team {team.pk}: counts {team.locked_count} taken and {team.paid_count} paid,"
            f" has {team.live} and {team.paid}"
        )


def complete_means_target_reached() -> Iterator[str]:
    full = Q(paid_count=F("target_count"))
    for team in Team.objects.filter(full).exclude(status__in=COMPLETE):
        yield f"team {team.pk}: paid by all but {team.get_status_display()}"
    short = Team.objects.filter(status=Team.Status.COMPLETE, completed_by_shop=False)
    for team in short.exclude(full):
        yield f"team {team.pk}: complete with {team.paid_count} of {team.target_count} paid"
    for team in Team.objects.filter(status__in=COMPLETE, completed_at=None):
        yield f"team {team.pk}: complete but never completed"


def forming_teams_end_in_time(now: datetime) -> Iterator[str]:
    forgotten = now - GRACE - 2 * SWEEP_PERIOD
    for team in Team.objects.filter(status=Team.Status.FORMING, expires_at__lt=forgotten):
        yield f"team {team.pk}: still forming, ended {team.expires_at}"


def completions_are_promised_once() -> Iterator[str]:
    completed = Team.objects.exclude(completed_at=None).values_list("pk", flat=True)
    for teams in _chunks(completed):
        keys = {f"team_success-{pk}" for pk in teams}
        yield from (f"missing {key}" for key in sorted(keys - _promised(keys)))
    promises = NotifyTask.objects.filter(event=NotifyTask.Event.TEAM_SUCCESS)
    for made in _chunks(promises.values_list("key", flat=True)):
        named = {key: read_id(key.removeprefix("team_success-")) for key in made}
        founded = set(completed.filter(pk__in=named.values()))
        yield from (f"unfounded {key}" for key, pk in named.items() if pk not in founded)


def closings_are_promised() -> Iterator[str]:
    closed = Order.objects.filter(status=Order.Status.CLOSED)
    for orders in _chunks(closed.values_list("pk", "paid_at")):
        for kinds, pks in (
            ((RefundType.UNPAID_UNLOCK,), [pk for pk, paid_at in orders if not paid_at]),
            (PAID_KINDS, [pk for pk, paid_at in orders if paid_at]),
        ):
            keys = {f"team_refund-{pk}-{kind}" for pk in pks for kind in kinds}
            named = {key.split("-")[1] for key in _promised(keys)}
            missing = [pk for pk in pks if str(pk) not in named]
            yield from (f"order {pk}: closed without its promise" for pk in missing)


def turns_within_limit() -> Iterator[str]:
    live = Order.objects.exclude(status=Order.Status.CLOSED)
    turns = live.values("activity_id", "user_id", limit=F("activity__take_limit"))
    for row in turns.annotate(count=Count("pk")).filter(count__gt=F("limit")):
        yield f"user {row['user_id']} has {row['count']} orders in {row['activity_id']}"
    seats = live.values("team_id", "user_id").annotate(count=Count("pk"))
    for seat in seats.filter(count__gt=1):
        yield f"user {seat['user_id']} has {seat['count']} seats in team {seat['team_id']}"


def paid_in_time() -> Iterator[str]:
    paid = Order.objects.filter(status=Order.Status.PAID)
    for order in paid.exclude(paid_at__lt=F("team__expires_at")):
        yield f"order {order.pk}: paid at {order.paid_at}"


def prices_are_fair() -> Iterator[str]:
    for order in Order.objects.exclude(pay_price__gte=FEN, pay_price__lte=F("original_price")):
        yield f"order {order.pk}: {order.pay_price} of {order.original_price}"


def promises_are_tried_in_time(now: datetime) -> Iterator[str]:
    overdue = now - timedelta(seconds=outbox.SWEEP) - 2 * SWEEP_PERIOD
    for promise in NotifyTask.objects.filter(next_attempt_at__lt=overdue):
        yield f"{promise.key}: due since {promise.next_attempt_at}"


class Invariant(NamedTuple):
    sentence: LazyText
    check: Callable[..., Iterator[str]]
    in_time: bool = False  # whether the check asks for `now`


INVARIANTS = (
    Invariant(_("1. 0 ≤ paid ≤ taken ≤ target for every team."), seats_within_target),
    Invariant(_("2. A team counts its live orders and its paid ones."), counters_match_orders),
    Invariant(
        _("3. A team is complete exactly when it reached its target once, or by the shop."),
        complete_means_target_reached,
    ),
    Invariant(
        _("4. No team is forming long after its end."), forming_teams_end_in_time, in_time=True
    ),
    Invariant(
        _("5. A team has its one team_success promise exactly when it was completed."),
        completions_are_promised_once,
    ),
    Invariant(
        _("5. A closed order has a team_refund promise, for its money where it was paid."),
        closings_are_promised,
    ),
    Invariant(
        _("6. A person's live orders are within the limit, and one in a team."),
        turns_within_limit,
    ),
    Invariant(_("7. What is paid was paid before its team's end."), paid_in_time),
    Invariant(
        _("8. What is to be paid lies between one fen and the original price."), prices_are_fair
    ),
    Invariant(
        _("9. No promise is due for longer than a sweep takes to come round."),
        promises_are_tried_in_time,
        in_time=True,
    ),
    Invariant(_("10. Every crowd's bitmap is its table."), bitmaps.mismatches),
)


def check_all(now: datetime | None = None) -> Iterator[tuple[str, list[str]]]:
    """The sentence of each invariant and the rows that break it; without now not those in time."""
    for sentence, check, in_time in INVARIANTS:
        if now and in_time:
            yield str(sentence), list(check(now))
        elif not in_time:
            yield str(sentence), list(check())


def broken() -> dict[str, list[str]]:
    """The sentence of each timeless invariant that does not hold -> the rows that break it."""
    return {sentence: rows for sentence, rows in check_all() if rows}


def _promised(keys: Collection[str]) -> set[str]:
    return set(NotifyTask.objects.filter(key__in=keys).values_list("key", flat=True))


def _chunks(rows: QuerySet[Any, Any]) -> Iterator[list[Any]]:
    found = rows.order_by("pk").iterator(CHUNK)
    while chunk := list(islice(found, CHUNK)):
        yield chunk
