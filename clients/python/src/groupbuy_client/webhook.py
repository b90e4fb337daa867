"""Callbacks (回调): verify that the platform sent one, and read it.

Signatures are those of Standard Webhooks 1.0: HMAC-SHA256 over "id.timestamp.body".
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import timedelta

from groupbuy_client.answers import TeamRefund, TeamSuccess, as_notification
from groupbuy_client.errors import WebhookError

TOLERANCE = timedelta(minutes=5)


class Webhook:
    """Verifies callbacks with the channel's secret, "whsec_…". Safe to share between threads."""

    def __init__(self, secret: str, *, tolerance: timedelta = TOLERANCE) -> None:
        """tolerance: the largest difference between the callback's time and this clock."""
        try:
            self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError as exc:
            raise ValueError("secret: expected whsec_ and base64") from exc
        if not self._key:
            raise ValueError("secret: empty")
        self._tolerance = tolerance.total_seconds()

    def verify(self, headers: Mapping[str, str], body: bytes) -> TeamSuccess | TeamRefund:
        """Verify and read a callback. Raises WebhookError if it is forged, too old or unreadable.

        The headers' names may be in any case. While a secret is rotated there are two signatures,
        of which one has to match.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        key, timestamp, signatures = (lower.get(name, "") for name in names)
        self._require_recent(timestamp)
        signed = f"{key}.{timestamp}.".encode() + body
        digest = hmac.digest(self._key, signed, hashlib.sha256)
        expected = b"v1," + base64.b64encode(digest)
        found = [hmac.compare_digest(expected, each.encode()) for each in signatures.split()]
        if not any(found):
            raise WebhookError("webhook-signature: none matches this body and secret")
        return read_notification(key, body)

    def _require_recent(self, timestamp: str) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise WebhookError("webhook-timestamp: missing or not a number")
        if abs(time.time() - int(timestamp)) > self._tolerance:
            raise WebhookError("webhook-timestamp: too far from this machine's clock")


def read_notification(key: str, body: bytes | str) -> TeamSuccess | TeamRefund:
    """Read a RabbitMQ message by its message_id and body. Raises WebhookError if unreadable."""
    try:
        return as_notification(key, json.loads(body))
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError, JSONDecodeError, too deep
        raise WebhookError(f"the body is not readable: {exc}") from exc
