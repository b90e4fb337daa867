"""A report of the last hours in Markdown, with a chart."""

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.utils import timezone

from activity.models import LONGEST_TEAM
from assistant import prometheus, trouble
from groupbuy.ids import first_id
from trade import inbox
from trade.models import Order, Team

WIDTH, HEIGHT = 480, 120  # of the chart


def report(*, hours: int, now: datetime) -> str:
    since = now - timedelta(hours=hours)
    orders = Order.objects.filter(pk__gte=first_id(since))
    hour = timedelta(hours=1)
    firsts = [first_id(since + n * hour) for n in range(hours)] + [first_id(now + hour)]
    bars = [orders.filter(pk__gte=a, pk__lt=b).count() for a, b in pairwise(firsts)]
    opened = since - LONGEST_TEAM - timedelta(days=1)  # a sweep may be late
    completed = Team.objects.filter(pk__gte=first_id(opened))
    figures = {
        "orders locked": sum(bars),
        "paid": orders.exclude(paid_at=None).count(),
        "closed": orders.filter(status=Order.Status.CLOSED).count(),
        "teams completed": completed.filter(completed_at__gte=since).count(),
    }
    chart = base64.b64encode(bar_chart(bars).encode()).decode()
    problems = [problem.text for problem in inbox.problems(now)]
    endpoints = [_endpoint(row) for row in trouble.failing_endpoints(now=now)]
    return "\n".join(
        [
            f"# Group buying, {hours} hours until {timezone.localtime(now):%Y-%m-%d %H:%M}",
            "",
            "| figure | |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in figures.items()),
            "",
            f"![Orders locked per hour](data:image/svg+xml;base64,{chart})",
            "",
            *_listed("Needs attention", problems),
            *_listed("Alerts", _alerts()),
            *_listed("Endpoints with notifications that are not delivered", endpoints),
        ]
    )


def bar_chart(values: Sequence[int]) -> str:
    """An SVG with one bar for each value."""
    top, width = max(*values, 1), WIDTH / len(values)
    bars = "".join(
        f'<rect x="{n * width:.1f}" y="{HEIGHT * (1 - value / top):.1f}"'
        f' width="{width * 0.8:.1f}" height="{HEIGHT * value / top:.1f}"/>'
        for n, value in enumerate(values)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" fill="#36c">'
        f"<title>at most {top}</title>{bars}</svg>"
    )


def _alerts() -> list[str]:
    try:
        return [f"{each['alert']} ({each['state']}): {each['summary']}" for each in
                prometheus.alerts()]  # fmt: skip
    except prometheus.PrometheusError as exc:
        return [str(exc)]


def _endpoint(row: dict[str, Any]) -> str:
    counts = f"{row['waiting']} wait, {row['retrying']} retry, {row['given up']} given up"
    return f"{row['endpoint']} ({row['channel']}): {counts}"


def _listed(title: str, rows: Iterable[str]) -> list[str]:
    rows = list(rows)
    return [f"## {title}", "", *(f"- {row}" for row in rows or ["none"]), ""]
