"""The platform: its client, its callbacks and its pages."""

from functools import lru_cache

from django.conf import settings

from groupbuy_client import Client, Pages, Webhook

TIMEOUT = 5  # seconds
FINAL = ("E0104", "E0105", "E0106")  # at settlement: no seat, team_refund follows


def client() -> Client:
    """Repeats nothing: a shopper waits for the answer, and the loop tries again later."""
    key = (settings.PLATFORM_URL, settings.API_KEY, settings.SOURCE, settings.CHANNEL)
    return _client(*key)


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
    """Where a team's notifications go; None: by RabbitMQ."""
    if settings.AMQP_URL:
        return None
    return f"{settings.MALL_URL}/api/v1/alipay/group_buy_notify"


@lru_cache
def _client(url: str, key: str, source: str, channel: str) -> Client:
    return Client(url, key or None, source=source, channel=channel, timeout=TIMEOUT, pauses=())
