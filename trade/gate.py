"""Team gate (库存闸门): a quick "no" at a full team, without the database. Never the only "yes".

A counter of free seats in Redis for each team: unknown, then it is primed with what the database
says; none left, then who comes is refused; else one is taken before the database is asked. Where
the database refuses, or a seat is given back, the counter is forgotten and the next one primes it.
It lives for LIFE, so that whatever a dead process has left behind heals by itself.

The contract answers a repeat, a reached limit and a member of the team before it says "full". So
who and which order number has locked is remembered in a filter of bits; whoever may be among them
is answered by the database. A bit too many costs time and never a wrong answer. A bit too few
would: the filter is complete for teams opened since it began, or since a lock was not remembered,
and older teams are left to the database.

Before a crowd a process copies the filters and repeats the "no" by itself, for the blink REPEATED.
"""

import time
import zlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from redis import Redis

from groupbuy import changes, snapshots, switches
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.ids import made_at_ms
from groupbuy.redis import Script, ask
from trade.models import Team

LIFE = timedelta(seconds=2)  # of a counter: how long a seat may seem taken that nobody has
FILTER_BITS = 2**24  # 2 MiB for a channel and day; a million locks fill an eighth
DAY = 86_400  # seconds
DAYS = 2  # that a filter is looked at: today's and yesterday's
SKEW_MS = 1000  # that the clocks of two processes may differ
REPEATED = 1.0  # seconds in which a process repeats what Redis has said, and keeps the filters
ASKING = (
    0.1  # seconds in which one asks anew and the others hear what was true before; _ENTER's, too
)
CROWD = 20  # refusals by Redis that a younger copy would have saved are worth one
MOST_SHUT = 1000  # teams known to a process
FULL, OVER, TAKEN, UNKNOWN, KNOWN, OLD = range(6)
REOPENED = "gbm:gate"  # where the processes are told of a door that is not shut any more

# KEYS: the counter, since when the filters are complete, the filter of today, of yesterday.
# ARGV: the two bits of who asks, when the team was opened; then, to prime: the epoch that was seen,
# free seats (-1: the team is over), milliseconds they are good for.
# Returns the verdict, the epoch, which each giving back of a seat has raised, and for how many
# milliseconds the verdict is good.
_ENTER = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for bit = 1, 2 do
  for day = 3, 4 do
    if redis.call('GETBIT', KEYS[day], ARGV[bit]) == 1 then return {4, 0, 0} end
  end
end
local state = redis.call('HMGET', KEYS[1], 'free', 'until', 'epoch', 'asked')
local free, good_until, epoch = tonumber(state[1]), tonumber(state[2]), tonumber(state[3]) or 0
if not free or good_until <= now then
  if #ARGV >= 4 and tonumber(ARGV[4]) == epoch then
    free, good_until = tonumber(ARGV[5]), now + ARGV[6]
    redis.call('HSET', KEYS[1], 'free', free, 'until', string.format('%.0f', good_until))
    redis.call('PEXPIRE', KEYS[1], 60000)
  elseif not free or now > good_until + 1000 or now > (tonumber(state[4]) or 0) + 100 then
    if free then redis.call('HSET', KEYS[1], 'asked', string.format('%.0f', now)) end
    return {3, epoch, 0}
  end  -- else one asks the database, and the others hear the old count meanwhile
end
if free > 0 then
  redis.call('HINCRBY', KEYS[1], 'free', -1)
  redis.call('SETNX', KEYS[2], string.format('%.0f', now))
  for bit = 1, 2 do redis.call('SETBIT', KEYS[3], ARGV[bit], 1) end
  redis.call('EXPIRE', KEYS[3], 172800)
  return {2, epoch, 0}
