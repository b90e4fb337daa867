"""The platform: its client, its callbacks and its pages."""

from functools import lru_cache
from typing import Any

from django.conf import settings

from groupbuy_client import Client, Pages, Webhook

TIMEOUT = 15  # seconds; the platform itself tries for up to 13 when its database is busy
LOOK = 5  # seconds; for pages that only show a price, or a slow platform occupies our few threads
PAUSES = (0.5, 2.0, 10.0, 60.0)  # seconds before each repeat of a patient client
FINAL = ("E0104", "E0105", "E0106")  # settlement refused for good: there is no seat


def client(*, patient: bool = False, timeout: int = TIMEOUT) -> Client:
    """The platform's client. It does not repeat calls: a shopper waits, or the loop tries again.

    patient: repeat calls after PAUSES, or as long as the platform asks to wait; for commands.
    """
    key = (settings.PLATFORM_URL, settings.API_KEY, settings.SOURCE, settings.CHANNEL)
    return _client(*key, timeout=timeout, pauses=PAUSES if patient else ())


def webhook() -> Webhook:
    return Webhook(settings.WEBHOOK_SECRET)


def pages() -> Pages:
    return Pages(
        settings.PLATFORM_URL,
        settings.PAGE_SECRET or None,
        source=settings.SOURCE,
        channel=settings.CHANNEL,
    )


def notify_url() -> str | None:
    """The callback URL of a team's notifications; None if they come by RabbitMQ."""
    if settings.AMQP_URL:
        return None
    return f"{settings.MALL_URL}/api/v1/alipay/group_buy_notify"


@lru_cache
def _client(url: str, key: str, source: str, channel: str, **options: Any) -> Client:
    return Client(url, key or None, source=source, channel=channel, **options)
