"""INVARIANTS of the data. Each check yields a sentence for each row that breaks its invariant."""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from threading import Lock
from typing import NamedTuple, TypeVar

from django.db.models import Count, F, Model, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.functional import Promise as LazyText
from django.utils.translation import gettext_lazy as _

from groupbuy import switches
from groupbuy.fields import read_id
from groupbuy.money import FEN
from tag import bitmaps
from trade import counts, metrics
from trade.expire import GRACE
from trade.figures import sums
from trade.lists import served_since
from trade.models import NotifyTask, Order, RefundType, Team
from trade.notify import outbox

logger = logging.getLogger(__name__)

SWEEP_PERIOD = timedelta(seconds=10)  # the longest between two sweeps, see settings
PAGE = 1000  # rows per query
MOST_LOGGED = 20  # rows of a broken invariant
Row = TypeVar("Row", bound=Model)
PAID_KINDS = (RefundType.PAID_UNFORMED, RefundType.PAID_FORMED)
COMPLETE = counts.COMPLETE
_checking = Lock()
LIVE = Q(orders__status__lt=Order.Status.CLOSED)
PAID = Q(orders__status=Order.Status.PAID)


def seats_within_target() -> Iterator[str]:
    for teams in _pages(Team):
        for team in teams.exclude(
            paid_count__gte=0,
            paid_count__lte=F("locked_count"),
            locked_count__lte=F("target_count"),
        ):
            yield f"team {team.pk}: {team.paid_count}/{team.locked_count}/{team.target_count}"


def counters_match_orders() -> Iterator[str]:
    for teams in _pages(Team):
        counted = teams.annotate(live=Count("orders", LIVE), paid=Count("orders", PAID))
        for team in counted.exclude(live=F("locked_count"), paid=F("paid_count")):
            yield (
                f"team {team.pk}: counts {team.locked_count} taken and {team.paid_count} paid,"
                f" has {team.live} and {team.paid}"
            )


def complete_means_target_reached() -> Iterator[str]:
    full = Q(paid_count=F("target_count"))
    for teams in _pages(Team):
        for team in teams.filter(full).exclude(status__in=COMPLETE):
            yield f"team {team.pk}: paid by all but {team.get_status_display()}"
        short = teams.filter(status=Team.Status.COMPLETE, completed_by_shop=False)
        for team in short.exclude(full):
            yield f"team {team.pk}: complete with {team.paid_count} of {team.target_count} paid"
        for team in teams.filter(status__in=COMPLETE, completed_at=None):
            yield f"team {team.pk}: complete but never completed"


def forming_teams_end_in_time(now: datetime) -> Iterator[str]:
    forgotten = now - GRACE - 2 * SWEEP_PERIOD
    for team in Team.objects.filter(status=Team.Status.FORMING, expires_at__lt=forgotten):
        yield f"team {team.pk}: still forming, ended {team.expires_at}"


def completions_are_promised_once(now: datetime | None = None) -> Iterator[str]:
    """Notifications of older teams may have been deleted, see trade/retention.py."""
    completed = Team.objects.exclude(completed_at=None)
    for teams in _pages(Team):
        done = teams.filter(completed_at__gte=_kept_since(now)).values_list("pk", flat=True)
        keys = {NotifyTask.success_key(pk) for pk in done}
        yield from (f"missing {key}" for key in sorted(keys - _promised(keys)))
    for promises in _pages(NotifyTask):
        made = promises.filter(event=NotifyTask.Event.TEAM_SUCCESS).values_list("key", "payload")
        named = {key: read_id(json.loads(payload)["teamId"]) for key, payload in made}
        founded = set(completed.filter(pk__in=named.values()).values_list("pk", flat=True))
        yield from (f"unfounded {key}" for key, pk in named.items() if pk not in founded)


def closings_are_promised(now: datetime | None = None) -> Iterator[str]:
    """Notifications of older orders may have been deleted, see trade/retention.py."""
    for page in _pages(Order):
        closed = page.filter(status=Order.Status.CLOSED).exclude(closed_at__lt=_kept_since(now))
        orders = list(closed.values_list("pk", "paid_at"))
        for kinds, pks in (
            ((RefundType.UNPAID_UNLOCK,), [pk for pk, paid_at in orders if not paid_at]),
            (PAID_KINDS, [pk for pk, paid_at in orders if paid_at]),
        ):
            keys = {NotifyTask.refund_key(pk, kind): pk for pk in pks for kind in kinds}
            promised = {keys[key] for key in _promised(keys)}
            missing = [pk for pk in pks if pk not in promised]
            yield from (f"order {pk}: closed without its promise" for pk in missing)


def turns_within_limit() -> Iterator[str]:
    """Turns are unique, so a shopper with too many orders has a turn above the limit.

    The limit is the one in force when the order took its turn: operators may lower it later.
    """
    for orders in _pages(Order):
        live = orders.exclude(status=Order.Status.CLOSED)
        limit = Coalesce("take_limit", "activity__take_limit")
        for order in live.exclude(take_no__gte=1, take_no__lte=limit):
            yield f"order {order.pk}: turn {order.take_no} of user {order.user_id}"
        for order in live.exclude(seat_of=F("user_id")):
            yield f"order {order.pk}: user {order.user_id} sits on the seat of {order.seat_of}"


