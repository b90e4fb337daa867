"""The Python client as the receiver of callbacks and messages."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from groupbuy.models import Channel
from groupbuy_client import TeamRefund, TeamSuccess, Webhook, WebhookError, read_notification
from trade.notify.transports import signed_headers

NOW = datetime(2036, 5, 1, 4, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"0" * 24).decode()
BODY = b'{"teamId":"1","outTradeNoList":["a","b"]}'


@pytest.fixture
def channel() -> Channel:
    return Channel(webhook_secret=SECRET)


@pytest.fixture
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize("spelling", [str.lower, str.title, str.upper])
def test_a_signed_callback_is_read(channel: Channel, spelling: Callable[[str], str]) -> None:
    headers = signed_headers("team_success-1", BODY, channel, NOW)

    notification = Webhook(SECRET).verify({spelling(n): v for n, v in headers.items()}, BODY)

    assert notification == TeamSuccess("team_success-1", "1", ("a", "b"))


@pytest.mark.usefixtures("_now")
def test_while_a_secret_is_rotated_the_old_and_the_new_one_verify(channel: Channel) -> None:
    old, new = SECRET, "whsec_" + base64.b64encode(b"1" * 24).decode()
    channel.webhook_secret, channel.previous_webhook_secret = new, old
    headers = signed_headers("team_success-1", BODY, channel, NOW)

    assert len(headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(headers, BODY).id == "team_success-1"


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "team_success-2"},
        {"webhook-id": None},
        {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": None},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,x v2,é"},
        {"webhook-signature": None},
    ],
)
def test_a_callback_that_was_changed_is_refused(
    channel: Channel, change: dict[str, str | None]
) -> None:
    headers = signed_headers("team_success-1", BODY, channel, NOW) | change
    sent = {name: value for name, value in headers.items() if value is not None}

    with pytest.raises(WebhookError, match="webhook-"):
        Webhook(SECRET).verify(sent, BODY)


@pytest.mark.usefixtures("_now")
def test_another_body_or_secret_is_refused(channel: Channel) -> None:
    headers = signed_headers("team_success-1", BODY, channel, NOW)
    other = "whsec_" + base64.b64encode(b"1" * 24).decode()

    with pytest.raises(WebhookError):
        Webhook(SECRET).verify(headers, BODY + b" ")
    with pytest.raises(WebhookError):
        Webhook(other).verify(headers, BODY)


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(("seconds", "accepted"), [(300, True), (301, False), (-300, True)])
def test_an_old_callback_is_refused(channel: Channel, seconds: int, accepted: bool) -> None:
    headers = signed_headers("team_success-1", BODY, channel, NOW - timedelta(seconds=seconds))

    if accepted:
        assert Webhook(SECRET).verify(headers, BODY).id == "team_success-1"
    else:
        with pytest.raises(WebhookError, match="webhook-timestamp"):
            Webhook(SECRET).verify(headers, BODY)
        patient = Webhook(SECRET, tolerance=timedelta(hours=1))
        assert patient.verify(headers, BODY).id == "team_success-1"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_密"])
def test_an_invalid_secret_is_refused_at_once(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        Webhook(secret)


def test_a_message_of_rabbitmq_is_read_without_a_signature() -> None:
    body = (
        '{"type":"paid_formed","userId":"a","teamId":"1","orderId":"2","outTradeNo":"t-a",'
        '"activityId":100123}'
    )

    refund = read_notification("team_refund-2-paid_formed", body)

    assert refund == TeamRefund(
        "team_refund-2-paid_formed", "paid_formed", "a", "1", "2", "t-a", 100123
    )
    assert isinstance(refund, TeamRefund)
    assert refund.money_is_due
    released = read_notification("r", body.replace("paid_formed", "unpaid_unlock"))
    assert isinstance(released, TeamRefund)
    assert not released.money_is_due


@pytest.mark.parametrize(
    "body",
    [
        b"\xff", b"{", b"[]", b"{}", b'{"outTradeNoList":"ab","teamId":"1"}', b'{"type":"else"}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_message_that_is_not_readable_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookError):
        read_notification("key", body)
