"""The import: catalog and crowds, then teams in batches, each batch in one transaction.

Rows that are here already stay unchanged, so an interrupted import can be started again, and a
repeat changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TypeVar

from django.db import transaction

from groupbuy import changes
from trade import counts
from trade.expire import end_overdue_teams
from trade.importing.catalog import Catalog, callback_hosts, import_catalog
from trade.importing.crowds import import_crowds
from trade.importing.plan import CLOSED, Plan, read_team
from trade.importing.repairs import COMPLETE, make_plan
from trade.importing.report import Finding, Import
from trade.importing.source import Row, Source, SourceTeam
from trade.models import NotifyTask, Order, Team
from trade.turns import free_turn

BATCH = 200  # teams
T = TypeVar("T")
Numbers = dict[tuple[int, str], set[int]]


def run_import(source: Source, run: Import, clock: Callable[[], datetime]) -> None:
    """Import whatever is not here yet. Raises SourceError."""
    source.check()
    crowds = import_crowds(source, run)
    catalog = import_catalog(source, crowds, run)
    callback_hosts(source, catalog, run)
    kept = source.repeated_numbers()
    for teams in _batches(source.teams()):
        plans = [plan for team in teams if (plan := _plan(team, catalog, kept, run))]
        _import_teams(plans, run)
    if run.writes:
        changes.announce()
        while end_overdue_teams(clock=clock):
            pass  # each call stops after a few seconds


def _plan(
    source: SourceTeam, catalog: Catalog, kept: dict[tuple[str, str, str], int], run: Import
) -> Plan | None:
    plan = read_team(source, catalog, run.now)
    if plan and source.orders:
        make_plan(plan, kept)
        return plan
    if source.team or source.orders:  # a notification without team and order is ignored
        wrong = Finding.BAD_TEAM if source.team else Finding.NO_TEAM
        wrong = Finding.NO_ORDERS if plan else wrong
        run.found(wrong, f"team {source.team_id}", f"{len(source.orders)} orders")
        _book_left_out(source.orders, run)
    return None


def _import_teams(plans: list[Plan], run: Import) -> None:
    teams = Team.objects.filter(pk__in=[plan.team.pk for plan in plans])
    here = set(teams.values_list("pk", flat=True))
    known = _known_orders(plans)
    new = []
    for plan in plans:
        mine = [known.get((plan.team.channel_id, order.out_trade_no)) for order in plan.orders]
        if plan.team.pk in here:
            _compare(plan, mine, run)
        elif any(mine):
            run.found(Finding.TAKEN_NUMBER, f"team {plan.team.pk}")
            _book_left_out(plan.source.orders, run)
        else:
            new.append(plan)
            _report(plan, run)
    if run.writes and new:
        _save(new)


def _known_orders(plans: list[Plan]) -> dict[tuple[int, str], Order]:
    """The orders here with an out_trade_no of these teams."""
    numbers = [order.out_trade_no for plan in plans for order in plan.orders]
    channels = {plan.team.channel_id for plan in plans}  # first in the index of these numbers
    orders = Order.objects.filter(channel_id__in=channels, out_trade_no__in=numbers)
    return {(order.channel_id, order.out_trade_no): order for order in orders}


def _compare(plan: Plan, mine: list[Order | None], run: Import) -> None:
    """Report orders and payments that the source has got since the team was imported."""
    later = [
        order.out_trade_no
        for order, here in zip(plan.orders, mine, strict=True)
        if here is None or (order.paid_at and not here.paid_at)
    ]
    if later:
        run.found(Finding.CHANGED, f"team {plan.source.team_id}", ", ".join(later))
    run.count("teams", here=1)
    run.count("orders", here=len(mine))


def _report(plan: Plan, run: Import) -> None:
    for finding, where, detail in plan.findings:
        run.found(finding, where, detail)
    run.count("teams", new=1)
    run.count("orders", new=len(plan.orders))
    run.count("notifications", new=len(plan.promises))
    _book_left_out(plan.left_out, run)
    for order in plan.orders:
        if order.paid_at:
            run.books.add(_fate(plan, order), order.pay_price)


def _fate(plan: Plan, order: Order) -> str:
    """The outcome of this order's money, as the report names it."""
    if order.status == CLOSED:
        return "goes back" if order.closed_at == plan.now else "went back before"
    team, now = plan.team, plan.now
    if team.status == Team.Status.FORMING and team.expires_at > now:
        return "kept, in open teams"
    by_shop = team.completed_by_shop and team.completed_at == now
    if team.status == Team.Status.FORMING:  # to be ended after its grace
        by_shop = plan.completed_at_its_end
        return "kept, completed by the shop" if by_shop else "goes back"
    return "kept, completed by the shop" if by_shop else "kept, in complete teams"


def _book_left_out(rows: Iterable[Row], run: Import) -> None:
    for row in rows:
        if row["out_trade_time"] or row["status"] == Order.Status.PAID:
            price = row.get("pay_price", row["original_price"] - row["deduction_price"])
            run.books.add("left out", price)


def _save(plans: list[Plan]) -> None:
    orders = [order for plan in plans for order in plan.orders]
    with transaction.atomic(durable=True):
        _number([order for order in orders if order.status != CLOSED])
        Team.objects.bulk_create(plan.team for plan in plans)
        Order.objects.bulk_create(orders)
        NotifyTask.objects.bulk_create(promise for plan in plans for promise in plan.promises)
        for team in (plan.team for plan in plans):
            if team.status in COMPLETE:
                counts.add(team, teams=1, seats=team.locked_count)


def _number(orders: list[Order]) -> None:
    """Give each order the shopper's lowest free turn, and an unpaid one the lowest free hold_no."""
    users = {order.user_id for order in orders}
    taken: Numbers = defaultdict(set)
    held: Numbers = defaultdict(set)
    live = Order.objects.filter(user_id__in=users, take_no__isnull=False)
    for each in live.only("activity_id", "channel_id", "user_id", "take_no", "hold_no"):
        taken[each.activity_id, each.user_id].add(each.take_no or 0)
        if each.hold_no:
            held[each.channel_id, each.user_id].add(each.hold_no)
    for order in orders:
        order.take_no = _take_free(taken[order.activity_id, order.user_id])
        order.take_limit = order.take_no  # it was allowed there, whatever the activity says here
        if order.status == Order.Status.LOCKED:
            order.hold_no = _take_free(held[order.channel_id, order.user_id])


def _take_free(numbers: set[int]) -> int:
    number = free_turn(numbers, len(numbers) + 1)
    assert number is not None  # so many numbers leave one free
    numbers.add(number)
    return number


def _batches(teams: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(teams, BATCH)):
        yield batch
