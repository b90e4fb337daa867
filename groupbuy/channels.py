"""Channels (渠道) as the hot path knows them, from an in-process copy.

find() takes the wire's source and channel, KnownChannel.allows() checks a callback URL. A lock, a
settlement or a refund gets its channel from the permission check and does not look it up again. The
worker reads from here what it needs to send a callback.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Self

from groupbuy import switches
from groupbuy.hosts import is_allowed
from groupbuy.models import Channel
from groupbuy.snapshots import Snapshot


@dataclass(frozen=True, slots=True)
class KnownChannel:
    """The fields of a Channel that a request or a callback needs."""

    pk: int
    source: str
    channel: str
    name: str
    callback_hosts: str
    refund_notify_url: str
    checkout_url: str
    pays_outside_wechat: bool
    page_secrets: tuple[str, ...]  # the current one first
    webhook_secrets: tuple[str, ...]  # likewise
    allow_without_key: bool

    @classmethod
    def of(cls, row: Channel) -> Self:
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})

    def allows(self, url: str) -> bool:
        """May callbacks go to this URL?"""
        return is_allowed(url, self.callback_hosts)


def find(source: str, channel: str) -> KnownChannel | None:
    return _channels.get().get((source, channel))


def get(pk: int) -> KnownChannel | None:
    return next((channel for channel in known() if channel.pk == pk), None)


def known() -> Collection[KnownChannel]:
    """Every channel."""
    return _channels.get().values()


def _load() -> Mapping[tuple[str, str], KnownChannel]:
    return {(row.source, row.channel): KnownChannel.of(row) for row in Channel.objects.all()}


_channels = Snapshot(_load, bypass=switches.caches_off, announced=True)
