"""Authentication by API key (鉴权): keys of channels and of operators, from an in-process copy.

A key is sent as `Authorization: Bearer gbm_<prefix>_<secret>`. The channel named in the
request must be the key's own. A channel may be configured to accept requests without a key.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    NotAuthenticated,
    ValidationError,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from groupbuy import channels, switches
from groupbuy.channels import KnownChannel
from groupbuy.fields import TextField
from groupbuy.models import ApiKey, digest
from groupbuy.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class Caller:
    """request.user of an API request. channel is None for an operator key."""

    channel: KnownChannel | None
    name: str = ""
    is_authenticated = True


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header or header.startswith(" "):
            return None
        caller = caller_of(header)
        if caller is None:
            raise AuthenticationFailed
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def caller_of(header: str) -> Caller | None:
    """The caller that an Authorization header identifies; None if it holds no active key."""
    scheme, _, text = header.partition(" ")
    prefix = text.strip().split("_")[1:2]
    known = _keys.get().get(prefix[0]) if prefix else None
    if scheme.lower() != "bearer" or known is None:
        return None
    expected, caller = known
    return caller if hmac.compare_digest(expected, digest(text.strip())) else None


class IsOwnChannel(BasePermission):
    """The request names the key's own channel, or a channel that needs no key.

    A POST names it in the body, a GET in the query; with a key, a GET may leave it out.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method not in view.allowed_methods:
            raise MethodNotAllowed(str(request.method))  # with or without a key
        fields = request.data if request.method == "POST" else request.query_params
        source, name = (_named(fields, "source"), _named(fields, "channel"))
        caller: Any = request.user
        if caller is None:
            channel = channels.find(source, name)
            if channel is None or not channel.allow_without_key:
                raise NotAuthenticated
            request.user = Caller(channel)  # type: ignore[assignment]
            return True
        own = caller.channel
        return own is not None and source in (own.source, "") and name in (own.channel, "")


class IsOwnChannelOrOperator(IsOwnChannel):
    def has_permission(self, request: Request, view: Any) -> bool:
        return is_operator(request) or super().has_permission(request, view)


class IsOperator(BasePermission):
    """The key belongs to no channel."""

    def has_permission(self, request: Request, view: object) -> bool:
        if request.user is None:
            raise NotAuthenticated
        return is_operator(request)


def is_operator(request: Request) -> bool:
    caller: Any = request.user
    return caller is not None and caller.channel is None


def calling_channel(request: Request) -> KnownChannel:
    """The channel of a request that IsOwnChannel has accepted."""
    caller: Any = request.user
    channel: KnownChannel = caller.channel
    return channel


def named_user(request: Request) -> str:
    """The userId of a POST; "" where its serializer will refuse it."""
    return _named(request.data, "userId", _user_id)


def _named(fields: object, field: str, form: TextField | None = None) -> str:
    """The field as the request's serializer will read it; "" where the serializer refuses it."""
    value = fields.get(field) if isinstance(fields, Mapping) else None
    try:
        name: str = (form or _name).run_validation(value)
    except ValidationError:
        return ""
    return name


def _load() -> dict[str, tuple[str, Caller]]:
    """Active keys: prefix -> digest and caller."""
    keys = ApiKey.objects.filter(is_active=True).select_related("channel")
    return {
        key.prefix: (
            key.digest,
            Caller(KnownChannel.of(key.channel) if key.channel else None, str(key)),
        )
        for key in keys
    }


_keys = Snapshot(_load, bypass=switches.caches_off, announced=True)
_name, _user_id = TextField(longest=32), TextField(longest=64)
