"""Rate limits (限流): who asks too often is told to wait, who keeps asking is blocked for longer.

GCRA on Redis: one script, one round trip, however many limits a request falls under. A limit
of 30/10 lets 30 requests through at once and gives them back evenly over 10 seconds. Of a large
limit a busy process takes a share at once and spends it by itself within a second: never more than
the limit, and what it does not spend comes back at the limit's pace. Refusals are
forgiven at the pace of the limit; who collects more than STRIKES of them is blocked, each time
twice as long, until a quiet time. The figures are switches. Redis away: nobody is limited.

The index query is public, so a user id there is only what somebody claims: it counts together
with the address, or anybody could use up, or block, another shopper. A channel is never blocked
and its payments and refunds count for no shopper: money must find its way.
"""

import ipaddress
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from redis import Redis
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from groupbuy import switches
from groupbuy.auth import known_channels, named_user
from groupbuy.models import Switch
from groupbuy.redis import Script, ask

STRIKES = 20  # refusals too many, not yet forgiven, until a block
FIRST, LONGEST = 10, 3600  # seconds of the first block and of the longest
FORGET = 600  # seconds after a block until the next one is a first one again
SHARES = 20  # a process takes this part of a limit at once: one request of 30, 100 of 2000
SHARE_LIFE = 1.0  # seconds in which it may spend that
MOST_SHARES = 50_000  # kept in a process
INDEX = "index"  # where a block is in force: here, or "source/channel"

# KEYS: the blocks of this place (a sorted set by their end), then one hash for each limit.
# ARGV: STRIKES, FIRST, LONGEST, FORGET, then of each limit its requests, its seconds, whether it
# may block, and how many are wanted: so many or one. Returns the milliseconds to wait, 0 when the
# request may pass, and how many were taken of each; all times below are milliseconds.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local strikes_allowed, forget = tonumber(ARGV[1]), ARGV[4] * 1000
local taken = {}
for i = 2, #KEYS do
  local at = 4 * i - 4
  local period = ARGV[at + 2] * 1000
  local interval = period / ARGV[at + 1]
  local wanted = tonumber(ARGV[at + 4])
  local state = redis.call('HMGET', KEYS[i], 'free_at', 'until', 'level', 'strikes', 'struck_at')
  local from = math.max(tonumber(state[1]) or 0, now)
  local free_at = from + interval * wanted
  if free_at > now + period + 0.01 then
    wanted, free_at = 1, from + interval
  end
  local blocked_until = tonumber(state[2]) or 0
  local kept = math.ceil(math.max(period, blocked_until > 0 and blocked_until + forget - now or 0))
  if blocked_until <= now and free_at <= now + period + 0.01 then
    taken[i - 1] = {free_at, kept, wanted}
  else
    local wait = math.max(free_at - period, blocked_until) - now
    if ARGV[at + 3] == '1' then
      local forgiven = (now - (tonumber(state[5]) or now)) / interval
      local strikes = math.max(0, (tonumber(state[4]) or 0) - forgiven) + 1
      if strikes > strikes_allowed then
        local level = blocked_until + forget > now and tonumber(state[3]) or 0
        wait = math.min(ARGV[2] * 2 ^ level, ARGV[3]) * 1000
        strikes, blocked_until, kept = 0, now + wait, math.ceil(wait + forget)
        local ends = string.format('%.0f', blocked_until)
        redis.call('HSET', KEYS[i], 'until', ends, 'level', level + 1)
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
        redis.call('ZADD', KEYS[1], ends, KEYS[i])
        redis.call('EXPIRE', KEYS[1], ARGV[3])
      end
      redis.call('HSET', KEYS[i], 'strikes', strikes, 'struck_at', string.format('%.0f', now))
      redis.call('PEXPIRE', KEYS[i], kept)
    end
    return {math.ceil(wait)}
  end
end
local answer = {0}
for i, state in ipairs(taken) do
  redis.call('HSET', KEYS[i + 1], 'free_at', string.format('%.3f', state[1]))
  redis.call('PEXPIRE', KEYS[i + 1], state[2])
  answer[i + 1] = state[3]
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


class _Shares:
    """What this process has taken of limits and not spent yet.

    A share doubles where the one before was spent in its time, up to a twentieth of the limit,
    and starts from one request otherwise: who asks seldom pays for what it asks and no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, list[float]] = {}  # key -> how many, until when, of how many

    def spend(self, key: str) -> bool:
        with self._lock:
            share = self._left.get(key)
            if share is None or share[0] < 1 or time.monotonic() > share[1]:
                return False
            share[0] -= 1
            return True

    def wanted(self, key: str, most: int) -> int:
        """How large the next share should be."""
        with self._lock:
            share = self._left.get(key)
            if share is None or time.monotonic() > share[1]:
                return 1
            return min(most, max(2, 2 * int(share[2])))

    def keep(self, key: str, count: int) -> None:
        """One of the share is spent at once; what another thread has left is kept as well."""
        now = time.monotonic()
        with self._lock:
            if len(self._left) >= MOST_SHARES:
                self._left.clear()
            left = self._left.get(key, [0, 0, 0])
            spare = left[0] if now <= left[1] else 0
            self._left[key] = [spare + count - 1, now + SHARE_LIFE, count]

    def give_back(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                if key in self._left:
                    self._left[key][0] += 1


class Throttle(BaseThrottle):
    """Takes one request from each limit, or none from any."""

    _wait_ms = 0

    def take(self, place: str, *limits: Limit) -> bool:
        keys, arguments = [_blocks_key(place)], [STRIKES, FIRST, LONGEST, FORGET]
        spent, shared = [], set[str]()
        for limit in limits:
            if rate := switches.rate(limit.switch):
                key, most = _key(place, limit.client), rate.requests // SHARES
                if most > 1 and _shares.spend(key):
                    spent.append(key)
                    continue
                keys.append(key)
                wanted = 1
                if most > 1:
                    shared.add(key)
                    wanted = _shares.wanted(key, most)
                arguments += [rate.requests, rate.seconds, int(limit.may_block), wanted]
        if len(keys) > 1:
            self._ask(keys, arguments, shared)
        if self._wait_ms:
            _shares.give_back(spent)
        return self._wait_ms == 0

    def _ask(self, keys: list[str], arguments: list[int], shared: Collection[str]) -> None:
        answer = ask(lambda redis: _TAKE(redis, keys, *arguments)) or [0]
        self._wait_ms, *taken = answer
        for key, count in zip(keys[1:], taken, strict=False):
            if key in shared:
                _shares.keep(key, count)

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
    places = [INDEX, *(f"{each.source}/{each.channel}" for each in known_channels())]
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
    return f"{_blocks_key(place)}:{client}"


_shares = _Shares()
