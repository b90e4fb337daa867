"""PICTURES of the console's first page (经营图表): each makes a drawing and a table."""

from collections.abc import Callable, Mapping

from trade.figures import activities, malls, money, shoppers, teams
from trade.figures.drawing import Picture
from trade.figures.period import Business

PICTURES: Mapping[str, Callable[[Business], Picture]] = {
    "gmv": money.settled,
    "activities": activities.activities,
    "completion": teams.completion,
    "stages": shoppers.stages,
    "time-to-complete": teams.time_to_complete,
    "stalled": teams.stalled,
    "nearly-full": teams.nearly_full,
    "seats": shoppers.seats,
    "wait": shoppers.wait,
    "hours": shoppers.hours,
    "refund-ages": money.refund_ages,
    "callbacks": malls.callbacks,
    "refused": shoppers.refused,
}

RIGHT_NOW = ("nearly-full", "refund-ages", "callbacks")  # whatever period is shown
