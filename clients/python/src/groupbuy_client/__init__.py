"""Client of the group-buying platform (拼团) for the back end of a mall.

client.py   the calls: trial, lock, settle, refund, …, with repeats
webhook.py  verifies and reads callbacks
pages.py    links to the shopper pages, and the hand-over of a shopper to them
answers.py  the platform's answers and notifications, as dataclasses
errors.py   the two exceptions
"""

from groupbuy_client.answers import (
    Confirmation,
    Event,
    Goods,
    Market,
    Member,
    Order,
    OrderStatus,
    Refund,
    Refusal,
    Seat,
    Settlement,
    Statistic,
    Step,
    Team,
    TeamCard,
    TeamRefund,
    TeamStatus,
    TeamSuccess,
    Trial,
)
from groupbuy_client.client import Client
from groupbuy_client.errors import GroupBuyError, WebhookError
from groupbuy_client.pages import Pages
from groupbuy_client.webhook import Webhook, read_notification

__all__ = [
    "Client",
    "Confirmation",
    "Event",
    "Goods",
    "GroupBuyError",
    "Market",
    "Member",
    "Order",
    "OrderStatus",
    "Pages",
    "Refund",
    "Refusal",
    "Seat",
    "Settlement",
    "Statistic",
    "Step",
    "Team",
    "TeamCard",
    "TeamRefund",
    "TeamStatus",
    "TeamSuccess",
    "Trial",
    "Webhook",
    "WebhookError",
    "read_notification",
]
