"""Lock (锁单): reserve a seat in a team before the shopper pays.

A lock has three steps: _read() collects the facts, LOCK_CHECKS refuse with a reason, and one
transaction writes. When requests race, the conditional UPDATE of _take_seat() and the unique keys
of Order enforce the rules.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import BigIntegerField, DateTimeField, F
from django.utils.translation import gettext as _

from activity.catalog import LiveOffer
from activity.trial import Trial, TrialQuery, run_trial
from groupbuy import rows, switches
from groupbuy.channels import KnownChannel
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.fields import read_id
from groupbuy.rows import Param, PreparedUpdate
from trade import gate, metrics
from trade.models import Order, Team, Transport
from trade.refused import refused
from trade.turns import Turns, free_turn, read_turns

TAKE_SEAT = PreparedUpdate(
    Team.objects.filter(
        pk=Param("team_id", BigIntegerField()),
        status=Team.Status.FORMING,
        expires_at__gt=Param("now", DateTimeField()),
        locked_count__lt=F("target_count"),
    ),
    locked_count=F("locked_count") + 1,
)


@dataclass(frozen=True, slots=True)
class LockCommand:
    user_id: str
    channel: KnownChannel
    goods_id: str
    activity_id: int
    out_trade_no: str
    team_id: str  # "" opens a team
    notify_transport: str
    notify_url: str


@dataclass(frozen=True, slots=True)
class LockContext:
    command: LockCommand
    trial: Trial
    offer: LiveOffer
    team: Team | None  # the one to join, when it exists
    visitor: gate.Visitor | None  # None: opens a team
    turns: Turns  # of the shopper's live orders
    hold_limit: int  # an operator may change the switch before the order is written
    now: datetime


def lock_order(command: LockCommand, *, now: datetime) -> Order:
    """Reserve a seat and return the locked order.

    A repeat with the same out_trade_no returns the same order, also when a check would refuse
    now; but not when it names another team that is full. Raises GroupBuyError for the first
    failed check, in the order of docs/contract.md, section 2.2.
    """
    try:
        return rows.settled(lambda: _try_to_lock(command, now), certain=(gate.FullError,))
    except GroupBuyError as refusal:
        refused.count(refusal.error, channel_id=command.channel.pk, now=now)
        raise
    finally:
        refused.write_if_due()


def _try_to_lock(command: LockCommand, now: datetime) -> Order:
    for _attempt in rows.attempts():
        try:
            return _lock(_read(command, now))
        except gate.FullError:
            raise  # no order of this team has the number; other teams are not searched
        except GroupBuyError:
            if order := _replayed(command):
                return order
            raise
        except DatabaseError as exc:
            if not rows.may_retry(exc):
                raise
            if order := _replayed(command):
                return order  # the same request, a moment earlier
    raise GroupBuyError(ErrorCode.TRY_AGAIN)


def require_free_seat(ctx: LockContext) -> None:
    """A team is full when its live orders, paid or not, fill its seats.

    The gate refuses most joiners of a full team before this check.
    """
    if ctx.team and ctx.team.is_full() and _is_offered(ctx.team, ctx.offer):
        raise GroupBuyError(ErrorCode.TEAM_FULL)


def require_under_take_limit(ctx: LockContext) -> None:
    if _free_turn(ctx) is None:
        raise GroupBuyError(ErrorCode.TAKE_LIMIT_REACHED)


def require_new_member(ctx: LockContext) -> None:
    if ctx.team and ctx.team.pk in ctx.turns.seats:
        raise GroupBuyError(ErrorCode.ALREADY_IN_TEAM)


def require_joinable_team(ctx: LockContext) -> None:
    if not ctx.command.team_id:
        return
    team = ctx.team
    if team is None or not _is_offered(team, ctx.offer) or not team.is_joinable(ctx.now):
        raise GroupBuyError(ErrorCode.TEAM_NOT_JOINABLE)


def require_few_holds(ctx: LockContext) -> None:
    """A shopper may hold at most holdLimit unpaid seats on a channel."""
    if _free_hold(ctx) is None:
        raise GroupBuyError(ErrorCode.TOO_MANY_HOLDS)


LOCK_CHECKS: tuple[Callable[[LockContext], None], ...] = (
    require_free_seat,
    require_under_take_limit,
    require_new_member,
    require_joinable_team,
    require_few_holds,
)


def _read(command: LockCommand, now: datetime) -> LockContext:
    """Read what the checks need. Raises the refusals of the fields, the trial and the gate."""
    _require_callback(command)
    channel = command.channel
    query = TrialQuery(
        command.user_id, channel.source, channel.channel, command.goods_id, command.activity_id
    )
    trial = run_trial(query, now=now)
    # A join is allowed until the team's end, also after the activity's window has closed.
    offer, _price = trial.accept(despite={ErrorCode.OUTSIDE_WINDOW} if command.team_id else ())
    team_id = read_id(command.team_id)
    visitor = gate.enter(offer, team_id, command.out_trade_no) if command.team_id else None
    return LockContext(
        command=command,
        trial=trial,
        offer=offer,
        team=visitor.team if visitor else None,
        visitor=visitor,
        turns=read_turns(
            activity_id=offer.activity.pk, channel_id=channel.pk, user_id=command.user_id
        ),
        hold_limit=switches.hold_limit(),
        now=now,
    )


def _require_callback(command: LockCommand) -> None:
    if command.notify_transport == Transport.MQ:
        if not settings.AMQP_URL:
            raise GroupBuyError(
                ErrorCode.ILLEGAL_PARAMETER,
                _("notifyConfigVO.notifyType: no message broker is set up here, use HTTP"),
            )
    elif not command.channel.allows(command.notify_url):
        raise GroupBuyError(
            ErrorCode.ILLEGAL_PARAMETER,
            _("notifyUrl: its scheme, host and port are not among the channel's callback hosts"),
        )


def _is_offered(team: Team, offer: LiveOffer) -> bool:
    """Whether the team has this offer's activity, channel and goods."""
    offered = (offer.activity.pk, offer.channel_id, offer.goods_id)
    return (team.activity_id, team.channel_id, team.goods_id) == offered


