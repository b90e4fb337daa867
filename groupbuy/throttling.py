"""Rate limits (限流): who asks too often is told to wait, who keeps asking is blocked for longer.

GCRA on Redis: one script, one round trip, however many limits a request falls under. A limit
of 30/10 lets 30 requests through at once and gives them back evenly over 10 seconds. What is far
from a large limit a process lets through by itself, by the same rule, and tells Redis a moment
later, all together: for a moment each process may have let through a twentieth of the limit that
the others do not know of; over a longer time not one too many. Only Redis refuses. Refusals are
forgiven at the pace of the limit; who collects more than STRIKES of them is blocked, the next
time twice as long, until a quiet time; knocking during a block changes nothing. The figures are
switches. Redis away: nobody is limited.

The index query is public, so a user id there is only what somebody claims: it counts together
with the address, or anybody could use up, or block, another shopper. A channel is never blocked
and its payments and refunds count for no shopper: money must find its way.
"""

import ipaddress
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from redis import Redis
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from groupbuy import channels, switches
from groupbuy.auth import named_user
from groupbuy.models import Switch
from groupbuy.redis import Script, ask

STRIKES = 20  # refusals too many, not yet forgiven, until a block
FIRST, LONGEST = 10, 3600  # seconds of the first block and of the longest
FORGET = 600  # seconds after a block until the next one is a first one again
LARGE = 40  # requests: of smaller limits Redis counts each at once
UNTOLD = 20  # Redis need not know of this part of a large limit: of 3 requests of 60, 100 of 2000
TELL, MOST_TOLD = 0.05, 1000  # seconds until it is told; of how many clients at once
TINY = 1e-5  # seconds that adding up may lose
MOST_TALLIES = 20_000  # kept in a process for each place
INDEX = "index"  # where a block is in force: here, or "source/channel"

# KEYS: the blocks of this place (a sorted set by their end), then one hash for each limit.
# ARGV: STRIKES, FIRST, LONGEST, FORGET, then of each limit its requests, its seconds and whether
# it may block. Returns the milliseconds to wait, 0 when the request may pass; all times below are
# milliseconds.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local strikes_allowed, forget = tonumber(ARGV[1]), ARGV[4] * 1000
local taken = {}
for i = 2, #KEYS do
  local at = 3 * i - 2
  local period = ARGV[at + 2] * 1000
  local interval = period / ARGV[at + 1]
  local state = redis.call('HMGET', KEYS[i], 'free_at', 'until', 'level', 'strikes', 'struck_at')
  local free_at = tonumber(state[1]) or 0
  if free_at > now + 3 * period then free_at = 0 end  -- owed under other figures
  free_at = math.max(free_at, now) + interval
  local blocked_until = tonumber(state[2]) or 0
  if blocked_until > now then return math.ceil(blocked_until - now) end
  local remembered = blocked_until > 0 and blocked_until + forget - now or 0
  local kept = math.ceil(math.max(period, free_at - now, remembered))
  if free_at <= now + period + 0.01 then
    taken[i] = {free_at, kept}
  else
    local wait = free_at - period - now
    if ARGV[at + 3] == '1' then
      local forgiven = (now - (tonumber(state[5]) or now)) / interval
      local strikes = math.max(0, (tonumber(state[4]) or 0) - forgiven) + 1
      if strikes > strikes_allowed then
        local level = blocked_until + forget > now and tonumber(state[3]) or 0
        wait = math.min(ARGV[2] * 2 ^ level, ARGV[3]) * 1000
        strikes, blocked_until, kept = 0, now + wait, math.ceil(wait + forget)
        local ends = string.format('%.0f', math.floor(blocked_until))
        redis.call('HSET', KEYS[i], 'until', ends, 'level', level + 1)
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
        redis.call('ZADD', KEYS[1], ends, KEYS[i])
        redis.call('EXPIRE', KEYS[1], ARGV[3])
      end
      redis.call('HSET', KEYS[i], 'strikes', strikes, 'struck_at', string.format('%.0f', now))
      redis.call('PEXPIRE', KEYS[i], kept)
    end
    return math.ceil(wait)
  end
end
for i, state in pairs(taken) do
  redis.call('HSET', KEYS[i], 'free_at', string.format('%.3f', state[1]))
  redis.call('PEXPIRE', KEYS[i], state[2])
