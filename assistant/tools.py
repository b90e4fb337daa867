"""The tools that only read. Each returns values that can be written as JSON, or Markdown."""

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any, Literal

from django.conf import settings
from django.utils import timezone
from pydantic import Field

from activity.trial import TrialQuery
from assistant import causes, prometheus, report, stories, trouble
from groupbuy import gcra, health, log_search, switches, throttling
from groupbuy.fields import read_id
from groupbuy.ids import first_id
from trade import inbox, invariants
from trade.models import NotifyTask, Order

LINES = 100  # of the log in an answer
ROWS = 10  # of a broken invariant
Level = Literal["", "debug", "info", "warning", "error", "critical"]
Minutes = Annotated[int, Field(ge=1, le=24 * 60)]
Hours = Annotated[int, Field(ge=1, le=72)]


def overview() -> dict[str, Any]:
    """The state of the platform now: parts, version, what needs attention, firing alerts."""
    now = timezone.now()
    waiting = NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED)
    states = Counter(waiting.values_list("state", flat=True)[:10_000])
    recent = Order.objects.filter(pk__gte=first_id(now - timedelta(minutes=10)))
    try:
        alerts: Any = prometheus.alerts()
    except prometheus.PrometheusError as exc:
        alerts = str(exc)
    return {
        "now": now.isoformat(),
        "version": settings.VERSION,
        "parts": health.check().parts,
        "needs attention": [problem.text for problem in inbox.problems(now)],
        "alerts": alerts,
        "orders locked in ten minutes": recent.count(),
        "notifications not delivered": {
            str(NotifyTask.State(state).label): count for state, count in states.items()
        },
    }


def find_causes() -> dict[str, Any]:
    """Find what is probably wrong now, from metrics and log alone: causes, errors, changes."""
    return causes.find_causes(now=timezone.now())


def query_metrics(
    name: str = "", promql: str = "", minutes: Annotated[int, Field(ge=0, le=24 * 60)] = 0
) -> dict[str, Any]:
    """Query Prometheus by one of the names below, or by PromQL.

    Without minutes: the value now; with minutes: up to 60 points of that range. At most 20 series.
    """
    if promql:
        expression = promql
    elif name in prometheus.NAMED:
        expression = prometheus.NAMED[name]
    else:
        return {"names": prometheus.NAMED}
    found = prometheus.query(expression, minutes=minutes, now=timezone.now())
    return {"promql": expression, "series": found}


def search_logs(
    trace: str = "",
    order: str = "",
    team: str = "",
    channel: str = "",
    notification: str = "",
    shopper: str = "",
    level: Level = "",
    text: str = "",
    minutes: Minutes = 60,
    most: Annotated[int, Field(ge=1, le=LINES)] = 50,
) -> dict[str, Any]:
    """The newest lines of the log that match all arguments given; level: this one or worse."""
    since = timezone.now() - timedelta(minutes=minutes)
    lines = log_search.search(
        log_search.Query(
            trace=trace,
            order=order,
            team=team,
            channel=channel,
            notification=notification,
            shopper=shopper,
            level=level,
            text=text,
            since=since,
            most=most,
        )
    )
    return {"lines": [_short(line) for line in lines]}


def explain_errors(minutes: Minutes = 30, endpoint: str = "") -> dict[str, Any]:
    """Errors and refusals by place and code: how often, since when, for which channels.

    Lists what changed before them: switches, configuration, versions, activities. endpoint is a
    name from the metrics, such as api_lock.
    """
    return trouble.explain_errors(minutes=minutes, endpoint=endpoint, now=timezone.now())


def why(number: str) -> dict[str, Any]:
    """Why an order or a team ended as it did: timeline, attempts to notify its mall, log.

    number is the mall's order number, our orderId, or a teamId.
    """
    return stories.why(number=number, now=timezone.now())


def callback_health() -> dict[str, Any]:
    """Endpoints that do not accept their notifications, with last errors; and blocked clients."""
    blocks = gcra.blocks(throttling.scopes())
    return {
        "endpoints": trouble.failing_endpoints(now=timezone.now()),
        "blocked clients": "Redis does not respond"
        if blocks is None
        else [
            {"scope": block.scope, "client": block.client, "until": block.until.isoformat()}
            for block in blocks[:LINES]
        ],
    }


def check_invariants() -> dict[str, Any]:
    """Check what must always hold, by reading whole tables. One check runs at a time."""
    found = invariants.check_alone(timezone.now())
    if found is None:
        return {"busy": "another check is running"}
    broken = {sentence: rows[:ROWS] for sentence, rows in found if rows}
    return {"checked": len(found), "broken": broken}


def explain_trial(
    user_id: str, source: str, channel: str, goods_id: str, activity_id: str = ""
) -> dict[str, Any]:
    """Why this shopper sees this price or refusal for these goods: each rule with its inputs."""
    activity = read_id(activity_id) if activity_id else None
    query = TrialQuery(user_id, source, channel, goods_id, activity)
    return stories.explain_trial(query, now=timezone.now())


def forecast_queue(endpoint: str = "") -> dict[str, Any]:
    """When the notifications that are due, to this endpoint or to all, will have been sent."""
    return trouble.forecast_queue(endpoint=endpoint, now=timezone.now())


def write_report(hours: Hours = 24) -> str:
    """A report of the last hours as Markdown with a chart in SVG."""
    return report.report(hours=hours, now=timezone.now())


def read_switches() -> dict[str, Any]:
    """All switches with their values and what each expects."""
    return {
        str(key): {"value": switches.text(key), "expects": str(setting.expects)}
        for key, setting in switches.SWITCHES.items()
    }


query_metrics.__doc__ = f"{query_metrics.__doc__}\n\nNames: {', '.join(prometheus.NAMED)}"
READ = (
    overview,
    find_causes,
    query_metrics,
    search_logs,
    explain_errors,
    why,
    callback_health,
    check_invariants,
    explain_trial,
    forecast_queue,
    write_report,
    read_switches,
)


def _short(line: log_search.Line) -> dict[str, Any]:
    """The line without fields that are the same in every line; a stack trace keeps its end."""
    hidden = ("ecs.version", "service.name", "process.", "span.id")
    kept = {name: value for name, value in line.items() if not name.startswith(hidden)}
    if "error.stack_trace" in kept:
        kept["error.stack_trace"] = kept["error.stack_trace"][-1000:]
    return kept