def paid_in_time() -> Iterator[str]:
    for orders in _pages(Order):
        paid = orders.filter(status=Order.Status.PAID)
        for order in paid.exclude(paid_at__lt=F("team__expires_at")):
            yield f"order {order.pk}: paid at {order.paid_at}"


def prices_are_fair() -> Iterator[str]:
    for orders in _pages(Order):
        for order in orders.exclude(pay_price__gte=FEN, pay_price__lte=F("original_price")):
            yield f"order {order.pk}: {order.pay_price} of {order.original_price}"


def refunds_were_due() -> Iterator[str]:
    due = Q(status=Order.Status.CLOSED, paid_at__isnull=False)
    for orders in _pages(Order):
        confirmed = orders.exclude(refund_at=None, refund_amount=None)
        in_bounds = Q(refund_amount__gte=FEN, refund_amount__lte=F("pay_price"))
        for order in confirmed.exclude(due & in_bounds, refund_at__isnull=False):
            yield f"order {order.pk}: {order.refund_amount} of {order.pay_price} refunded"


def promises_are_tried_in_time(now: datetime) -> Iterator[str]:
    """A failing endpoint gets one promise at a time, so while it is served the others may wait."""
    overdue = now - timedelta(seconds=outbox.SWEEP) - 2 * SWEEP_PERIOD
    served = served_since(overdue)
    for promise in NotifyTask.objects.filter(next_attempt_at__lt=overdue):
        if promise.endpoint not in served:
            yield f"{promise.key}: due since {promise.next_attempt_at}"


class Needs(Enum):
    NOTHING = auto()
    NOW_IF_ANY = auto()  # without it, all rows are checked
    NOW = auto()


class Invariant(NamedTuple):
    sentence: LazyText
    check: Callable[..., Iterator[str]]
    needs: Needs = Needs.NOTHING


INVARIANTS = (
    Invariant(_("1. 0 ≤ paid ≤ taken ≤ target for every team."), seats_within_target),
    Invariant(_("2. A team's counters equal its live and its paid orders."), counters_match_orders),
    Invariant(
        _(
            "3. A team is complete if and only if it reached its target, or the platform completed"
            " it."
        ),
        complete_means_target_reached,
    ),
    Invariant(
        _("4. No team is still forming long after its end."),
        forming_teams_end_in_time,
        Needs.NOW,
    ),
    Invariant(
        _("5. Every completed team has exactly one team_success notification, no other team has."),
        completions_are_promised_once,
        Needs.NOW_IF_ANY,
    ),
    Invariant(
        _("5. Every closed order has a team_refund notification, for its money if it was paid."),
        closings_are_promised,
        Needs.NOW_IF_ANY,
    ),
    Invariant(
        _("6. A shopper has at most take_limit live orders in an activity, and one in a team."),
        turns_within_limit,
    ),
    Invariant(_("7. Every paid order was paid before its team's end."), paid_in_time),
    Invariant(_("8. Every price is between one fen and the original price."), prices_are_fair),
    Invariant(
        _("9. No notification is overdue while nothing is sent to its endpoint."),
        promises_are_tried_in_time,
        Needs.NOW,
    ),
    Invariant(_("10. Every crowd's bitmap equals its table."), bitmaps.mismatches),
    Invariant(_("11. The counts of completed teams equal the teams."), counts.mismatches),
    Invariant(_("12. The daily sums equal their rows."), sums.mismatches, Needs.NOW),
    Invariant(
        _("13. Confirmed refunds belong to paid and closed orders, and none exceeds its payment."),
        refunds_were_due,
    ),
)


def check_all(now: datetime | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each invariant's sentence and the rows that break it; without now, only the timeless ones."""
    for sentence, check, needs in INVARIANTS:
        if needs is Needs.NOTHING:
            yield str(sentence), list(check())
        elif now or needs is Needs.NOW_IF_ANY:
            yield str(sentence), list(check(now))


def check_alone(now: datetime) -> list[tuple[str, list[str]]] | None:
    """check_all() for a request, which may be repeated; None while this process is at another."""
    if not _checking.acquire(blocking=False):
        return None
    try:
        return list(check_all(now))
    finally:
        _checking.release()


def report(*, now: datetime) -> None:
    """Check all, log the broken ones, and set the metric of the alert InvariantsBroken."""
    broken = [(sentence, rows) for sentence, rows in check_all(now) if rows]
    for sentence, rows in broken:
        logger.error("Broken: %s %s", sentence, "; ".join(rows[:MOST_LOGGED]))
    metrics.BROKEN.set(len(broken))


def _kept_since(now: datetime | None) -> datetime:
    """The moment since which no notification has been deleted; without now, the epoch."""
    return now - switches.EVENTS_KEPT if now else datetime(1970, 1, 1, tzinfo=UTC)


def _promised(keys: Collection[str]) -> set[str]:
    return set(NotifyTask.objects.filter(key__in=keys).values_list("key", flat=True))


def _pages(model: type[Row]) -> Iterator[QuerySet[Row]]:
    """All rows, in querysets of a range of keys each, so that no query takes long."""
    rows = model._default_manager.order_by("pk")
    last = -1
    while keys := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:PAGE]):
        yield rows.filter(pk__gt=last, pk__lte=keys[-1])
        last = keys[-1]
