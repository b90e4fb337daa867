"""Rate limits (限流): which limits a request counts under; gcra.py counts them.

The index query is public, so anyone can send any user id there. Without a mall's key it counts that
user id together with the address, or one client could use up the limit of another, or get it
blocked. A channel is never blocked, and payments and refunds do not count under their shopper's
limit: a mall must always be able to report money. Operators set the limits as switches.
"""

import ipaddress
from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from groupbuy import channels, metrics, switches
from groupbuy.auth import caller_of, named_user
from groupbuy.bodies import BodyError
from groupbuy.gcra import Limit, limiter
from groupbuy.models import Switch
from groupbuy.proxies import caller

INDEX = "index"  # the scope of the index query; each channel and the pages have their own


class Throttle(BaseThrottle):
    """Counts a request under each of its limits, or under none."""

    _wait = 0.0

    def acquire(self, scope: str, limits: list[Limit]) -> bool:
        self._wait = limiter.acquire(scope, limits)
        if self._wait:
            metrics.LIMITED.labels(INDEX if scope == INDEX else "trade").inc()
        return self._wait == 0

    def wait(self) -> float:
        return self._wait


class IndexThrottle(Throttle):
    """The index query: by address, and by shopper at an address; with a mall's key, as its calls.

    All shoppers of a mall that sends the query from its server have the address of that server.
    """

    def allow_request(self, request: Request, view: object) -> bool:
        """A request without a readable user id is refused, but counts, too."""
        user_id = ""
        unreadable: APIException | BodyError | None = None
        try:
            user_id = named_user(request)
        except (APIException, BodyError) as exc:
            unreadable = exc
        known = caller_of(request.META.get("HTTP_AUTHORIZATION", ""))
        if known and known.channel:
            allowed = self.acquire(_scope(known.channel), _of_mall(user_id))
        else:
            allowed = self.acquire(INDEX, _of_address(client_address(caller(request)), user_id))
        if allowed and unreadable:
            raise unreadable
        return allowed


class TradeThrottle(Throttle):
    """The calls of malls: by channel; those that shoppers can cause also by shopper."""

    def __init__(self, *, by_user: bool) -> None:
        self._by_user = by_user

    def allow_request(self, request: Request, view: object) -> bool:
        caller: Any = request.user
        if caller.channel is None:
            return True  # an operator's own tools
        user_id = named_user(request) if self._by_user else ""
        return self.acquire(_scope(caller.channel), _of_mall(user_id))


def scopes() -> list[str]:
    """Every scope in which clients may be blocked."""
    return [INDEX, *map(_scope, channels.known())]


def client_address(ident: str) -> str:
    """The address under which a client is counted: for IPv6 its /64, all of which it can use."""
    try:
        address = ipaddress.ip_address(ident)
    except ValueError:
        return ident[:64]
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)


def limits_of(key: Switch.Key, client: str, *, may_block: bool = True) -> list[Limit]:
    """The limit that this switch sets; none while it is off."""
    rate = switches.rate(key)
    return [Limit(client, rate, may_block)] if rate else []


def _of_address(address: str, user_id: str) -> list[Limit]:
    limits = limits_of(Switch.Key.INDEX_ADDRESS, f"address {address}")
    if user_id:
        limits += limits_of(Switch.Key.INDEX_USER, f"user {user_id} at {address}")
    return limits


def _of_mall(user_id: str) -> list[Limit]:
    limits = limits_of(Switch.Key.TRADE_USER, f"user {user_id}") if user_id else []
    return limits + limits_of(Switch.Key.TRADE_CHANNEL, "channel", may_block=False)


def _scope(channel: Any) -> str:
    return f"{channel.source}/{channel.channel}"
