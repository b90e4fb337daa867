"""The figures on the console's first page, and their tables as CSV."""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from activity.models import Activity
from groupbuy import tables
from groupbuy.models import Channel
from trade.figures import period, tiles
from trade.figures.drawing import Picture
from trade.figures.period import Business
from trade.figures.pictures import PICTURES, RIGHT_NOW
from trade.figures.rows import day_of
from trade.models import SummedDay

CHOICES = (1, 7, 30, 90)  # days
DAY = timedelta(days=1)


def context(request: HttpRequest, now: datetime) -> dict[str, Any]:
    """Context of templates/admin/figures/business.html; empty without permission to see orders."""
    if not request.user.has_perm("trade.view_order"):
        return {}
    days = _days(request)
    business, span = _read(days, now), _span(days)
    return {
        "tiles": tiles.tiles(business),
        "waiting": dict(zip(("seats", "money"), tiles.waiting(), strict=True)),
        "pictures": [_with_span(make(business), span) for make in PICTURES.values()],
        "span": span,
        "days": days,
        "choices": CHOICES,
        "summed_at": SummedDay.objects.aggregate(at=Max("summed_at"))["at"],
    }


def export(request: HttpRequest, name: str) -> HttpResponse:
    """The table behind a picture as CSV, with a byte order mark for Excel."""
    if not request.user.has_perm("trade.view_order"):
        raise PermissionDenied
    if name not in PICTURES:
        raise Http404
    picture = PICTURES[name](_read(_days(request), timezone.now()))
    content = tables.file_of("csv", [picture.header, *picture.rows])
    response = HttpResponse(content, content_type=tables.TYPES["csv"])
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _days(request: HttpRequest) -> int:
    chosen = request.GET.get("days", "")
    return int(chosen) if chosen in {str(days) for days in CHOICES} else 30


def _span(days: int) -> str:
    """The days of the pictures, in words. Unlike those of the tiles they include today."""
    return _("today") if days == 1 else _("%(days)d days including today") % {"days": days}


def _with_span(picture: Picture, span: str) -> Picture:
    """The picture with the days of its one number beside it."""
    if not picture.fact or picture.name in RIGHT_NOW:
        return picture
    return picture._replace(fact=f"{picture.fact} · {span}")


def _read(days: int, now: datetime) -> Business:
    """The figures of so many days up to today; the sums reach as far back as the tiles compare."""
    today = day_of(now)
    first = today - (days - 1) * DAY
    earliest = min(first, today - 2 * tiles.LONGEST * DAY)
    for_crowds = Activity.objects.exclude(crowd=None)
    return Business(
        now=now,
        period=period.read(earliest, today, today=period.today(now)).part(first, today),
        channels={str(row.pk): row.name or str(row) for row in Channel.objects.all()},
        activities={str(pk): name for pk, name in Activity.objects.values_list("pk", "name")},
        crowds={str(pk): name for pk, name in for_crowds.values_list("pk", "crowd__name")},
    )
