"""Thirty days of a busy demo, played through the use cases with a clock of its own.

play() opens teams, lets shoppers join, pay, cancel and give back, and runs the sweeps when they are
due. It delivers the notifications to two simulated malls, which are down at the times in DOWN, and
confirms their refunds. Nothing is sent. The seed determines all but ids and invitation codes.
"""

import heapq
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from groupbuy import ids, rows
from groupbuy.channels import KnownChannel
from groupbuy.errors import ErrorCode, GroupBuyError
from trade import expire, metrics
from trade.confirm import ConfirmCommand, confirm_refund
from trade.figures import sums
from trade.lock import LockCommand, lock_order
from trade.models import NotifyAttempt, NotifyTask, Order, RefundType, Team, Transport
from trade.notify import nudges, outbox
from trade.notify.transports import Result
from trade.refund import RefundCommand, refund_order
from trade.refused import refused
from trade.settle import SettleCommand, settle_order

DAYS = 30
TEAMS_A_DAY = 34  # tried on the first day; twice as many on the last
SHOPPERS = 1500
# How busy each hour of the day is; 1 is the average.
HOURS = (
    *(0.45, 0.22, 0.12, 0.08, 0.08, 0.15, 0.4, 0.75, 0.95, 1.05, 1.15, 1.3),
    *(1.55, 1.35, 1.05, 1.0, 1.0, 1.1, 1.3, 1.6, 1.95, 2.1, 1.8, 1.1),
)
BIG_DAY = 12  # days ago
REFUND_TAKES = timedelta(minutes=7)
DOWN = {  # outages of each channel's mall: (begin in days ago, length in hours)
    "c01": [(3.2, 0.6)],
    "c03": [(8.5, 26.0), (0.3, 8.0)],
}


class Campaign(NamedTuple):
    """An activity of the history, and how fast its teams fill."""

    activity_id: int
    goods_id: str
    share: int  # weight among the teams opened
    gap: int  # average minutes until the next shopper joins


CAMPAIGNS = [
    Campaign(100123, "9890001", 12, 4),
    Campaign(100124, "9890002", 14, 300),
    Campaign(100125, "9890003", 9, 480),
    Campaign(100126, "9890004", 12, 26),
    Campaign(100127, "9890005", 9, 600),
    Campaign(100129, "9890007", 8, 260),
    Campaign(100130, "9890008", 13, 350),
    Campaign(100131, "9890009", 5, 380),
    Campaign(100133, "9890011", 12, 19),
    Campaign(100135, "9890013", 8, 420),
]


@dataclass
class Played:
    """The state of the play: its clock and its agenda."""

    chance: random.Random
    channels: list[KnownChannel]  # the second has two fifths of the teams
    notify_urls: dict[str, str]  # channel -> its mall's callback URL
    end: datetime
    now: datetime
    agenda: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    sweeps: set[tuple[datetime, Any]] = field(default_factory=set)
    number: Iterator[int] = field(default_factory=count)
    durations: dict[tuple[int, int], int] = field(default_factory=dict)  # (task, number) -> ms

    def clock(self) -> datetime:
        return self.now

    def later(self, delay: timedelta, act: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (self.now + delay, next(self.number), act))

    def minutes(self, average: float) -> timedelta:
        """A random time until the next of many independent events, which are rarer at night."""
        hour = (self.now + timedelta(hours=8)).hour
        return timedelta(minutes=self.chance.expovariate(HOURS[hour] / average))

    def run(self) -> None:
        while self.agenda and self.agenda[0][0] < self.end:
            self.now, _number, act = heapq.heappop(self.agenda)
            act()
        self.now = self.end
        for sweep in (_end_teams, _close_holds, _deliver):
            sweep(self)


