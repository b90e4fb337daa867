"""Lock (锁单): reserve a seat in a team before the shopper pays.

lock_order() reads top to bottom: what we know, LOCK_CHECKS, one transaction. The checks
answer politely; what holds when requests race is the conditional UPDATE in _take_seat and
the unique keys of Order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from activity.catalog import LiveOffer, Price
from activity.trial import TrialQuery, run_trial
from groupbuy import rows
from groupbuy.api import is_collision
from groupbuy.auth import KnownChannel, find_channel
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.models import is_allowed
from trade.models import Order, Team, Transport
from trade.turns import free_turn, live_seats

TRIES = 3


@dataclass(frozen=True, slots=True)
class LockCommand:
    user_id: str
    source: str
    channel: str
    goods_id: str
    activity_id: int
    out_trade_no: str
    team_id: str  # "" opens a team
    notify_transport: str
    notify_url: str


@dataclass(frozen=True, slots=True)
class LockContext:
    command: LockCommand
    channel: KnownChannel
    offer: LiveOffer
    price: Price  # what this shopper would pay in a team opened now
    team: Team | None  # the one to join, when it exists
    seats: dict[int, int]  # the shopper's live seats: team id -> turn
    now: datetime


def lock_order(command: LockCommand, *, now: datetime) -> Order:
    """Reserve a seat and return the locked order.

    Sent again with the same out_trade_no it returns the same order, also when a check would
    now refuse. Raises GroupBuyError with the first refusal in the contract's order.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return _lock(_read(command, now))
        except GroupBuyError:
            if order := _replayed(command):
                return order
            raise
        except (IntegrityError, OperationalError) as exc:
            if order := _replayed(command):
                return order  # the same request, a moment earlier
            if isinstance(exc, OperationalError) and not is_collision(exc):
                raise
            if attempt == TRIES:
                raise
    raise AssertionError("unreachable")


def require_under_take_limit(ctx: LockContext) -> None:
    if free_turn(ctx.seats.values(), ctx.offer.activity.take_limit) is None:
        raise GroupBuyError(ErrorCode.TAKE_LIMIT_REACHED)


def require_new_member(ctx: LockContext) -> None:
    if ctx.team and ctx.team.pk in ctx.seats:
        raise GroupBuyError(ErrorCode.ALREADY_IN_TEAM)


def require_joinable_team(ctx: LockContext) -> None:
    if not ctx.command.team_id:
        return
    team, offer = ctx.team, ctx.offer
    if (
        team is None
        or (team.activity_id, team.channel_id, team.goods_id)
        != (offer.activity.pk, offer.channel_id, offer.goods_id)
        or not (team.is_joinable(ctx.now) or _is_full_and_in_time(team, ctx.now))
    ):
        raise GroupBuyError(ErrorCode.TEAM_NOT_JOINABLE)


def require_free_seat(ctx: LockContext) -> None:
    if ctx.team and ctx.team.is_full():
        raise GroupBuyError(ErrorCode.TEAM_FULL)


LOCK_CHECKS: tuple[Callable[[LockContext], None], ...] = (
    require_under_take_limit,
    require_new_member,
    require_joinable_team,
    require_free_seat,
)


def _read(command: LockCommand, now: datetime) -> LockContext:
    """What the checks judge. Raises what the fields and the trial refuse."""
    channel = find_channel(command.source, command.channel)
    if channel is None:
        raise GroupBuyError(ErrorCode.NO_OFFER)
    _require_callback(command, channel)
    trial = run_trial(
        TrialQuery(
            command.user_id, command.source, command.channel, command.goods_id, command.activity_id
        ),
        now=now,
    )
    # A team may outlive its activity: joining asks the team's end, not the activity's window.
    offer, price = trial.accept(despite={ErrorCode.OUTSIDE_WINDOW} if command.team_id else ())
    return LockContext(
        command=command,
        channel=channel,
        offer=offer,
        price=price,
        team=_find_team(command.team_id),
        seats=live_seats(activity_id=offer.activity.pk, user_id=command.user_id),
        now=now,
    )


