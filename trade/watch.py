"""A team for its page, from a copy at most a second old.

However many people watch a team, it costs the database two queries a second in each process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from django.db.models import F

from groupbuy import switches
from groupbuy.snapshots import Snapshot
from trade.models import Order, Team

MOST_ORDERS = 3000  # live ones, then those that were paid, then the newest of the others
WATCHED = 4096  # teams copied in a process


@dataclass(frozen=True, slots=True)
class Watched:
    team: Team
    orders: Sequence[Order]  # closed ones too, oldest first

    def order_of(self, user_id: str) -> Order | None:
        """The shopper's live order in this team, or else the latest one."""
        own = [order for order in self.orders if user_id and order.user_id == user_id]
        live = [order for order in own if order.seat_of]
        return next(reversed(live or own), None)

    def order_with(self, code: str) -> Order | None:
        return next((order for order in self.orders if order.code == code), None)

    @property
    def members(self) -> list[Order]:
        return [order for order in self.orders if order.seat_of]

    @property
    def ended_early(self) -> bool:
        """Whether an operator has completed or ended it before its time was up (trade/acts.py)."""
        end, ended = self.team.expires_at, Order.CloseReason.TEAM_ENDED
        if self.team.completed_by_shop:
            return self.team.completed_at is not None and self.team.completed_at < end
        closed = [order.closed_at for order in self.orders if order.close_reason == ended]
        return any(at is not None and at < end for at in closed)

    @property
    def paid_at_the_end(self) -> int:
        """How many members had paid when the team completed or its time was up."""
        reason = Order.CloseReason
        left = sum(
            order.close_reason == reason.TEAM_ENDED and order.paid_at is not None
            for order in self.orders
        )
        if self.team.completed_at:
            left = sum(
                order.close_reason == reason.REFUNDED
                and order.closed_at is not None
                and order.closed_at >= self.team.completed_at
                for order in self.orders
            )
        return self.team.paid_count + left


def team_of(code: str) -> int | None:
    """The team that a member's invitation code leads to."""
    try:
        return _team_of(code)
    except Order.DoesNotExist:
        return None


def watch(team_id: int) -> Watched:
    return _copy(team_id).get()


def read(team_id: int) -> Watched:
    """Read a team and its orders from the database."""
    team = Team.objects.get(pk=team_id)
    paid_first = F("paid_at").desc(nulls_last=True)
    orders = Order.objects.filter(team_id=team_id).order_by("status", paid_first, "-pk")
    return Watched(team, sorted(orders[:MOST_ORDERS], key=lambda order: order.pk))


def live_orders(*, activity_id: int, user_id: str) -> list[Order]:
    """The shopper's live orders in the activity with their teams, oldest first."""
    live = Order.objects.filter(activity_id=activity_id, user_id=user_id, take_no__isnull=False)
    return list(live.select_related("team").order_by("pk"))


# A code never changes its team; an unknown one raises, which is not cached.
@lru_cache(maxsize=100_000)
def _team_of(code: str) -> int:
    return int(Order.objects.values_list("team_id", flat=True).get(code=code))


@lru_cache(maxsize=WATCHED)
def _copy(team_id: int) -> Snapshot[Watched]:
    return Snapshot(partial(read, team_id), bypass=switches.caches_off)
