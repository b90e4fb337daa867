"""The statuses of an order, and every change between them.

CREATE → PAY_WAIT → PAY_SUCCESS → MARKET → DEAL_DONE, and WAIT_REFUND → CLOSE. Each change is one
conditional UPDATE that names the statuses it starts from, so one of two racing changes is made and
the other changes nothing.
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
LAST_LOOK = timedelta(minutes=1)  # after pay_by, as Alipay's clock may differ


def take(step: Step, order: Order, *, due_at: datetime | None, **changes: Any) -> bool:
    """Make this change of status. False if the order has left the statuses it starts from."""
    changes |= {"status": step.to, "due_at": due_at, "tries": 0}
    if step.to not in OPEN:
        changes["is_open"] = None
    found = Order.objects.filter(pk=order.pk, status__in=step.was)
    if step in (DELIVER, DELIVER_ALONE):  # an order just given back is left to the loop's next step
        found = found.filter(wants_back=False)
    made = found.update(**changes) == 1
    if made:
        for name, value in changes.items():
            setattr(order, name, value)
    return made


def close_unpaid(order: Order, reason: str, *, now: datetime) -> bool:
    """Close an unpaid order. After its last form has expired, the loop queries Alipay once more."""
    last_look = max(order.pay_by or now, now) + LAST_LOOK
    return take(CLOSE_UNPAID, order, due_at=last_look, close_reason=reason)


def complete(order: Order, *, now: datetime) -> None:
    """Mark the team of a paid order as complete, unless the order's refund came first."""
    if take(COMPLETE, order, due_at=now):
        send_message(order, Message.Kind.COMPLETE, now=now)


def deliver(step: Step, order: Order) -> bool:
    """Deliver the goods: this mall only makes the key of a subscription, a real one also ships."""
    key = "-".join(secrets.token_hex(2).upper() for _ in range(5)) if order.goods.is_key else ""
    return take(step, order, due_at=None, key=key)


def send_message(order: Order, kind: Message.Kind, *, now: datetime) -> None:
    """Put a message of this kind into the shopper's box, once."""
    Message.objects.get_or_create(
        order=order, kind=kind, defaults={"shopper_id": order.shopper_id, "created_at": now}
    )


def new_number(now: datetime) -> str:
    """20 digits: the date in Shanghai, and 12 random ones."""
    return f"{timezone.localdate(now):%Y%m%d}{secrets.randbelow(10**12):012}"
