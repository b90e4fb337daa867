"""Team gate (库存闸门): refuses joiners of a full team without the database.

Only the database accepts joiners. For each team, Redis keeps "full" or the number of free seats,
as read from the database, for LIFE_MS or until a seat is released. For a minute it also keeps order
numbers of the team: all those of a full one, and those that took a free seat. A request with one of
them may be a repeat and goes to the database. With any other number:

- The team is full: it is refused (E0006).
- Seats are free: a request that has passed all checks takes one before its transaction or is
  refused (E0008), so at most as many transactions as free seats wait for the team's row.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from django.db import transaction

from activity.catalog import LiveOffer
from groupbuy import changes, metrics, rows, switches
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.redis import Script, try_redis
from trade.models import Team
from trade.refusals import Refusals

LIFE_MS = 2000  # a wrong number of free seats heals after this
OPEN, TAKEN, NONE_LEFT, FULL = range(4)

# KEYS: the free seats, a number or "full"; the epoch, which each release raises; order numbers.
# ARGV: 1 the request's order number, 2 LIFE_MS, 3 seats to take. With facts from the database also:
# 4 the epoch before they were read, 5 free seats or "full", 6… the order numbers of a full team.
# Returns the epoch and the verdict; for FULL also the milliseconds left and the order numbers.
_ENTER = Script("""
local epoch = tonumber(redis.call('GET', KEYS[2])) or 0
if tonumber(ARGV[4]) == epoch and (ARGV[5] == 'full' or redis.call('EXISTS', KEYS[1]) == 0) then
  redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[2])
  for n = 6, #ARGV do redis.call('SADD', KEYS[3], ARGV[n]) end
  redis.call('PEXPIRE', KEYS[3], 60000)
end
local free = redis.call('GET', KEYS[1])
if not free or redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1 then return {epoch, 0} end
if free == 'full' then
  local numbers = redis.call('SMEMBERS', KEYS[3])  -- none: Redis has evicted them
  return {epoch, #numbers > 0 and 3 or 0, redis.call('PTTL', KEYS[1]), numbers}
end
if ARGV[3] == '0' then return {epoch, 0} end
if free == '0' then return {epoch, 2} end
redis.call('DECR', KEYS[1])
redis.call('SADD', KEYS[3], ARGV[1])  -- so that a double click counts once
redis.call('PEXPIRE', KEYS[3], 60000)
return {epoch, 1}
""")
_RELEASE = Script("""
redis.call('DEL', KEYS[1])
redis.call('INCR', KEYS[2])
redis.call('PEXPIRE', KEYS[2], 60000)
if ARGV[1] ~= '' then redis.call('PUBLISH', 'gbm:gate', ARGV[1]) end
""")

refusals = Refusals()
changes.subscribe("gbm:gate", refusals.release)


class FullError(GroupBuyError):
    """The team is full, and the order number is none of this team's."""


class Visitor(NamedTuple):  # one attempt to join a team
    key: str
    out_trade_no: str
    epoch: int | None = None  # before the team was read; None: Redis was not asked, or is away
    team: Team | None = None
    taken: bool = False  # has decremented the number of free seats


def enter(offer: LiveOffer, team_id: int, out_trade_no: str) -> Visitor:
    """Read the team to join. Raises FullError if it is full, usually without reading it."""
    key = _key(offer.channel_id, offer.activity.pk, offer.goods_id, team_id)
    visitor = Visitor(key, out_trade_no)
    if not switches.caches_off():
        if error := refusals.refusal(key, out_trade_no, time.monotonic()):
            metrics.GATED.labels("process").inc()
            raise FullError(error)
        visitor = _run(visitor)
    team = rows.read(Team, pk=team_id)
    if team is None or not team.is_full() or key_of(team) != key:
        refusals.release(key)
    elif visitor.epoch is not None:
        _run(visitor, "full", *team.orders.values_list("out_trade_no", flat=True))
    return visitor._replace(team=team)


@contextmanager
def passing(visitor: Visitor | None) -> Iterator[None]:
    """Take one of Redis's free seats for the transaction inside; if that fails, drop their number.

    visitor is None for a request that opens a team and needs no free seat. Raises SEAT_LOST if no
    seat is left, and FullError if the team is full by now.
    """
    if visitor and visitor.team and visitor.epoch is not None:
        free = visitor.team.target_count - visitor.team.locked_count
        visitor = _run(visitor, free, seats=1)
    try:
        yield
    except BaseException:
        if visitor and visitor.taken:
            release(visitor.key)
        raise


def release(key: str, *, was_full: bool = True) -> None:
    """Drop the team's free seats from Redis; if it was full, also the refusals of all processes."""
    message = key if was_full else ""
    try_redis(lambda redis: _RELEASE(redis, [f"{key}:free", f"{key}:epoch"], message))
    refusals.release(key)


def release_after_commit(team: Team) -> None:
    """release() the team after the commit. Call in the transaction that closes an order of it."""
    freed = partial(release, key_of(team), was_full=team.locked_count == team.target_count - 1)
    transaction.on_commit(freed, robust=True)


def key_of(team: Team) -> str:
    return _key(team.channel_id, team.activity_id, team.goods_id, team.pk)


def _key(channel_id: int, activity_id: int, goods_id: str, team_id: int) -> str:
    return f"gbm:gate:{{{team_id}}}:{channel_id}:{activity_id}:{goods_id}"


def _run(visitor: Visitor, *facts: int | str, seats: int = 0) -> Visitor:
    """Run the script, which first stores the facts read from the database, if any are given."""
    key, asked_at = visitor.key, time.monotonic()
    keys = [f"{key}:{part}" for part in ("free", "epoch", "orders")]
    given = [visitor.out_trade_no, LIFE_MS, seats, *((visitor.epoch or 0, *facts) if facts else ())]
    if (reply := try_redis(lambda redis: _ENTER(redis, keys, *given))) is None:
        return visitor  # Redis is away: the database answers
    epoch, verdict, *full = reply
    if verdict == FULL:
        good_for_ms, numbers = full
        known = {number.decode() for number in numbers}
        refusals.note(key, known, asked_at=asked_at, good_for=good_for_ms / 1000)
        metrics.GATED.labels("redis").inc()
        raise FullError(ErrorCode.TEAM_FULL)
    if verdict == NONE_LEFT:
        metrics.GATED.labels("seats").inc()
        raise GroupBuyError(ErrorCode.SEAT_LOST)
    return visitor._replace(epoch=epoch, taken=verdict == TAKEN)
