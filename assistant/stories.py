"""Explain how an order or a team ended, and why a shopper sees a price or a refusal."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Q

from activity.explain import explain
from activity.trial import TrialQuery
from groupbuy import log_search
from groupbuy.fields import read_id
from trade import labels, lists, timeline
from trade.models import Order, Team

MOST = 5  # orders with one number
EVENTS = 60  # of a timeline
LINES = 40  # of the log, for each field that is searched


def why(*, number: str, now: datetime) -> dict[str, Any]:
    """The timeline and the log of an order, by the mall's number or ours, or of a team."""
    number = number.strip()
    found = [*_orders(number, now), *_teams(number, now)]
    if not found:
        return {"found": "no order and no team has this number"}
    return {"found": found, "log": _lines(number)}


def explain_trial(query: TrialQuery, *, now: datetime) -> dict[str, Any]:
    trial, steps = explain(query, now=now)
    return {
        "answer": f"{trial.first_refusal.code} {trial.first_refusal.message}",
        "price": str(trial.price.pay) if trial.price else None,
        "rules": [
            {"rule": step.rule, "saw": step.saw, "refused": step.refused, "advice": step.advice}
            for step in steps
        ],
    }


def _orders(number: str, now: datetime) -> Iterator[dict[str, Any]]:
    for where in (Q(pk=read_id(number)), lists.of_mall_order(number)):
        for order in Order.objects.filter(where).select_related("team", "channel")[:MOST]:
            yield {
                "order": order.out_trade_no,
                "orderId": str(order.pk),
                "team": str(order.team_id),
                "channel": f"{order.channel.source}/{order.channel.channel}",
                "shopper": order.user_id,
                "price": str(order.pay_price),
                "state": str(labels.of_order(order)[1]),
                "next": timeline.next_of_order(order, now),
                "timeline": _as_text(timeline.of_order(order)),
            }


def _teams(number: str, now: datetime) -> Iterator[dict[str, Any]]:
    for team in Team.objects.filter(pk=read_id(number)):
        yield {
            "team": str(team.pk),
            "state": str(team.get_status_display()),
            "seats": {
                "paid": team.paid_count,
                "taken": team.locked_count,
                "in all": team.target_count,
            },
            "ends": team.expires_at.isoformat(),
            "next": timeline.next_of_team(team, now),
            "timeline": _as_text(timeline.of_team(team)),
        }


def _as_text(events: list[timeline.Happened]) -> list[str]:
    """One line for each event. An attempt's detail contains the response of the mall's server."""
    texts = [_line(each) for each in events]
    left = len(texts) - EVENTS
    return [*texts[:EVENTS], *([f"{left} more events"] if left > 0 else [])]


def _line(event: timeline.Happened) -> str:
    parts = (event.at.isoformat(), event.what, event.detail, event.key)
    return " ".join(part for part in parts if part)


def _lines(number: str) -> list[str]:
    """Lines of the log about an order or a team; the error if the log cannot be searched."""
    try:
        lines = [
            *log_search.search(log_search.Query(order=number, most=LINES)),
            *log_search.search(log_search.Query(team=number, most=LINES)),
        ]
    except log_search.SearchError as exc:
        return [str(exc)]
    ordered = sorted(lines, key=lambda line: line["@timestamp"])
    return [f"{line['@timestamp']} {line['log.level']} {line['message']}" for line in ordered]
