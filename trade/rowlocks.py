"""The only module, besides the outbox's claim, that locks rows.

Lock order is always Team, then Order. A transaction that needs both takes them here, so two
transactions can never wait for each other.
"""

from groupbuy.errors import ErrorCode, GroupBuyError
from trade.models import Order, Team


def lock_team_and_order(*, channel_id: int, user_id: str, out_trade_no: str) -> tuple[Team, Order]:
    """Call inside a transaction; the rows stay locked until it ends."""
    found = (
        Order.objects.filter(channel_id=channel_id, out_trade_no=out_trade_no)
        .values_list("pk", "team_id", "user_id")
        .first()
    )
    if found is None or found[2] != user_id:
        raise GroupBuyError(ErrorCode.ORDER_NOT_FOUND)
    order_id, team_id, _user_id = found
    team = Team.objects.select_for_update().get(pk=team_id)
    order = Order.objects.select_for_update().get(pk=order_id)
    return team, order