def play(
    channels: list[KnownChannel],
    notify_urls: dict[str, str],
    *,
    now: datetime,
    seed: int = 1,
    days: int = DAYS,
) -> None:
    """Play the days before now. No worker may run meanwhile.

    A worker would end the played teams, whose time was up long ago.
    """
    start = now - timedelta(days=days)
    played = Played(random.Random(seed), channels, notify_urls, end=now, now=start)  # noqa: S311
    random.seed(seed)  # the sweeps' shuffles and the outbox's jitter
    for day in range(days):
        _plan_day(played, day, days)
    with ids.made_by(played.clock), _quiet():
        played.run()
    _confirm_refunds(played)
    _time_attempts(played)
    sums.keep(clock=lambda: now)
    refused.write()


def _plan_day(played: Played, day: int, days: int) -> None:
    """Schedule the teams that are opened on this day."""
    midnight = played.now + timedelta(days=day)
    demand = (1 + day / days) * (1.25 if midnight.weekday() >= 5 else 1)
    demand *= 1.9 if days - day == BIG_DAY else 1
    for _team in range(round(TEAMS_A_DAY * demand * played.chance.uniform(0.85, 1.15))):
        at = timedelta(days=day, minutes=played.chance.uniform(0, 24 * 60))
        hour = (played.now + at + timedelta(hours=8)).hour
        if played.chance.random() < HOURS[hour] / max(HOURS) + 0.1:
            played.later(at, lambda: _open_team(played))


def _open_team(played: Played) -> None:
    campaign = played.chance.choices(CAMPAIGNS, [each.share for each in CAMPAIGNS])[0]
    channel = played.chance.choices(played.channels, [3, 2])[0]
    with suppress(GroupBuyError):  # the shopper has had a turn before
        leader = _lock(played, campaign, channel, team_id="")
        _sweep_after(played, leader.team.expires_at + expire.GRACE, _end_teams)
        _next_member(played, campaign, channel, leader)


def _next_member(played: Played, campaign: Campaign, channel: KnownChannel, leader: Order) -> None:
    def join() -> None:
        try:
            _lock(played, campaign, channel, team_id=str(leader.team_id))
        except GroupBuyError as refusal:
            if refusal.error in (ErrorCode.TEAM_FULL, ErrorCode.TEAM_NOT_JOINABLE):
                return
        _next_member(played, campaign, channel, leader)

    delay = played.minutes(campaign.gap)
    if played.now + delay < leader.team.expires_at:
        played.later(delay, join)


def _lock(played: Played, campaign: Campaign, channel: KnownChannel, *, team_id: str) -> Order:
    """Lock a seat for a random shopper; a third of the shoppers account for half of the seats."""
    shopper = int(SHOPPERS * played.chance.random() ** 1.6)
    command = LockCommand(
        user_id=f"shopper-{shopper:04}",
        channel=channel,
        goods_id=campaign.goods_id,
        activity_id=campaign.activity_id,
        out_trade_no=f"{played.now:%y%m%d}{next(played.number):07}",
        team_id=team_id,
        notify_transport=Transport.HTTP,
        notify_url=played.notify_urls[channel.channel],
    )
    order = lock_order(command, now=played.now)
    _decide(played, channel, order)
    return order


def _decide(played: Played, channel: KnownChannel, order: Order) -> None:
    """Schedule what happens to a seat: most are paid soon, some given back, a few never paid."""
    pay, leave = (partial(each, played, channel, order) for each in (_pay, _give_back))
    minutes = played.chance.lognormvariate(0.9, 0.8)
    match played.chance.random():
        case luck if luck < 0.9:
            played.later(timedelta(minutes=min(minutes, 28)), pay)
            if played.chance.random() < 0.05:
                played.later(timedelta(minutes=minutes * 60), leave)
        case luck if luck < 0.94:
            played.later(timedelta(minutes=minutes), leave)
        case luck:
            _sweep_after(played, order.pay_deadline, _close_holds)
            if luck > 0.99:
                played.later(order.pay_deadline - played.now + timedelta(minutes=minutes), pay)