def _lock(ctx: LockContext) -> Order:
    for check in LOCK_CHECKS:
        check(ctx)
    with gate.passing(ctx.visitor), transaction.atomic(durable=True):
        team = _take_seat(ctx, ctx.team) if ctx.team else _open_team(ctx)
        return _create_order(ctx, team)


def _open_team(ctx: LockContext) -> Team:
    activity, command, price = ctx.offer.activity, ctx.command, ctx.offer.price
    assert price is not None  # else the trial refused
    team = Team(
        activity_id=activity.pk,
        channel_id=command.channel.pk,
        goods_id=ctx.offer.goods_id,
        group_type=activity.group_type,
        target_count=activity.target_count,
        locked_count=1,
        original_price=price.original,
        pay_price=price.pay,
        hold_minutes=activity.hold_minutes,
        created_at=ctx.now,
        expires_at=ctx.now + timedelta(minutes=activity.valid_minutes),
        notify_transport=command.notify_transport,
        notify_url=command.notify_url,
    )
    rows.insert(team)
    return team


def _take_seat(ctx: LockContext, team: Team) -> Team:
    """Take a seat if one is free. Call inside a transaction."""
    if TAKE_SEAT(team_id=team.pk, now=ctx.now) == 1:
        return team
    team.refresh_from_db()
    if team.is_full():
        raise GroupBuyError(ErrorCode.SEAT_LOST)
    if team.is_joinable(ctx.now):
        raise GroupBuyError(ErrorCode.SEAT_REFUSED)  # a seat came free after the UPDATE
    raise GroupBuyError(ErrorCode.TEAM_NOT_JOINABLE)


def _create_order(ctx: LockContext, team: Team) -> Order:
    command = ctx.command
    order = Order(
        team=team,
        activity_id=team.activity_id,
        channel_id=team.channel_id,
        user_id=command.user_id,
        goods_id=team.goods_id,
        out_trade_no=command.out_trade_no,
        original_price=team.original_price,
        pay_price=team.pay_price if ctx.trial.discounted else team.original_price,
        take_no=_free_turn(ctx),
        take_limit=ctx.offer.activity.take_limit,
        seat_of=command.user_id,
        hold_no=_free_hold(ctx),
        created_at=ctx.now,
        pay_deadline=min(ctx.now + timedelta(minutes=team.hold_minutes), team.expires_at),
    )
    rows.insert(order)
    metrics.count_lock(order, opened=ctx.team is None)
    return order


def _free_turn(ctx: LockContext) -> int | None:
    return free_turn(ctx.turns.seats.values(), ctx.offer.activity.take_limit)


def _free_hold(ctx: LockContext) -> int | None:
    return free_turn(ctx.turns.holds, ctx.hold_limit)


def _replayed(command: LockCommand) -> Order | None:
    """The order that has this outTradeNo already. Raises if it is another user's, or closed."""
    order = rows.read(Order, channel_id=command.channel.pk, out_trade_no=command.out_trade_no)
    if order is None:
        return None
    if order.user_id != command.user_id:
        raise GroupBuyError(ErrorCode.NOT_YOUR_ORDER)
    if order.status == Order.Status.CLOSED:
        raise GroupBuyError(ErrorCode.ORDER_NOT_FOUND)
    return order
