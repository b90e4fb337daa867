"""System check: refunds can be reported to each channel's mall."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError
from django.db.models import QuerySet

from groupbuy.models import Channel


def channels_without_refunds() -> QuerySet[Channel]:
    """Channels without a refund callback URL, unless a message broker is there for refunds."""
    channels = Channel.objects.filter(refund_notify_url="").order_by("pk")
    return channels.none() if settings.AMQP_URL else channels


@register(Tags.database)
def check_refunds(
    app_configs: Any = None, databases: Sequence[str] | None = None, **options: Any
) -> list[CheckMessage]:
    """Run by migrate, and by check with --database."""
    try:
        silent = list(channels_without_refunds()) if databases else []
    except DatabaseError:  # before the first migration
        return []
    return [
        Warning(
            f"Refunds of {channel.source}/{channel.channel} cannot be reported to its mall.",
            hint="Enter the channel's refund callback URL in the console, or set AMQP_URL.",
            id="groupbuy.W001",
        )
        for channel in silent
    ]
