"""The verdict of a run by the mall's books, once all is repaired and nothing is under way."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import TypeVar

from django.core.management import call_command

from groupbuy_client import TeamRefund, TeamSuccess, read_notification
from tests.chaos.books import Books
from tests.chaos.receiver import Receiver
from tests.chaos.shoppers import Mall
from trade.models import NotifyTask, Order, Team

T = TypeVar("T", TeamSuccess, TeamRefund)
OURS = {"channel__source": "s07"}  # of the mall in tests/chaos/shoppers.py


def findings(
    mall: Mall, receiver: Receiver, unanswered: list[str], events: list[tuple[int, str]]
) -> dict[str, list[str]]:
    """A sentence for each kind of failure -> its rows; empty if there is none."""
    mall_books = Books()
    completions, refunds = _received(receiver, TeamSuccess), _received(receiver, TeamRefund)
    found = {
        "never to be sent": receiver.wrong,
        "never answered": unanswered,
        "stuck": list(_stuck()),
        "completions lost": list(_lost_completions(completions)),
        "closings lost": list(_lost_closings(refunds)),
        "sent under two ids": list(_sent_under_two_ids(completions, refunds)),
        "not delivered": list(_undelivered()),
        "pulled otherwise than pushed": list(_pulled_otherwise(receiver, events)),
        "money": list(_money(mall, completions, refunds)),
        "invariants": list(_invariants()),
        "the mall's orders and refunds stuck": list(mall_books.open()),
        "the mall's money": list(mall_books.wrong()),
        "the mall's seats": list(mall_books.otherwise_on_the_platform()),
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _received(receiver: Receiver, kind: type[T]) -> list[T]:
    """The notifications of one kind, each id once."""
    all_kinds = [read_notification(key, payload) for key, payload in receiver.known.items()]
    return [each for each in all_kinds if isinstance(each, kind)]


def _stuck() -> Iterator[str]:
    for team in Team.objects.filter(status=Team.Status.FORMING):
        yield f"team {team.pk} is still forming"
    for order in Order.objects.filter(status=Order.Status.LOCKED):
        yield f"order {order.out_trade_no} is still locked"


def _lost_completions(completions: list[TeamSuccess]) -> Iterator[str]:
    """Completions without a notification, judged by the teams, as promises may be missing."""
    received = {completion.team_id for completion in completions}
    complete = Team.objects.filter(**OURS).exclude(completed_at=None).values_list("pk", flat=True)
    expected = {str(pk) for pk in complete}
    yield from (f"team {team_id}" for team_id in expected - received)
    for team_id in received - expected:
        yield f"team {team_id} was called complete and never was"


def _lost_closings(refunds: list[TeamRefund]) -> Iterator[str]:
    returned = {refund.out_trade_no for refund in refunds if refund.money_is_due}
    released = {refund.out_trade_no for refund in refunds if not refund.money_is_due}
    for order in Order.objects.filter(**OURS, status=Order.Status.CLOSED):
        if order.out_trade_no not in (returned if order.paid_at else released):
            yield f"order {order.out_trade_no}: {'paid' if order.paid_at else 'unpaid'}"
    # A hold that timed out may be seated again by its payment; money that went back may not.
    live = Order.objects.exclude(status=Order.Status.CLOSED)
    for number in live.filter(out_trade_no__in=returned).values_list("out_trade_no", flat=True):
        yield f"order {number} is live and its money went back"


def _sent_under_two_ids(completions: list[TeamSuccess], refunds: list[TeamRefund]) -> Iterator[str]:
    teams = [completion.team_id for completion in completions]
    orders = [refund.out_trade_no for refund in refunds if refund.money_is_due]
    for what, count in Counter([*teams, *orders]).items():
        if count > 1:
            yield f"{what}: {count} ids"


def _undelivered() -> Iterator[str]:
    """Undelivered notifications. None may be given up, as no endpoint fails that long here."""
    for task in NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED):
        yield f"{task.key}: {task.get_state_display()} after {task.attempts} attempts"


def _pulled_otherwise(receiver: Receiver, events: list[tuple[int, str]]) -> Iterator[str]:
    numbers, keys = [number for number, _key in events], [key for _number, key in events]
    if numbers != list(range(1, len(events) + 1)):
        yield "the numbers have gaps"
    yield from (f"only pulled: {key}" for key in set(keys) - set(receiver.known))
    yield from (f"only pushed: {key}" for key in set(receiver.known) - set(keys))


def _money(mall: Mall, completions: list[TeamSuccess], refunds: list[TeamRefund]) -> Iterator[str]:
    """Differences between the money that came in and that of seated orders and refund notices."""
    came = {p.out_trade_no: p.price for p in mall.purchases.values() if p.paid_at}
    returned = {refund.out_trade_no for refund in refunds if refund.money_is_due}
    shipped = {number for each in completions for number in each.out_trade_no_list}
    seated = shipped - returned
    accounted = sum((came.get(number, Decimal(0)) for number in seated | returned), Decimal(0))
    if (total := sum(came.values(), Decimal(0))) != accounted:
        yield f"{total} came in, {accounted} is accounted for"
    for number in sorted(set(came) - seated - returned):
        yield f"order {number}: neither seated nor returned"
    for number in sorted((seated | returned) - set(came)):
        yield f"order {number} counts as paid and the mall knows of no payment"
    paid = Order.objects.filter(**OURS, status=Order.Status.PAID).values_list(
        "out_trade_no", flat=True
    )
    for number in seated ^ set(paid):
        yield f"order {number} is seated here and not there"


def _invariants() -> Iterator[str]:
    out = StringIO()
    try:
        call_command("check_invariants", stdout=out)
    except SystemExit:
        yield from (line for line in out.getvalue().splitlines() if not line.startswith("ok"))