end
return 0
""")
# KEYS: one hash for each limit. ARGV: FORGET, milliseconds since the first request that is told
# of now, then of each limit how far all its requests move it and its period, in milliseconds.
# Returns of each how far ahead its free_at is, in microseconds; or minus the time it is blocked.
_TELL = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local answer = {}
for i, key in ipairs(KEYS) do
  local moved, period = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local state = redis.call('HMGET', key, 'free_at', 'until')
  local free_at = tonumber(state[1]) or 0
  if free_at > now + 3 * period then free_at = 0 end
  free_at = math.max(free_at, now - ARGV[2]) + moved
  local blocked_until = tonumber(state[2]) or 0
  local remembered = blocked_until > 0 and blocked_until + ARGV[1] * 1000 - now or 0
  redis.call('HSET', key, 'free_at', string.format('%.3f', free_at))
  redis.call('PEXPIRE', key, math.ceil(math.max(period, free_at - now, remembered)))
  local ahead = blocked_until > now and now - blocked_until or math.max(0, free_at - now)
  answer[i] = math.floor(ahead * 1000)
end
return answer
""")


class Limit(NamedTuple):
    """One count that a request falls under."""

    switch: Switch.Key
    client: str  # "address 10.0.0.1"
    may_block: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """Somebody who asked too often for too long."""

    place: str  # "index", or "source/channel"
    client: str
    until: datetime


@dataclass(slots=True)
class _Tally:
    """What this process knows of one limit, in seconds."""

    free_at: float = 0.0  # time.monotonic()
    untold: float = 0.0  # how far it has moved that and has no word from Redis that it knows
    period: int = 0
    blocked_until: float = 0.0  # time.monotonic()

    def take(self, rate: switches.Rate, now: float) -> bool:
        if self.free_at > now + 3 * rate.seconds:
            self.free_at = 0.0  # owed under other figures
        free_at = max(self.free_at, now) + rate.interval
        untold = self.untold + rate.interval
        if (
            now < self.blocked_until
            or free_at > now + rate.seconds + TINY
            or untold > rate.seconds / UNTOLD + TINY
        ):
            return False
        self.free_at, self.untold, self.period = free_at, untold, rate.seconds
        return True


class _Tallies:
    """Of the large limits of one place."""

    def __init__(self) -> None:
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._tallies: dict[str, _Tally] = {}
        self._untold: dict[str, None] = {}  # their keys, the oldest first
        self._since = 0.0  # time.monotonic() of the first of them

    def take(self, key: str, rate: switches.Rate) -> bool:
        """False: ask Redis, which knows by then of all that has passed here."""
        if self._take(key, rate):
            return True
        self._tell()
        return self._take(key, rate)

    def give_back(self, key: str, rate: switches.Rate) -> None:
        with self._lock:
            if tally := self._tallies.get(key):
                tally.free_at -= rate.interval
                tally.untold -= rate.interval
                if abs(tally.untold) > TINY:
                    self._mark_untold(key)
                else:
                    self._untold.pop(key, None)

    def tell_in_time(self) -> None:
        due = time.monotonic() > self._since + TELL or len(self._untold) >= MOST_TOLD
        if self._untold and due and not self._telling.locked():
            self._tell()

    def _take(self, key: str, rate: switches.Rate) -> bool:
        with self._lock:
            tally = self._tallies.get(key)
            if tally is None:
                if len(self._tallies) >= MOST_TALLIES > 2 * len(self._untold):
                    self._tallies = {name: self._tallies[name] for name in self._untold}
                tally = self._tallies[key] = _Tally()
            if not tally.take(rate, time.monotonic()):
                return False
            self._mark_untold(key)
            return True

    def _mark_untold(self, key: str) -> None:
        if not self._untold:
            self._since = time.monotonic()
        self._untold[key] = None

    def _tell(self) -> None:
        """One at a time, or an older answer would replace a younger one."""
        with self._telling:
            with self._lock:
                keys = list(islice(self._untold, MOST_TOLD))
                tallies = [self._tallies[key] for key in keys]
                moved = [tally.untold for tally in tallies]
                age = time.monotonic() - self._since
                for key in keys:
                    del self._untold[key]
            if not keys:
                return
            periods = [tally.period for tally in tallies]
            pairs = ((1000 * m, 1000 * p) for m, p in zip(moved, periods, strict=True))
            arguments = [FORGET, 1000 * age, *chain.from_iterable(pairs)]
            ahead = ask(lambda redis: _TELL(redis, keys, *arguments)) or []
            now = time.monotonic()
            with self._lock:
                for tally, told in zip(tallies, moved, strict=True):
                    tally.untold -= told
                for tally, microseconds in zip(tallies, ahead, strict=False):
                    if microseconds < 0:
                        tally.blocked_until = now - microseconds / 1e6
                    else:
                        tally.free_at = now + microseconds / 1e6 + tally.untold


