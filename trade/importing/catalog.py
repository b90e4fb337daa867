"""Channels, goods, discounts, activities and offers. Rows that are here already stay unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from activity import discounts
from activity.models import Activity, Discount, Offer, Sku
from groupbuy.models import Channel
from groupbuy.money import FEN
from tag.models import CrowdTag
from trade.importing.report import Finding, Import
from trade.importing.source import Row, Source

TAG_DISCOUNT = 1  # discount_type: for a crowd only


@dataclass
class Catalog:
    """Rows of ours, unsaved in a dry run, by the keys of the source."""

    channels: dict[tuple[str, str], Channel] = field(default_factory=dict)
    goods: dict[str, Sku] = field(default_factory=dict)
    discounts: dict[str, Discount] = field(default_factory=dict)
    activities: dict[int, Activity] = field(default_factory=dict)


def import_catalog(source: Source, crowds: Mapping[str, CrowdTag], run: Import) -> Catalog:
    """Everything of the source that teams need."""
    catalog = Catalog()
    for row in source.rows(
        "SELECT source, channel FROM sku UNION SELECT source, channel FROM sc_sku_activity"
        " UNION SELECT source, channel FROM group_buy_order"
    ):
        _channel(row, catalog, run)
    for row in source.rows("SELECT * FROM sku ORDER BY id"):
        _goods(row, catalog, run)
    rows = source.rows("SELECT * FROM group_buy_discount ORDER BY id")
    plans = {row["discount_id"]: row for row in rows}
    most = source.most_orders()
    for row in source.rows("SELECT * FROM group_buy_activity ORDER BY id"):
        row["most"] = most.get(row["activity_id"], 0)
        if activity := _activity(row, plans.get(row["discount_id"]), crowds, catalog, run):
            catalog.activities[activity.pk] = activity
    for row in source.rows("SELECT * FROM sc_sku_activity ORDER BY id"):
        _offer(row, catalog, run)
    return catalog


def _channel(row: Row, catalog: Catalog, run: Import) -> None:
    names = (row["source"], row["channel"])
    channel = run.find_or_add(
        "channels", Channel, {"name": "/".join(names)}, source=names[0], channel=names[1]
    )
    catalog.channels[names] = channel


def callback_hosts(source: Source, catalog: Catalog, run: Import) -> None:
    """Print the hosts that an operator has to enter: the import does not trust the source's."""
    for row in source.rows(
        "SELECT source, channel, SUBSTRING_INDEX(notify_url, '/', 3) AS host, COUNT(*) AS teams"
        " FROM group_buy_order WHERE notify_url > '' GROUP BY 1, 2, 3"
    ):
        names = (row["source"], row["channel"])
        if not catalog.channels[names].allows(row["host"]):
            run.note(
                f"channel {'/'.join(names)}: {row['teams']} teams have callbacks to {row['host']},"
                " which is not among its callback hosts"
            )


def _goods(row: Row, catalog: Catalog, run: Import) -> None:
    if row["original_price"] < FEN:
        run.found(Finding.NO_PRICE, f"goods {row['goods_id']}")
        return
    facts = {"name": row["goods_name"], "original_price": row["original_price"]}
    sku = run.find_or_add("goods", Sku, facts, goods_id=row["goods_id"])
    catalog.goods[sku.goods_id] = sku


def _activity(
    row: Row, plan: Row | None, crowds: Mapping[str, CrowdTag], catalog: Catalog, run: Import
) -> Activity | None:
    """The activity here, else the one of the source; None without a discount."""
    where = f"activity {row['activity_id']}"
    if here := Activity.objects.filter(pk=row["activity_id"]).first():
        run.count("activities", here=1)
        return here
    if plan is None:
        run.found(Finding.NO_DISCOUNT, where, str(row["discount_id"]))
        return None
    if row["discount_id"] not in catalog.discounts:
        catalog.discounts[row["discount_id"]] = _discount(plan, crowds, run)
    scope = row["tag_scope"] or ""
    crowd = _crowd(row, crowds, where, run) if scope else None
    return run.find_or_add(
        "activities",
        Activity,
        _rules(row, where, run)
        | {
            "name": row["activity_name"],
            "discount": catalog.discounts[row["discount_id"]],
            "status": row["status"],
            "crowd": crowd,
            "restrict_visible": crowd is not None and "1" in scope,
            "restrict_join": crowd is not None and "2" in scope,
        },
        id=row["activity_id"],
    )


def _rules(row: Row, where: str, run: Import) -> dict[str, Any]:
    """The rules of an activity for its teams, changed where they violate a constraint."""
    target, limit, minutes = (row[name] for name in ("target", "take_limit_count", "valid_time"))
    if row["group_type"] == Activity.GroupType.SHOP_COMPLETES:
        run.found(Finding.SHOP_COMPLETES, where)
    if min(target, limit, minutes) < 1:
        run.found(Finding.BAD_RULES, where)
    if row["most"] > limit:
        run.found(Finding.LIMIT_EXCEEDED, where, f"{row['most']} of {limit}")
    if row["end_time"] <= row["start_time"]:
        run.found(Finding.BAD_WINDOW, where)
    return {
        "group_type": row["group_type"],
        "target_count": max(target, 1),
        "take_limit": max(limit, row["most"], 1),
        "valid_minutes": max(minutes, 1),
        "start_at": row["start_time"],
        "end_at": max(row["end_time"], row["start_time"] + timedelta(seconds=1)),
    }


def _crowd(row: Row, crowds: Mapping[str, CrowdTag], where: str, run: Import) -> CrowdTag | None:
    tag_id = row["tag_id"]
    if tag_id and tag_id not in crowds:
        run.found(Finding.NO_CROWD, where, tag_id)
    return crowds.get(tag_id)


def _discount(row: Row, crowds: Mapping[str, CrowdTag], run: Import) -> Discount:
    where = f"discount {row['discount_id']}"
    plan = "N" if row["market_plan"] == "NYG" else row["market_plan"]
    is_for_crowd = row["discount_type"] == TAG_DISCOUNT
    terms = {
        "name": row["discount_name"],
        "plan": plan,
        "expression": row["market_expr"],
        "crowd": _crowd(row, crowds, where, run) if is_for_crowd else None,
    }
    try:
        discounts.pay_price(plan, row["market_expr"], Decimal(100))
    except ValueError:
        run.found(Finding.BAD_PLAN, where, f"{plan} {row['market_expr']}")
    return run.find_or_add("discounts", Discount, {}, **terms)


def _offer(row: Row, catalog: Catalog, run: Import) -> None:
    channel = catalog.channels.get((row["source"], row["channel"]))
    sku = catalog.goods.get(row["goods_id"])
    activity = catalog.activities.get(row["activity_id"])
    if channel is None or sku is None or activity is None:
        where = f"offer of {row['goods_id']} by activity {row['activity_id']}"
        run.found(Finding.NO_OFFER, where)
        return
    run.find_or_add("offers", Offer, {}, channel=channel, sku=sku, activity=activity)
