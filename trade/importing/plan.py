"""One team of the source as rows of ours, before anything is repaired."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from activity.models import Activity
from groupbuy.fields import read_id
from groupbuy.money import FEN
from trade.importing.catalog import Catalog
from trade.importing.report import Finding
from trade.importing.source import Row, SourceTeam
from trade.models import NotifyTask, Order, Team, Transport

CLOSED, LOCKED, PAID = Order.Status.CLOSED, Order.Status.LOCKED, Order.Status.PAID


@dataclass
class Plan:
    """Unsaved rows. Turns are numbered when they are saved (trade/importing/run.py)."""

    source: SourceTeam
    now: datetime
    team: Team
    orders: list[Order] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    promises: list[NotifyTask] = field(default_factory=list)
    findings: list[tuple[Finding, str, str]] = field(default_factory=list)

    def found(self, finding: Finding, order: Order | None = None, detail: str = "") -> None:
        where = f"team {self.source.team_id}"
        if order:
            where += f" order {order.out_trade_no}"
        self.findings.append((finding, where, detail))

    def live(self, *statuses: Order.Status) -> list[Order]:
        """The orders with these statuses, oldest first."""
        return [order for order in self.orders if order.status in (statuses or (LOCKED, PAID))]

    @property
    def completed_at_its_end(self) -> bool:
        """Whether the platform completes the team when its time is up (trade/expire.py)."""
        by_shop = self.team.group_type == Activity.GroupType.SHOP_COMPLETES
        return by_shop and bool(self.live(PAID))

    def close(self, order: Order, reason: Order.CloseReason) -> None:
        order.status, order.close_reason, order.closed_at = CLOSED, reason, self.now


def read_team(source: SourceTeam, catalog: Catalog, now: datetime) -> Plan | None:
    """The team as the source has it, without orders; None where it cannot be kept."""
    row = source.team
    if row is None:
        return None
    channel = catalog.channels.get((row["source"], row["channel"]))
    activity = catalog.activities.get(row["activity_id"])
    ends = row["valid_start_time"] and row["valid_end_time"]
    if not (read_id(source.team_id) and channel and activity and ends):
        return None
    url = row["notify_url"] or ""
    by_http = row.get("notify_type", "HTTP") == "HTTP" and url
    team = Team(
        id=read_id(source.team_id),
        activity_id=row["activity_id"],
        channel=channel,
        goods_id=source.orders[0]["goods_id"] if source.orders else "",
        status=row["status"],
        group_type=activity.group_type,
        target_count=max(row["target_count"], 1),
        original_price=row["original_price"],
        pay_price=row["pay_price"],
        hold_minutes=activity.hold_minutes,
        created_at=row["valid_start_time"],
        expires_at=row["valid_end_time"],
        notify_transport=Transport.HTTP if by_http else Transport.MQ,
        notify_url=url,
    )
    return Plan(source, now, team)


def read_order(plan: Plan, row: Row) -> Order | None:
    """The order, or None if a field is unreadable."""
    original = row["original_price"]
    pay = row.get("pay_price", original - row["deduction_price"])  # newer tables have it
    team = plan.team
    same = (row["activity_id"], row["source"], row["channel"]) == (
        team.activity_id,
        team.channel.source,
        team.channel.channel,
    )
    names = row["user_id"].strip() and row["out_trade_no"].strip() and read_id(row["order_id"])
    if not (same and names and FEN <= pay <= original and row["status"] in Order.Status.values):
        return None
    order = Order(
        id=read_id(row["order_id"]),
        team_id=team.pk,
        activity_id=team.activity_id,
        channel_id=team.channel_id,
        user_id=row["user_id"],
        goods_id=row["goods_id"],
        out_trade_no=row["out_trade_no"],
        original_price=original,
        pay_price=pay,
        status=row["status"],
        created_at=row["create_time"],
        pay_deadline=min(
            row["create_time"] + timedelta(minutes=team.hold_minutes), team.expires_at
        ),
    )
    if order.status != LOCKED:
        order.paid_at = row["out_trade_time"]
    if order.status == PAID:
        order.paid_at = order.paid_at or row["create_time"]
    order.settled_at = order.paid_at
    if order.status == CLOSED:
        order.closed_at, order.close_reason = row["update_time"], Order.CloseReason.REFUNDED
    return order