def _require_callback(command: LockCommand, channel: KnownChannel) -> None:
    if command.notify_transport == Transport.MQ:
        raise GroupBuyError(
            ErrorCode.ILLEGAL_PARAMETER,
            _("notifyConfigVO.notifyType: no message broker is set up here, use HTTP"),
        )
    if not is_allowed(command.notify_url, channel.callback_hosts):
        raise GroupBuyError(
            ErrorCode.ILLEGAL_PARAMETER,
            _("notifyUrl: its host is not among the channel's callback hosts"),
        )


def _find_team(team_id: str) -> Team | None:
    return Team.objects.filter(pk=team_id).first() if team_id.isdecimal() else None


def _is_full_and_in_time(team: Team, now: datetime) -> bool:
    """A team that completed is answered as full for as long as it could have been joined."""
    return team.status == Team.Status.COMPLETE and team.is_full() and now < team.expires_at


def _lock(ctx: LockContext) -> Order:
    for check in LOCK_CHECKS:
        check(ctx)
    with transaction.atomic(durable=True):
        team = _take_seat(ctx) if ctx.team else _open_team(ctx)
        return _create_order(ctx, team)


def _open_team(ctx: LockContext) -> Team:
    activity, command = ctx.offer.activity, ctx.command
    team = Team(
        activity_id=activity.pk,
        channel_id=ctx.channel.pk,
        goods_id=ctx.offer.goods_id,
        target_count=activity.target_count,
        locked_count=1,
        original_price=ctx.price.original,
        pay_price=ctx.offer.price.pay if ctx.offer.price else ctx.price.pay,
        hold_minutes=activity.hold_minutes,
        created_at=ctx.now,
        expires_at=ctx.now + timedelta(minutes=activity.valid_minutes),
        notify_transport=command.notify_transport,
        notify_url=command.notify_url,
    )
    rows.insert(team)
    return team


def _take_seat(ctx: LockContext) -> Team:
    """One seat more, only while there is one. Call inside a transaction."""
    assert ctx.team is not None
    joinable = Team.objects.filter(
        pk=ctx.team.pk,
        status=Team.Status.FORMING,
        expires_at__gt=ctx.now,
        locked_count__lt=F("target_count"),
    )
    if joinable.update(locked_count=F("locked_count") + 1) == 1:
        return ctx.team
    team = Team.objects.get(pk=ctx.team.pk)
    if team.is_full():
        raise GroupBuyError(ErrorCode.SEAT_LOST)
    if team.is_joinable(ctx.now):
        raise GroupBuyError(ErrorCode.SEAT_REFUSED)  # a seat came free a moment too late
    raise GroupBuyError(ErrorCode.TEAM_NOT_JOINABLE)


def _create_order(ctx: LockContext, team: Team) -> Order:
    command = ctx.command
    entitled = ctx.price == ctx.offer.price  # not outside the crowd of the discount
    order = Order(
        team=team,
        activity_id=team.activity_id,
        channel_id=team.channel_id,
        user_id=command.user_id,
        goods_id=team.goods_id,
        out_trade_no=command.out_trade_no,
        original_price=team.original_price,
        pay_price=team.pay_price if entitled else team.original_price,
        take_no=free_turn(ctx.seats.values(), ctx.offer.activity.take_limit),
        seat_of=command.user_id,
        created_at=ctx.now,
        pay_deadline=ctx.now + timedelta(minutes=team.hold_minutes),
    )
    rows.insert(order)
    return order


def _replayed(command: LockCommand) -> Order | None:
    """The order that this outTradeNo already has."""
    channel = find_channel(command.source, command.channel)
    order = (
        channel
        and Order.objects.filter(channel_id=channel.pk, out_trade_no=command.out_trade_no).first()
    )
    if not order:
        return None
    if order.user_id != command.user_id:
        raise GroupBuyError(ErrorCode.NOT_YOUR_ORDER)
    if order.status == Order.Status.CLOSED:
        raise GroupBuyError(ErrorCode.ORDER_NOT_FOUND)
    return order
