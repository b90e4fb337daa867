"""Limits per shopper: turns in an activity (take_limit), unpaid seats on a channel (holdLimit).

Two requests that race may choose the same number. The unique keys order_within_take_limit and
order_within_hold_limit then accept one; the other is checked again (trade/lock.py).
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from django.db import connection


class Turns(NamedTuple):
    """The live orders of one shopper."""

    seats: Mapping[int, int]  # in the activity: team id -> turn
    holds: Collection[int]  # hold_no of each unpaid seat on the channel


# Plain SQL: through the ORM this query took a third of a lock's time.
SEATS = (
    "SELECT team_id, take_no FROM trade_order"
    " WHERE activity_id = %s AND user_id = %s AND take_no IS NOT NULL"
)
HOLDS = (
    "SELECT 0, hold_no FROM trade_order"
    " WHERE user_id = %s AND channel_id = %s AND hold_no IS NOT NULL"
)


def live_seats(*, activity_id: int, user_id: str) -> dict[int, int]:
    """Team id -> turn of the shopper's live orders in the activity."""
    with connection.cursor() as cursor:
        cursor.execute(SEATS, [activity_id, user_id])
        return dict(cursor.fetchall())


def read_turns(*, activity_id: int, channel_id: int, user_id: str) -> Turns:
    with connection.cursor() as cursor:
        cursor.execute(f"{SEATS} UNION ALL {HOLDS}", [activity_id, user_id, user_id, channel_id])
        found = cursor.fetchall()
    return Turns(
        seats={team_id: turn for team_id, turn in found if team_id},
        holds=[number for team_id, number in found if not team_id],
    )


def free_turn(taken: Collection[int], limit: int) -> int | None:
    """The number of a shopper's next order, the lowest free one up to limit; None: no more orders.

    Numbers above a limit that was lowered still count as taken.
    """
    if len(taken) >= limit:
        return None
    return next(turn for turn in range(1, limit + 1) if turn not in taken)
