"""What must be true when everything is back and quiet, judged by what the mall knows."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO

from django.core.management import call_command

from tests.chaos.shoppers import Mall
from tests.chaos.sink import Sink
from trade.models import NotifyTask, Order, Team

UNPAID, PAID = {"unpaid_unlock"}, {"paid_unformed", "paid_formed"}


def findings(
    mall: Mall, sink: Sink, unanswered: list[str], events: list[tuple[int, str]]
) -> dict[str, list[str]]:
    """Every way in which the platform fell short -> the rows; empty when it did not."""
    found = {
        "never to be sent": sink.wrong,
        "never answered": unanswered,
        "stuck": list(_stuck()),
        "completions lost": list(_unheard_completions(sink)),
        "closings lost": list(_unheard_closings(sink)),
        "told under two ids": list(_told_under_two_ids(sink)),
        "not delivered": list(_undelivered()),
        "pulled otherwise than pushed": list(_pulled_otherwise(sink, events)),
        "money": list(_money(mall, sink)),
        "invariants": list(_invariants()),
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _stuck() -> Iterator[str]:
    for team in Team.objects.filter(status=Team.Status.FORMING):
        yield f"team {team.pk} is still forming"
    for order in Order.objects.filter(status=Order.Status.LOCKED):
        yield f"order {order.out_trade_no} is still locked"


def _unheard_completions(sink: Sink) -> Iterator[str]:
    """Judged by the teams, not by the promises: those may be what is missing."""
    heard = {json.loads(sink.known[key])["teamId"] for key in sink.known if "success" in key}
    for team in Team.objects.exclude(completed_at=None):
        if str(team.pk) not in heard:
            yield f"team {team.pk}"
    for team_id in heard - {str(pk) for pk in _completed()}:
        yield f"team {team_id} was called complete and never was"


def _completed() -> Iterator[int]:
    return Team.objects.exclude(completed_at=None).values_list("pk", flat=True).iterator()


def _unheard_closings(sink: Sink) -> Iterator[str]:
    heard: dict[str, set[str]] = {}
    for notice in _refund_notices(sink):
        heard.setdefault(notice["outTradeNo"], set()).add(notice["type"])
    for order in Order.objects.filter(status=Order.Status.CLOSED):
        wanted = PAID if order.paid_at else UNPAID
        if not heard.get(order.out_trade_no, set()) & wanted:
            yield f"order {order.out_trade_no}: {min(wanted)}"
    # A hold that timed out may be seated again by its payment; money that went back may not.
    returned = [number for number, types in heard.items() if types & PAID]
    live = Order.objects.exclude(status=Order.Status.CLOSED)
    for number in live.filter(out_trade_no__in=returned).values_list("out_trade_no", flat=True):
        yield f"order {number} is live and its money went back"


def _told_under_two_ids(sink: Sink) -> Iterator[str]:
    teams = [json.loads(sink.known[key])["teamId"] for key in sink.known if "success" in key]
    paid = [notice["outTradeNo"] for notice in _refund_notices(sink) if notice["type"] in PAID]
    for what, count in Counter([*teams, *paid]).items():
        if count > 1:
            yield f"{what}: {count} ids"


def _undelivered() -> Iterator[str]:
    """Nothing may be given up here: no endpoint fails for as long as its attempts last."""
    for task in NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED):
        yield f"{task.key}: {task.get_state_display()} after {task.attempts} attempts"


def _pulled_otherwise(sink: Sink, events: list[tuple[int, str]]) -> Iterator[str]:
    numbers, keys = [number for number, _key in events], [key for _number, key in events]
    if numbers != list(range(1, len(events) + 1)):
        yield "the numbers have gaps"
    yield from (f"only pulled: {key}" for key in set(keys) - set(sink.known))
    yield from (f"only pushed: {key}" for key in set(sink.known) - set(keys))


def _money(mall: Mall, sink: Sink) -> Iterator[str]:
    """Money in is money of seated orders and money of refund notices."""
    came = {p.out_trade_no: p.price for p in mall.purchases.values() if p.paid_ms}
    returned = {n["outTradeNo"] for n in _refund_notices(sink) if n["type"] in PAID}
    seated = _seated(sink) - returned
    accounted = sum((came.get(number, Decimal(0)) for number in seated | returned), Decimal(0))
    if (total := sum(came.values(), Decimal(0))) != accounted:
        yield f"{total} came in, {accounted} is accounted for"
    for number in sorted(set(came) - seated - returned):
        yield f"order {number}: neither seated nor returned"
    for number in sorted((seated | returned) - set(came)):
        yield f"order {number} counts as paid and the mall knows of no payment"
    paid = Order.objects.filter(status=Order.Status.PAID).values_list("out_trade_no", flat=True)
    for number in seated ^ set(paid):
        yield f"order {number} is seated here and not there"


def _seated(sink: Sink) -> set[str]:
    return {
        number
        for key, payload in sink.known.items()
        if "success" in key
        for number in json.loads(payload)["outTradeNoList"]
    }


def _refund_notices(sink: Sink) -> Iterator[dict[str, str]]:
    for key, payload in sink.known.items():
        if "refund" in key:
            yield json.loads(payload)


def _invariants() -> Iterator[str]:
    out = StringIO()
    try:
        call_command("check_invariants", stdout=out)
    except SystemExit:
        yield from (line for line in out.getvalue().splitlines() if not line.startswith("ok"))
