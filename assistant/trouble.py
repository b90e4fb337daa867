"""Errors, failing endpoints and the queue of notifications; and what changed before an error."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import Count, Max, Q

from activity.models import Activity
from groupbuy import history, log_search
from groupbuy.access import ROUTINE
from groupbuy.models import SwitchChange
from trade.models import NotifyAttempt, NotifyTask

State = NotifyTask.State
LINES = 5000  # of the log that are searched
KINDS = 15  # of errors, endpoints or changes in an answer
LATEST = 5000  # attempts that are counted
BEFORE = timedelta(minutes=30)  # a change this long before the first error may be its cause


def untrusted(text: str) -> dict[str, str]:
    """Mark a text that a mall, a shopper or their server has written."""
    return {"untrusted": text[:300]}


def explain_errors(*, minutes: int, endpoint: str, now: datetime) -> dict[str, Any]:
    """Errors and refusals of the log by kind, and what changed since BEFORE the first of them."""
    lines = log_search.search(log_search.Query(since=now - timedelta(minutes=minutes), most=LINES))
    kinds: dict[tuple[str, str], list[log_search.Line]] = defaultdict(list)
    for line in lines:
        if (kind := _kind(line)) and endpoint in ("", kind[0]):
            kinds[kind].append(line)
    largest = sorted(kinds.items(), key=lambda each: -len(each[1]))[:KINDS]
    found = [_summary(kind, wrong) for kind, wrong in largest]
    first = min((line["@timestamp"] for _kind, wrong in largest for line in wrong), default="")
    since = datetime.fromisoformat(first) - BEFORE if first else now - BEFORE
    return {
        "lines searched": len(lines),
        "note": "A process writes at most 20 lines a second of a kind; rates are in the metrics.",
        "errors": found,
        "versions started": {version: at for at, version in _started(lines)},
        "changed since half an hour before the first": changes(since, now, lines),
    }


def changes(
    since: datetime, now: datetime, lines: Iterable[log_search.Line]
) -> list[dict[str, str]]:
    """Changes of switches, configuration, versions and running activities, newest first."""
    found = [
        *_switches(since),
        *_configuration(since),
        *_activities(since, now),
        *_versions(lines),
    ]
    return sorted(found, key=lambda each: each["at"], reverse=True)[:KINDS]


def failing_endpoints(*, now: datetime) -> list[dict[str, Any]]:
    """Endpoints with notifications that are not delivered, the worst first."""
    tried, since = _attempts(now - timedelta(hours=1))
    names = ("endpoint", "channel__source", "channel__channel")
    counted = NotifyTask.objects.filter(
        state__in=[State.NEW, State.RETRYING, State.GIVEN_UP]
    ).values(*names)
    rows = counted.annotate(
        waiting=Count("pk", Q(state=State.NEW)),
        retrying=Count("pk", Q(state=State.RETRYING)),
        given_up=Count("pk", Q(state=State.GIVEN_UP)),
        last=Max("pk", filter=~Q(last_error="")),
    ).order_by("-given_up", "-retrying", "-waiting")[:KINDS]
    errors = dict(
        NotifyTask.objects.filter(pk__in=[row["last"] for row in rows if row["last"]]).values_list(
            "pk", "last_error"
        )
    )
    return [
        {
            "endpoint": row["endpoint"],
            "channel": f"{row['channel__source']}/{row['channel__channel']}",
            "waiting": row["waiting"],
            "retrying": row["retrying"],
            "given up": row["given_up"],
            "attempts": {"since": since.isoformat(timespec="seconds"), **tried[row["endpoint"]]},
            "last error": untrusted(errors.get(row["last"], "")),
        }
        for row in rows
    ]


def forecast_queue(*, endpoint: str, now: datetime) -> dict[str, Any]:
    """When the notifications that are due will have been sent, at the pace of the last ten minutes.

    Or of the time since the oldest of the LATEST attempts, if that is shorter.
    """
    attempts, since = _attempts(now - timedelta(minutes=10))
    minutes = max((now - since).total_seconds(), 1) / 60
    tasks = NotifyTask.objects.all()
    if endpoint:
        tasks = tasks.filter(endpoint=endpoint)
    due = tasks.filter(next_attempt_at__lte=now).count()
    arrived = tasks.filter(created_at__gte=since).count()
    sent = sum(counts["delivered"] for name, counts in attempts.items() if endpoint in ("", name))
    pace = (sent - arrived) / minutes
    if not due:
        verdict = "Nothing is due."
    elif not sent:
        verdict = "Nothing was delivered in this time: the queue does not shrink."
    elif pace <= 0:
        verdict = "More arrive than are delivered: the queue grows."
    else:
        verdict = f"Empty in about {due / pace:.0f} minutes."
    return {
        "due": due,
        "minutes looked at": round(minutes, 2),
        "delivered in this time": sent,
        "promised in this time": arrived,
        "verdict": verdict,
    }


def _attempts(since: datetime) -> tuple[dict[str, Counter[str]], datetime]:
    """Counts of the attempts since then, by endpoint: delivered and failed.

    Looks at the LATEST attempts; the second value is the moment since which it has seen all.
    """
    latest = NotifyAttempt.objects.order_by("-pk")
    rows = list(latest.values_list("started_at", "task__endpoint", "error")[:LATEST])
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for started_at, endpoint, error in rows:
        if started_at >= since:
            found[endpoint]["failed" if error else "delivered"] += 1
    oldest = min((started_at for started_at, *_ in rows), default=since)
    return found, max(since, oldest) if len(rows) == LATEST else since


def _kind(line: log_search.Line) -> tuple[str, str] | None:
    """The place and the code of an error or refusal; None for any other line."""
    where = line.get("gbm.endpoint") or line.get("gbm.task") or line["log.logger"]
    code = line.get("gbm.code", "")
    if code not in ROUTINE:
        return where, code
    if line.get("http.response.status_code", 0) >= 400:
        return where, f"HTTP {line['http.response.status_code']}"
    if line["log.level"] in ("warning", "error", "critical"):
        return where, line.get("error.type") or line.get("gbm.outcome") or line["log.level"]
    return None


def _summary(kind: tuple[str, str], lines: list[log_search.Line]) -> dict[str, Any]:
    newest = lines[-1]
    example = newest.get("gbm.info") or newest.get("error.message") or newest["message"]
    channels = Counter(line["gbm.channel"] for line in lines if line.get("gbm.channel"))
    return {
        "where": kind[0],
        "what": kind[1],
        "lines": len(lines),
        "first": lines[0]["@timestamp"],
        "last": newest["@timestamp"],
        "versions": sorted({line.get("service.version", "") for line in lines}),
        "is exception": "error.type" in newest,
        "by channel": dict(channels.most_common(5)),
        "example": untrusted(example),
        "trace": newest.get("trace.id", ""),
    }


def _switches(since: datetime) -> Iterator[dict[str, str]]:
    for change in SwitchChange.objects.filter(at__gte=since).order_by("-at")[:KINDS]:
        yield {
            "at": change.at.isoformat(),
            "what": f"switch {change.switch_id}: {change}",
            "by": change.by,
        }


def _configuration(since: datetime) -> Iterator[dict[str, str]]:
    entries = LogEntry.objects.filter(action_time__gte=since).select_related("user", "content_type")
    for entry in entries.order_by("-action_time")[:KINDS]:
        yield {
            "at": entry.action_time.isoformat(),
            "what": f"{entry.content_type} {entry.object_repr}: {history.text_of(entry)}"[:300],
            "by": entry.user.get_username(),
        }


def _activities(since: datetime, now: datetime) -> Iterator[dict[str, str]]:
    """Activities whose time has begun or ended."""
    published = Activity.objects.exclude(status=Activity.Status.CREATED)
    for field, verb in (("start_at", "began"), ("end_at", "ended")):
        rows = published.filter(**{f"{field}__gte": since, f"{field}__lte": now})
        for activity in rows.order_by(f"-{field}")[:KINDS]:
            at: datetime = getattr(activity, field)
            yield {"at": at.isoformat(), "what": f"activity {activity} {verb}"[:300], "by": ""}


def _versions(lines: Iterable[log_search.Line]) -> Iterator[dict[str, str]]:
    for at, version in _started(lines):
        yield {"at": at, "what": f"version {version} started", "by": ""}


def _started(lines: Iterable[log_search.Line]) -> Iterator[tuple[str, str]]:
    """The first line of each version but the earliest: its time and the version."""
    seen: set[str] = set()
    for line in lines:
        version = line.get("service.version", "")
        if seen and version not in seen:
            yield line["@timestamp"], version
        seen.add(version)
