"""Acts (运营操作): what operators do to orders, teams and notifications, each with a reason.

The rules are those of the trade: refund.py decides what can be given back, expire.py ends a team.
An act and its log entry are one transaction. `seen` is the state that the operator's page showed;
if the state has changed since, an act changes nothing and raises ChangedError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from groupbuy import channels, history, rows
from trade import expire, refund
from trade.models import NotifyTask, Order, Team
from trade.notify import outbox
from trade.refund import RefundCommand
from trade.rowlocks import lock_team, lock_team_of


class ChangedError(Exception):
    """The order or team is no longer in the state that the operator saw."""


@dataclass(frozen=True, slots=True)
class Act:
    user_id: int
    reason: str
    seen: str


def state_of_order(order: Order) -> str:
    return f"{order.status} {order.team.status} {order.team.paid_count}"


def state_of_team(team: Team) -> str:
    return f"{team.status} {team.locked_count} {team.paid_count}"


def may_give_back(order: Order) -> bool:
    states = Team.Status(order.team.status), Order.Status(order.status)
    return refund.decide(*states) is not None


def may_fail(team: Team) -> bool:
    return team.status == Team.Status.FORMING


def may_complete(team: Team) -> bool:
    return team.status == Team.Status.FORMING and team.paid_count > 0


def give_back(order: Order, act: Act, *, now: datetime) -> None:
    """Refund the order as if its mall had requested the refund."""
    channel = channels.get(order.channel_id)
    assert channel is not None  # a channel with orders cannot be deleted
    rows.retry(
        lambda: _give_back(RefundCommand(channel, order.user_id, order.out_trade_no), act, now)
    )


def _give_back(command: RefundCommand, act: Act, now: datetime) -> None:
    with transaction.atomic(durable=True):
        found = lock_team_of(
            channel_id=command.channel.pk,
            user_id=command.user_id,
            out_trade_no=command.out_trade_no,
        )
        if found is None:
            raise ChangedError
        team, order = found
        order.team = team
        if state_of_order(order) != act.seen or not may_give_back(order):
            raise ChangedError
        if refund.apply(command, now=now).outcome is not refund.Outcome.SUCCESS:
            raise ChangedError  # closed while this transaction waited for the team
        history.log_act(order, "give back", act.reason, user_id=act.user_id)


def complete_team(team: Team, act: Act, *, now: datetime) -> None:
    """Complete a forming team with the members who have paid, as the shop does at a team's end."""
    rows.retry(lambda: _end_team(team.pk, act, completes=True, now=now))


def fail_team(team: Team, act: Act, *, now: datetime) -> None:
    """End a forming team now: what was paid goes back."""
    rows.retry(lambda: _end_team(team.pk, act, completes=False, now=now))


def send_again(keys: Sequence[int], act: Act, *, now: datetime) -> int:
    """Make these notifications due again; return how many. New ones are due anyway."""
    return rows.retry(lambda: _send_again(keys, act, now))


def _send_again(keys: Sequence[int], act: Act, now: datetime) -> int:
    with transaction.atomic(durable=True):
        tasks = NotifyTask.objects.filter(pk__in=keys)
        for task in tasks:
            history.log_act(task, "send again", act.reason, user_id=act.user_id)
        return outbox.requeue(tasks, now=now)


def _end_team(team_id: int, act: Act, *, completes: bool, now: datetime) -> None:
    with transaction.atomic(durable=True):
        team = lock_team(team_id)
        possible = team and (may_complete(team) if completes else may_fail(team))
        if team is None or not possible or state_of_team(team) != act.seen:
            raise ChangedError
        expire.end_team(team, completes=completes, now=now)
        name = "complete the team" if completes else "fail the team"
        history.log_act(team, name, act.reason, user_id=act.user_id)
