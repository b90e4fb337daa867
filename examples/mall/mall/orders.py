"""The statuses of an order, and every change between them.

CREATE → PAY_WAIT → PAY_SUCCESS → MARKET → DEAL_DONE, and WAIT_REFUND → CLOSE. Each change is one
conditional UPDATE that names the statuses it comes from: of two that race one is made, and the
other changes nothing.
"""

import secrets
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone

from mall.models import Message, Order

Status = Order.Status


class Step(NamedTuple):
    was: tuple[Order.Status, ...]
    to: Order.Status


AWAIT_PAYMENT = Step((Status.CREATE,), Status.PAY_WAIT)
REFUSE = Step((Status.CREATE,), Status.CLOSE)
PAY = Step((Status.PAY_WAIT,), Status.PAY_SUCCESS)
CLOSE_UNPAID = Step((Status.PAY_WAIT,), Status.CLOSE)
COMPLETE = Step((Status.PAY_SUCCESS,), Status.MARKET)
DELIVER = Step((Status.MARKET,), Status.DEAL_DONE)
DELIVER_ALONE = Step((Status.PAY_SUCCESS,), Status.DEAL_DONE)
OWE = Step((Status.PAY_SUCCESS, Status.MARKET, Status.DEAL_DONE), Status.WAIT_REFUND)
REPAID = Step((Status.WAIT_REFUND,), Status.CLOSE)
OPEN = (Status.CREATE, Status.PAY_WAIT)
LAST_LOOK = timedelta(minutes=1)  # after pay_by: Alipay's clock is another one


def take(step: Step, order: Order, *, due_at: datetime | None, **changes: Any) -> bool:
    """Make this change of status, unless the order has left the statuses it starts from."""
    changes |= {"status": step.to, "due_at": due_at, "tries": 0}
    if step.to not in OPEN:
        changes["is_open"] = None
    found = Order.objects.filter(pk=order.pk, status__in=step.was)
    if step in (DELIVER, DELIVER_ALONE):  # given back a moment ago: the loop's next look sees it
        found = found.filter(wants_back=False)
    made = found.update(**changes) == 1
    if made:
        for name, value in changes.items():
            setattr(order, name, value)
    return made


def close_unpaid(order: Order, reason: str, *, now: datetime) -> bool:
    """Close an order. The loop asks Alipay once more when no form of it can be open any more."""
    last_look = max(order.pay_by or now, now) + LAST_LOOK
    return take(CLOSE_UNPAID, order, due_at=last_look, close_reason=reason)


def complete(order: Order, *, now: datetime) -> None:
    """Mark an order as complete, unless its refund came first: that one has left PAY_SUCCESS."""
    if take(COMPLETE, order, due_at=now):
        tell(order, Message.Kind.COMPLETE, now=now)


def deliver(step: Step, order: Order) -> bool:
    """Send the goods: a parcel in a real mall, and here at least the key of a subscription."""
    key = "-".join(secrets.token_hex(2).upper() for _ in range(5)) if order.goods.is_key else ""
    return take(step, order, due_at=None, key=key)


def tell(order: Order, kind: Message.Kind, *, now: datetime) -> None:
    """Put a message into the shopper's box, once."""
    Message.objects.get_or_create(
        order=order, kind=kind, defaults={"shopper_id": order.shopper_id, "created_at": now}
    )


def new_number(now: datetime) -> str:
    """20 digits: the day in Shanghai, and 12 that cannot be guessed."""
    return f"{timezone.localdate(now):%Y%m%d}{secrets.randbelow(10**12):012}"