class Throttle(BaseThrottle):
    """Takes one request from each limit, or none from any."""

    _wait_ms = 0

    def take(self, place: str, *limits: Limit) -> bool:
        tallies = _tallies.get(place) or _tallies.setdefault(place, _Tallies())
        tallies.tell_in_time()  # before this request, which is not as old as those
        keys, arguments = [_blocks_key(place)], [STRIKES, FIRST, LONGEST, FORGET]
        passed = []
        for limit in limits:
            if rate := switches.rate(limit.switch):
                key = _key(place, limit.client)
                if rate.requests >= LARGE and tallies.take(key, rate):
                    passed.append((key, rate))
                else:
                    keys.append(key)
                    arguments += [*rate, int(limit.may_block)]
        if len(keys) > 1:
            self._wait_ms = ask(lambda redis: _TAKE(redis, keys, *arguments)) or 0
        if self._wait_ms:
            for key, rate in passed:
                tallies.give_back(key, rate)
        return self._wait_ms == 0

    def wait(self) -> float:
        return self._wait_ms / 1000


class IndexThrottle(Throttle):
    """The public index query: by address, and by shopper at an address."""

    def allow_request(self, request: Request, view: object) -> bool:
        address = client_address(self.get_ident(request))
        limits = [Limit(Switch.Key.INDEX_ADDRESS, f"address {address}")]
        unreadable: APIException | None = None
        try:
            user_id = named_user(request)
        except APIException as exc:  # counts for its address all the same
            user_id, unreadable = "", exc
        if user_id:
            limits.append(Limit(Switch.Key.INDEX_USER, f"user {user_id} at {address}"))
        allowed = self.take(INDEX, *limits)
        if allowed and unreadable:
            raise unreadable
        return allowed


class TradeThrottle(Throttle):
    """What malls call: by channel, and what shoppers cause at will by shopper too."""

    def __init__(self, *, by_user: bool) -> None:
        self._by_user = by_user

    def allow_request(self, request: Request, view: object) -> bool:
        caller: Any = request.user
        if caller.channel is None:
            return True  # an operator's own tools
        place = f"{caller.channel.source}/{caller.channel.channel}"
        limits = [Limit(Switch.Key.TRADE_CHANNEL, "channel", may_block=False)]
        if self._by_user and (user_id := named_user(request)):
            limits.insert(0, Limit(Switch.Key.TRADE_USER, f"user {user_id}"))
        return self.take(place, *limits)


def client_address(ident: str | None) -> str:
    """Who can have one IPv6 address can have 2^64 of them, so those count as one."""
    try:
        address = ipaddress.ip_address(ident or "")
    except ValueError:
        return str(ident)[:64]
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


def blocks() -> list[Block] | None:
    """Who is blocked now, the longest first; None while Redis is away."""
    places = [INDEX, *(f"{each.source}/{each.channel}" for each in channels.known())]
    found = ask(partial(_read_blocks, places))
    return None if found is None else sorted(found, key=lambda block: block.until, reverse=True)


def lift(place: str, client: str) -> bool:
    """Let a blocked client in again, with a clean slate; was it blocked?"""
    key = _key(place, client)

    def forget(redis: Redis) -> int:
        together = redis.pipeline(transaction=True)
        together.zrem(_blocks_key(place), key)
        together.delete(key)
        removed: int = together.execute()[0]
        return removed

    return bool(ask(forget))


def _read_blocks(places: list[str], redis: Redis) -> list[Block]:
    now = datetime.now(UTC)
    return list(_blocks_of(places, redis, now.timestamp() * 1000))


def _blocks_of(places: list[str], redis: Redis, now_ms: float) -> Iterator[Block]:
    for place in places:
        found: Any = redis.zrangebyscore(_blocks_key(place), now_ms, "+inf", withscores=True)
        for key, until in found:
            client = key.decode().removeprefix(_key(place, ""))
            yield Block(place, client, datetime.fromtimestamp(until / 1000, UTC))


def _blocks_key(place: str) -> str:
    return f"gbm:limit:{{{place}}}"


def _key(place: str, client: str) -> str:
    return f"gbm:limit:{{{place}}}:{client}"


_tallies: dict[str, _Tallies] = {}  # by place
