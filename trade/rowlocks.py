"""The only module, besides the outbox's claim, that locks rows.

Lock order is always Team, then Order. A transaction that needs both takes them here, so two
transactions can never wait for each other.
"""

from groupbuy import rows
from trade.models import Order, Team


def lock_team_and_order(
    *, channel_id: int, user_id: str, out_trade_no: str
) -> tuple[Team, Order] | None:
    """This user's order and its team, or None. Call inside a transaction; it keeps them locked."""
    found = rows.read(Order, channel_id=channel_id, out_trade_no=out_trade_no)
    if found is None or found.user_id != user_id:
        return None
    team = rows.lock(Team, pk=found.team_id)
    order = rows.lock(Order, pk=found.pk)
    return (team, order) if team and order else None
