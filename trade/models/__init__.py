"""The tables of the trade: teams, orders, notifications, daily sums, forecasts."""

from trade.models.forecast import Forecast
from trade.models.notification import EventCounter, NotifyAttempt, NotifyTask
from trade.models.order import Order, RefundType
from trade.models.sums import DailySum, RefusedLock, SummedDay
from trade.models.team import CompletedTeams, Team, Transport

__all__ = [
    "CompletedTeams",
    "DailySum",
    "EventCounter",
    "Forecast",
    "NotifyAttempt",
    "NotifyTask",
    "Order",
    "RefundType",
    "RefusedLock",
    "SummedDay",
    "Team",
    "Transport",
]
