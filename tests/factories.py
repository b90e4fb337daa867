"""Functions that make rows for tests; a test passes only the values that it is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from rest_framework.test import APIClient

from activity.discounts import Plan
from activity.models import Activity, Discount, Offer, Sku
from groupbuy import channels
from groupbuy.channels import KnownChannel
from groupbuy.models import ApiKey, Channel, Switch
from trade.confirm import ConfirmCommand, confirm_refund
from trade.lock import LockCommand, lock_order
from trade.models import NotifyTask, Order, Team, Transport
from trade.refund import Refund, RefundCommand, refund_order
from trade.settle import SettleCommand, settle_order

NOW = datetime(2036, 5, 1, 4, 0, tzinfo=UTC)
URL = "http://127.0.0.1:9/callback"
GOODS = "9890001"


def set_switch(key: str, value: str) -> None:
    Switch.objects.update_or_create(key=key, defaults={"value": value})


def make_channel(source: str = "s01", channel: str = "c01", **fields: Any) -> Channel:
    defaults = {"name": "mall", "callback_hosts": "http://127.0.0.1", "refund_notify_url": URL}
    row, _ = Channel.objects.get_or_create(
        source=source, channel=channel, defaults=defaults | fields
    )
    return row


def api_client(channel: Channel | None) -> APIClient:
    """A client with a new key of the channel, or with an operator key if channel is None."""
    key, text = ApiKey.issue(channel=channel, name="ops")
    key.save()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def make_discount(plan: Plan = Plan.MINUS, expression: str = "20", **fields: Any) -> Discount:
    return Discount.objects.create(name="discount", plan=plan, expression=expression, **fields)


def make_activity(pk: int = 100123, **fields: Any) -> Activity:
    """An activity in effect for an hour, 100.00 -> 80.00, teams of three, offered on s01/c01."""
    channel = fields.pop("channel", None) or make_channel()
    goods_id = fields.pop("goods_id", GOODS)
    sku, _ = Sku.objects.get_or_create(
        goods_id=goods_id, defaults={"name": "a book", "original_price": Decimal("100.00")}
    )
    defaults = {
        "name": "activity",
        "discount": fields.get("discount") or make_discount(),
        "target_count": 3,
        "take_limit": 1,
        "valid_minutes": 15,
        "status": Activity.Status.IN_EFFECT,
        "start_at": NOW - timedelta(minutes=30),
        "end_at": NOW + timedelta(minutes=30),
    }
    activity = Activity.objects.create(pk=pk, **(defaults | fields))
    Offer.objects.create(channel=channel, sku=sku, activity=activity)
    return activity


def known_channel(source: str = "s01", channel: str = "c01") -> KnownChannel:
    """The channel as the permission check finds it."""
    found = channels.find(source, channel)
    assert found is not None
    return found


def _with_channel(fields: dict[str, Any]) -> dict[str, Any]:
    names = (fields.pop("source", "s01"), fields.pop("channel", "c01"))
    return fields | {"channel": known_channel(*names)}


def lock_command(user_id: str = "xiaofuge", **fields: Any) -> LockCommand:
    defaults: dict[str, Any] = {
        "user_id": user_id,
        "goods_id": GOODS,
        "activity_id": 100123,
        "out_trade_no": f"t-{user_id}",
        "team_id": "",
        "notify_transport": Transport.HTTP,
        "notify_url": URL,
    }
    return LockCommand(**_with_channel(defaults | fields))


def settle_command(user_id: str = "xiaofuge", **fields: Any) -> SettleCommand:
    defaults: dict[str, Any] = {
        "user_id": user_id,
        "out_trade_no": f"t-{user_id}",
        "paid_at": NOW + timedelta(minutes=1),
    }
    return SettleCommand(**_with_channel(defaults | fields))


def lock(user_id: str = "xiaofuge", *, now: datetime = NOW, **fields: Any) -> Order:
    return lock_order(lock_command(user_id, **fields), now=now)


def settle(user_id: str = "xiaofuge", *, now: datetime = NOW, **fields: Any) -> Order:
    return settle_order(settle_command(user_id, **fields), now=now)


def refund(user_id: str = "xiaofuge", *, now: datetime = NOW, **fields: Any) -> Refund:
    defaults: dict[str, Any] = {"user_id": user_id, "out_trade_no": f"t-{user_id}"}
    return refund_order(RefundCommand(**_with_channel(defaults | fields)), now=now)


def confirm(
    user_id: str = "xiaofuge", amount: str = "80.00", *, now: datetime = NOW, **fields: Any
) -> Order:
    defaults: dict[str, Any] = {"user_id": user_id, "out_trade_no": f"t-{user_id}"}
    named = defaults | {"refund_amount": Decimal(amount)} | fields
    return confirm_refund(ConfirmCommand(**_with_channel(named)), now=now)


def make_team(*user_ids: str, paid: int = 0, **fields: Any) -> Team:
    """Make a team in which these users lock seats; the first `paid` of them pay."""
    team_id = ""
    for user_id in user_ids:
        team_id = str(lock(user_id, team_id=team_id, **fields).team_id)
    for user_id in user_ids[:paid]:
        settle(user_id)
    return Team.objects.get(pk=team_id)


def make_promise(key: str = "team_success-1", **fields: Any) -> NotifyTask:
    defaults = {
        "channel": fields.get("channel") or make_channel(),
        "event": NotifyTask.Event.TEAM_SUCCESS,
        "transport": Transport.HTTP,
        "target": URL,
        "endpoint": "127.0.0.1:9",
        "payload": '{"teamId":"1","outTradeNoList":["t-1"]}',
        "next_attempt_at": NOW,
        "created_at": NOW,
    }
    return NotifyTask.objects.create(key=key, **(defaults | fields))


def close(order: Order, reason: Order.CloseReason, *, now: datetime = NOW) -> None:
    """Close an order that was not paid in time, as the sweep does."""
    Order.objects.filter(pk=order.pk).update(
        status=Order.Status.CLOSED,
        take_no=None,
        seat_of=None,
        hold_no=None,
        closed_at=now,
        close_reason=reason,
    )
    Team.objects.filter(pk=order.team_id).update(
        locked_count=Team.objects.get(pk=order.team_id).locked_count - 1
    )