def _pay(played: Played, channel: KnownChannel, order: Order) -> None:
    payment = SettleCommand(
        channel=channel,
        user_id=order.user_id,
        out_trade_no=order.out_trade_no,
        paid_at=played.now,
    )
    with suppress(GroupBuyError):  # too late
        settle_order(payment, now=played.now)
    team = rows.read(Team, pk=order.team_id)
    if team and team.status != Team.Status.FORMING:
        _sweep_after(played, played.now, _deliver)


def _give_back(played: Played, channel: KnownChannel, order: Order) -> None:
    refund = RefundCommand(channel=channel, user_id=order.user_id, out_trade_no=order.out_trade_no)
    refund_order(refund, now=played.now)
    _sweep_after(played, played.now, _deliver)


def _sweep_after(played: Played, moment: datetime, sweep: Callable[[Played], None]) -> None:
    """Run the sweep at the next full minute, once."""
    at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if (at, sweep) not in played.sweeps:
        played.sweeps.add((at, sweep))
        played.later(at - played.now, partial(sweep, played))


def _close_holds(played: Played) -> None:
    if expire.close_overdue_holds(clock=played.clock):
        _sweep_after(played, played.now, _deliver)


def _end_teams(played: Played) -> None:
    if expire.end_overdue_teams(clock=played.clock):
        _sweep_after(played, played.now, _deliver)


def _deliver(played: Played) -> None:
    outbox.deliver_due(clock=played.clock, send=partial(_receive, played))


def _receive(played: Played, tasks: Sequence[NotifyTask], *, now: datetime) -> Mapping[str, Result]:
    """Simulate the mall's response to the first of these notifications."""
    task, number = tasks[0], tasks[0].attempts + 1
    [mall] = [each.channel for each in played.channels if each.pk == task.channel_id]
    ago = played.end - now
    is_down = any(
        timedelta(0) <= timedelta(days=days) - ago < timedelta(hours=hours)
        for days, hours in DOWN[mall]
    )
    is_slow = played.chance.random() < 0.004
    milliseconds = min(played.chance.lognormvariate(3.7, 0.7), 4900)
    played.durations[task.pk, number] = 5000 if is_slow else round(milliseconds)
    if not (is_down or is_slow):
        return {task.key: Result(status_code=200)}
    if number <= len(outbox.BACKOFF):
        longest = timedelta(seconds=outbox.BACKOFF[number - 1] * 1.2)
        _sweep_after(played, now + longest, _deliver)
    if is_down:
        return {task.key: Result("answered 503 'Service Unavailable'", status_code=503)}
    return {task.key: Result("no complete answer within 5 s")}


def _confirm_refunds(played: Played) -> None:
    """Confirm each refund some minutes after the mall has accepted its notification."""
    channels = {each.pk: each for each in played.channels}
    accepted = NotifyTask.objects.filter(
        event=NotifyTask.Event.TEAM_REFUND, delivered_at__lt=played.end - REFUND_TAKES
    ).exclude(key__endswith=RefundType.UNPAID_UNLOCK)
    for task in accepted:
        order = Order.objects.get(pk=json.loads(task.payload)["orderId"])
        assert task.delivered_at is not None
        mall, shopper = channels[task.channel_id], order.user_id
        report = ConfirmCommand(mall, shopper, order.out_trade_no, order.pay_price)
        confirm_refund(report, now=task.delivered_at + REFUND_TAKES)


def _time_attempts(played: Played) -> None:
    """Write the simulated durations of the attempts: the outbox measured them by the real clock."""
    attempts = NotifyAttempt.objects.filter(task__in={pk for pk, _number in played.durations})
    rows = list(attempts)
    for attempt in rows:
        attempt.duration_ms = played.durations[attempt.task_id, attempt.number]
    NotifyAttempt.objects.bulk_update(rows, ["duration_ms"], batch_size=500)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loggers: what is played did not happen, and no worker is there to be nudged."""
    logs = [logging.getLogger(module.__name__) for module in (outbox, nudges, metrics)]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