end
local complete_since = tonumber(redis.call('GET', KEYS[2]))
if not complete_since or tonumber(ARGV[3]) < complete_since then return {5, epoch, 0} end
return {free < 0 and 1 or 0, epoch, math.max(0, good_until - now)}
""")
# KEYS: since when the filters are complete, the filter of today. ARGV: the two bits.
_REMEMBER = Script("""
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SETNX', KEYS[1], now)
for bit = 1, 2 do redis.call('SETBIT', KEYS[2], ARGV[bit], 1) end
redis.call('EXPIRE', KEYS[2], 172800)
""")
_FORGET = Script("""
redis.call('HDEL', KEYS[1], 'free')
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PUBLISH', 'gbm:gate', KEYS[1])
""")
REFUSALS = {FULL: ErrorCode.TEAM_FULL, OVER: ErrorCode.TEAM_NOT_JOINABLE}


class ClosedError(GroupBuyError):
    """The quick no, in the contract's order: the database need not be asked."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who wants to get in where. A wrong goods or activity is another door, which stays shut."""

    channel_id: int
    activity_id: int
    goods_id: str
    team_id: int
    user_id: str
    out_trade_no: str
    now: datetime

    @property
    def door(self) -> str:
        return _door(self.channel_id, self.activity_id, self.goods_id, self.team_id)

    @property
    def bits(self) -> tuple[int, int]:
        names = f"{self.activity_id} {self.user_id}", self.out_trade_no
        first, second = (zlib.crc32(name.encode()) % FILTER_BITS for name in names)
        return first, second

    @property
    def opened_at_ms(self) -> int:
        """0, which is before any filter, for a team older than the filters reach."""
        opened = made_at_ms(self.team_id)
        return opened if opened > (time.time() - (DAYS - 1) * DAY) * 1000 else 0

    def keys(self) -> list[str]:
        """Counter, completeness, filters of today and yesterday."""
        today, place = int(time.time()) // DAY, f"gbm:gate:{{{self.channel_id}}}"
        return [self.door, f"{place}:since", *(f"{place}:day {today - n}" for n in range(DAYS))]


class _Shut(NamedTuple):
    """What Redis has said of a team."""

    error: ErrorCode
    epoch: int
    since: float  # time.monotonic(); whoever has a seat there has locked before
    until: float
    asked: float = 0.0  # when somebody was sent to ask again


class _Copy(NamedTuple):
    """The filters of a channel."""

    begun: float  # time.monotonic()
    filters: tuple[bytes, ...]

    def knows(self, since: float, now: float) -> bool:
        """Is whoever had locked by then in it, and is it young enough?"""
        return since <= self.begun and now < self.begun + REPEATED


@dataclass(frozen=True, slots=True)
class Entry:
    took: bool  # a seat from the counter; forget() where the database then refuses it
    epoch: int | None = None  # where the counter is to be primed


def enter(visitor: Visitor) -> Entry:
    """Take a seat from the counter. ClosedError: there is none, and nobody else need be asked."""
    if switches.caches_off():
        return Entry(took=False)
    _own_up(visitor)
    begun = time.monotonic()
    if error := _repeated(visitor):
        raise ClosedError(error)
    asked = (*visitor.bits, visitor.opened_at_ms)
    found = ask(lambda redis: _ENTER(redis, visitor.keys(), *asked))
    return _entry(visitor, begun, found)


