"""The picture of callbacks (回调): by endpoint, its answers and its oldest undelivered one."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from django.db.models import Min
from django.utils.translation import gettext as _

from trade.figures import drawing as draw
from trade.figures.drawing import WIDTH, Drawing, Key, Picture
from trade.figures.period import Business
from trade.figures.shoppers import percentile
from trade.figures.teams import duration
from trade.models import NotifyAttempt, NotifyTask

LATEST = 5000  # attempts looked at
MOST = 8  # endpoints drawn
State = NotifyTask.State


def callbacks(business: Business) -> Picture:
    """Success rate, duration and the oldest undelivered notification of each endpoint."""
    times: defaultdict[str, Counter[int]] = defaultdict(Counter)
    succeeded: Counter[str] = Counter()
    latest = NotifyAttempt.objects.order_by("-pk")
    fields = ("task__endpoint", "duration_ms", "error")
    for endpoint, milliseconds, error in latest.values_list(*fields)[:LATEST]:
        times[endpoint][milliseconds] += 1
        succeeded[endpoint] += not error
    waits = _oldest_undelivered(business.now)
    rows = []
    for endpoint in sorted({*times, *waits}, key=lambda each: (-times[each].total(), each)):
        tried = times[endpoint]
        rate = draw.percent(succeeded[endpoint], tried.total())
        p50, p95 = (percentile(tried, share) for share in (0.5, 0.95))
        oldest = waits.get(endpoint)
        rows.append([endpoint or "–", tried.total(), succeeded[endpoint], rate, _ms(p50), _ms(p95),
                     duration(oldest)])  # fmt: skip
    return Picture(
        "callbacks",
        _("Callbacks by endpoint"),
        _(
            "Of the latest %(most)d attempts: the share that the mall accepted, and the time that"
            " half (p50) and 19 of 20 attempts (p95) did not exceed. Oldest: how long the oldest"
            " notification that is not delivered has waited."
        )
        % {"most": LATEST},
        _drawn(rows),
        [_("endpoint"), _("attempts"), _("accepted"), _("success rate"), "p50", "p95", _("oldest")],
        rows,
    )


def _drawn(rows: "list[list[object]]") -> Drawing:
    row = 44
    picture = Drawing(
        _("; ").join(draw.said(each[0], each[3]) for each in rows[:MOST])
        or _("No notification was sent."),
        height=10 + row * max(len(rows[:MOST]), 1),
        keys=[Key("team", _("accepted")), Key("back", _("not accepted"))],
    )
    if not rows:
        picture.text(WIDTH / 2, 24, picture.summary, anchor="middle")
    for n, (endpoint, tried, accepted, rate, p50, p95, oldest) in enumerate(rows[:MOST]):
        y = 4 + n * row
        picture.text(0, y + 11, str(endpoint), colour="value")
        picture.text(WIDTH, y + 11, f"p50 {p50} · p95 {p95} · {_('oldest')} {oldest}", anchor="end")
        share = int(str(accepted)) / (int(str(tried)) or 1)
        picture.bar("team", 0, y + 18, (WIDTH - 50) * share, 12, f"{accepted}")
        picture.bar(
            "back", (WIDTH - 50) * share, y + 18, (WIDTH - 50) * (1 - share) * bool(tried), 12
        )
        picture.text(WIDTH, y + 28, str(rate), anchor="end", colour="value")
    return picture


def _oldest_undelivered(now: datetime) -> dict[str, int]:
    """Endpoint -> minutes."""
    waiting = NotifyTask.objects.filter(state__in=(State.NEW, State.RETRYING, State.GIVEN_UP))
    found = waiting.values_list("endpoint").annotate(at=Min("created_at")).order_by()
    return {endpoint: max(now - at, timedelta(0)) // timedelta(minutes=1) for endpoint, at in found}


def _ms(milliseconds: int | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds} ms"
