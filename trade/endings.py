"""Complete a team or close an order, with the notification that this promises to the mall.

Settlement, refund and expiry all end here. Call inside a transaction that has locked the team.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from groupbuy import channels, rows, tracing
from trade import counts, gate, metrics
from trade.models import NotifyTask, Order, RefundType, Team, Transport
from trade.notify import outbox, transports


def complete_team(team: Team, *, by_shop: bool, now: datetime) -> None:
    """Mark the team complete, save it, and promise the mall its team_success notification."""
    team.status = Team.Status.COMPLETE
    team.completed_at = now
    team.completed_by_shop = by_shop
    rows.update(team, "locked_count", "paid_count", "status", "completed_at", "completed_by_shop")
    counts.add(team, teams=1, seats=team.locked_count)
    metrics.count_completion(team)
    paid = team.orders.filter(status=Order.Status.PAID).order_by("pk")
    numbers = list(paid.values_list("out_trade_no", flat=True))
    outbox.record(success_promise(team, numbers, now=now))


def close_order(
    team: Team, order: Order, kind: RefundType, reason: Order.CloseReason, *, now: datetime
) -> None:
    """Close the order, release its seat and turn, save both rows, promise a team_refund.

    An order that was closed before holds no seat; only its reason and its times change.
    A completed team never reopens: it becomes complete with refunds, or failed with the last.
    """
    was = order.state
    team.locked_count -= order.status != Order.Status.CLOSED
    team.paid_count -= order.status == Order.Status.PAID
    order.status = Order.Status.CLOSED
    order.close_reason = reason
    order.closed_at = max(now, team.completed_at or now)  # it may have waited for the completion
    order.take_no = order.seat_of = order.hold_no = None
    rows.update(
        order,
        *("status", "close_reason", "closed_at", "take_no", "seat_of", "hold_no"),
        *("paid_at", "settled_at"),
        was=was,
    )
    if kind is RefundType.PAID_FORMED:
        left = team.paid_count
        team.status = Team.Status.COMPLETE_WITH_REFUNDS if left else Team.Status.FAILED
        counts.add(team, teams=0 if left else -1, seats=-1)
    rows.update(team, "locked_count", "paid_count", "status")
    gate.release_after_commit(team)
    metrics.count_closing(order, kind)
    channel = channels.get(team.channel_id)
    url = channel.refund_notify_url if channel else ""
    outbox.record(refund_promise(team, order, kind, url, now=now))


def success_promise(team: Team, out_trade_nos: Sequence[str], *, now: datetime) -> NotifyTask:
    """The team_success notification; the numbers are those of all paid orders."""
    return _promise(
        NotifyTask.Event.TEAM_SUCCESS,
        key=NotifyTask.success_key(team.pk),
        team=team,
        url=team.notify_url,
        payload={"teamId": str(team.pk), "outTradeNoList": out_trade_nos},
        now=now,
    )


def refund_promise(
    team: Team, order: Order, kind: RefundType, url: str, *, now: datetime
) -> NotifyTask:
    """The team_refund notification of a closed order; url is the channel's, "" without one."""
    return _promise(
        NotifyTask.Event.TEAM_REFUND,
        key=NotifyTask.refund_key(order.pk, kind),
        team=team,
        url=url,
        payload={
            "type": kind,
            "userId": order.user_id,
            "teamId": str(order.team_id),
            "orderId": str(order.pk),
            "outTradeNo": order.out_trade_no,
            "activityId": order.activity_id,
        },
        now=now,
    )


def _promise(
    event: NotifyTask.Event,
    *,
    key: str,
    team: Team,
    url: str,
    payload: Mapping[str, Any],
    now: datetime,
) -> NotifyTask:
    """An unsaved promise: by MQ if the team's leader chose MQ or there is no URL, else by HTTP.

    Without a URL and a message broker the promise is given up at once, and the inbox shows what is
    missing.
    """
    by_mq = team.notify_transport == Transport.MQ or bool(settings.AMQP_URL and not url)
    task = NotifyTask(
        key=key,
        channel_id=team.channel_id,
        event=event,
        transport=Transport.MQ if by_mq else Transport.HTTP,
        target=f"topic.{event}" if by_mq else url,
        endpoint="RabbitMQ" if by_mq else _endpoint(url),
        payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
        next_attempt_at=now,
        created_at=now,
        traceparent=tracing.current(),
    )
    if not task.target:
        task.state, task.next_attempt_at = NotifyTask.State.GIVEN_UP, None
        task.last_error = transports.NOWHERE
    return task


def _endpoint(url: str) -> str:
    """The host and the port or scheme, as far as the column holds them; "" of an unreadable URL."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or parts.scheme}"[:255] if parts.hostname else ""
    except ValueError:  # an imported one; a lock refuses it
        return ""