def prime(entry: Entry, visitor: Visitor, team: Team | None) -> Entry:
    """Tell the counter what the database has said, where it did not know; then as enter()."""
    if entry.epoch is None:
        return entry
    free, life = -1, LIFE
    if team and visitor.door == door_of(team) and team.is_joinable(visitor.now):
        free = team.target_count - team.locked_count
        life = min(LIFE, team.expires_at - visitor.now)
    asked = (*visitor.bits, visitor.opened_at_ms)
    known = (entry.epoch, free, life // timedelta(milliseconds=1))
    begun = time.monotonic()
    found = ask(lambda redis: _ENTER(redis, visitor.keys(), *asked, *known))
    return _entry(visitor, begun, found)


def remember(visitor: Visitor) -> None:
    """Whoever locks without a seat from the counter is known from now on, too."""
    _own_up(visitor)
    filters = visitor.keys()[1:3]

    def tell(redis: Redis) -> bool:
        _REMEMBER(redis, filters, *visitor.bits)
        return True

    if not ask(tell):
        _missed[visitor.channel_id] = time.time_ns() // 1_000_000


def _own_up(visitor: Visitor) -> None:
    """A lock of this process is not in the filters: they are complete since then only."""
    if missed := _missed.get(visitor.channel_id):
        since = visitor.keys()[1]
        told = ask(lambda redis: redis.set(since, missed + SKEW_MS))
        if told and _missed.get(visitor.channel_id) == missed:
            _missed.pop(visitor.channel_id, None)


def forget(door: str) -> None:
    """The counter is wrong: what is primed next is what the database says from now on."""
    ask(lambda redis: _FORGET(redis, [door]))
    _reopen(door)


def forget_after_commit(team: Team) -> None:
    """A seat of the team comes free, or the team is over. Call inside the transaction."""
    door = door_of(team)

    def run() -> None:
        forget(door)

    transaction.on_commit(run, robust=True)


def door_of(team: Team) -> str:
    return _door(team.channel_id, team.activity_id, team.goods_id, team.pk)


def _door(channel_id: int, activity_id: int, goods_id: str, team_id: int) -> str:
    return f"gbm:gate:{{{channel_id}}}:{activity_id}:{goods_id}:{team_id}"


def _entry(visitor: Visitor, begun: float, found: tuple[int, int, int] | None) -> Entry:
    if found is None:
        return Entry(took=False)  # Redis is away: the database answers
    verdict, epoch, good_for_ms = found
    _note(visitor, begun, verdict, epoch, good_for_ms / 1000)
    if error := REFUSALS.get(verdict):
        raise ClosedError(error)
    return Entry(took=verdict == TAKEN, epoch=epoch if verdict == UNKNOWN else None)


def _repeated(visitor: Visitor) -> ErrorCode | None:
    """The "no" that this process knows by itself, while it would hear of a seat that comes free.

    None: ask Redis. When it is time to ask again one does, and others hear what was true before.
    """
    door, now = visitor.door, time.monotonic()
    shut, copy = _shut.get(door), _copies.get(visitor.channel_id)
    if shut is None or copy is None or not copy.knows(shut.since, now):
        return None
    if now > shut.until + REPEATED or not snapshots.is_subscribed():
        return None
    places = visitor.bits
    for bits in copy.filters:
        if _bit(bits, places[0]) or _bit(bits, places[1]):
            return None
    if now > shut.until and now > shut.asked + ASKING:
        _shut[door] = shut._replace(asked=now)
        return None
    return shut.error


def _note(visitor: Visitor, begun: float, verdict: int, epoch: int, good_for: float) -> None:
    """What Redis has said. The same epoch: nobody has left since, so nobody has come."""
    door, channel_id, now = visitor.door, visitor.channel_id, time.monotonic()
    if max(_reopened.get(door, 0.0), _reopened.get("", 0.0)) >= begun:
        return  # it may have been said before
    before = _shut.get(door)
    same = before is not None and before.epoch == epoch and now < before.until + REPEATED
    if verdict in REFUSALS:
        if len(_shut) >= MOST_SHUT:
            _shut.clear()
        since = before.since if before and same else now
        _shut[door] = _Shut(REFUSALS[verdict], epoch, since, now + min(REPEATED, good_for))
        copy = _copies.get(channel_id)
        if snapshots.is_subscribed() and (copy is None or not copy.knows(since, now)):
            _refused[channel_id] += 1
        if _refused[channel_id] >= CROWD:
            _refused[channel_id] = 0
            _copy_filters(visitor)
    elif verdict in (TAKEN, OLD) or (verdict == UNKNOWN and not same):
        _shut.pop(door, None)


def _reopen(door: str) -> None:
    """A seat there came free, in whatever process; "": some of that may not have been heard."""
    if len(_reopened) >= MOST_SHUT:
        _reopened.clear()
    _reopened[door] = time.monotonic()
    if door:
        _shut.pop(door, None)
    else:
        _shut.clear()


def _copy_filters(visitor: Visitor) -> None:
    begun, days = time.monotonic(), visitor.keys()[2:]
    for channel_id, copy in list(_copies.items()):
        if begun > copy.begun + REPEATED:
            _copies.pop(channel_id, None)
    filters: Any = ask(lambda redis: redis.mget(days))
    if filters:
        _copies[visitor.channel_id] = _Copy(begun, tuple(bits for bits in filters if bits))


def _bit(bits: bytes, place: int) -> bool:
    return place >> 3 < len(bits) and bool(bits[place >> 3] & 0x80 >> (place & 7))


_shut: dict[str, _Shut] = {}  # by door
_reopened: dict[str, float] = {}  # by door: time.monotonic() of the last time
_copies: dict[int, _Copy] = {}  # by channel
_refused: defaultdict[int, int] = defaultdict(int)  # by channel, since its last copy
_missed: dict[int, int] = {}  # channel -> when a lock could not be remembered, milliseconds
changes.subscribe(REOPENED, _reopen)
