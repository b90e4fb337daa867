"""How often may this shopper still take part? Turns of one shopper in one activity."""

from collections.abc import Collection

from django.db import connection


def live_seats(*, activity_id: int, user_id: str) -> dict[int, int]:
    """Team id -> turn of the shopper's live orders in the activity."""
    with connection.cursor() as cursor:  # not the ORM: a third of a lock's time is this query
        cursor.execute(
            "SELECT team_id, take_no FROM trade_order"
            " WHERE activity_id = %s AND user_id = %s AND take_no IS NOT NULL",
            [activity_id, user_id],
        )
        return dict(cursor.fetchall())


def free_turn(taken: Collection[int], limit: int) -> int | None:
    """The lowest turn not taken, or None at the limit.

    A limit lowered below turns already taken still counts those.
    """
    if len(taken) >= limit:
        return None
    return next(turn for turn in range(1, limit + 1) if turn not in taken)
