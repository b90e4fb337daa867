"""The filters of the console's lists of teams, orders and notifications; an index serves each.

Links to such a list name a state: ?state=overdue.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from groupbuy.biglists import State
from groupbuy.ids import first_id
from groupbuy.models import Channel
from trade.expire import GRACE
from trade.models import NotifyAttempt, NotifyTask, Order, RefundType, Team

PATIENCE = timedelta(minutes=2)  # how long a job may be overdue before it is reported
LATEST = 5000  # attempts that served_since() reads
DAYS = (1, 7, 30, 365)  # choices of the filter by creation
Reason = Order.CloseReason


def overdue_teams(now: datetime) -> Q:
    return Q(status=Team.Status.FORMING, expires_at__lt=now - PATIENCE - GRACE)


def overdue_holds(now: datetime) -> Q:
    """A hold that ends with its team is closed after GRACE."""
    late = now - PATIENCE - GRACE
    return Q(status=Order.Status.LOCKED, close_reason="", pay_deadline__lt=late)


def overdue_promises(now: datetime) -> Q:
    return Q(next_attempt_at__lt=now - PATIENCE)


def served_since(moment: datetime) -> set[str]:
    """The endpoints to which something was sent since then, according to the LATEST attempts."""
    latest = NotifyAttempt.objects.order_by("-pk").values_list("started_at", "task__endpoint")
    return {endpoint for started_at, endpoint in latest[:LATEST] if started_at >= moment}


def _team(status: Team.Status) -> State:
    return State(status.label, lambda _now: Q(status=status), ("-expires_at", "-pk"))


def _order(status: Order.Status, reason: str = "") -> State:
    label = status.label
    if reason:
        label = format_lazy(_("{state}: {why}"), state=status.label, why=Reason(reason).label)
    rows = Q(status=status, close_reason=reason)
    return State(label, lambda _now: rows, ("-pay_deadline", "-pk"))


def _promise(state: NotifyTask.State) -> State:
    return State(state.label, lambda _now: Q(state=state), ("-endpoint", "-pk"))


TEAMS: Mapping[str, State] = {
    "overdue": State(_("past its end and still forming"), overdue_teams, ("expires_at", "pk")),
    **{status.name.lower(): _team(status) for status in Team.Status},
}
ORDERS: Mapping[str, State] = {
    "overdue": State(
        _("not paid in time and still holding a seat"), overdue_holds, ("pay_deadline", "pk")
    ),
    "locked": _order(Order.Status.LOCKED),
    "paid": _order(Order.Status.PAID),
    **{reason.value: _order(Order.Status.CLOSED, reason) for reason in Reason},
}
PROMISES: Mapping[str, State] = {
    "overdue": State(
        _("due and not sent"), overdue_promises, ("next_attempt_at", "endpoint", "pk")
    ),
    **{state.name.lower(): _promise(state) for state in NotifyTask.State},
}


def of_mall_order(out_trade_no: str) -> Q:
    """Orders with this number; each channel may have one."""
    return Q(channel__in=Channel.objects.values("pk"), out_trade_no=out_trade_no)


def promise_keys(term: str) -> list[str]:
    """The keys of notifications that a key, a key without its type, or an id may stand for."""
    event, _dash, rest = term.rpartition("-")
    number = rest if event in ("", *NotifyTask.Event) else ""
    refunds = [f"{NotifyTask.Event.TEAM_REFUND}-{number}-{kind}" for kind in RefundType]
    return [term, f"{NotifyTask.Event.TEAM_SUCCESS}-{number}", *refunds]


class CreatedFilter(SimpleListFilter):
    """Rows made since a day. They also end after that day, which narrows the index of a state."""

    title = _("created")
    parameter_name = "days"
    ends_at: str  # the column by which the list of a state is ordered

    def lookups(self, request: HttpRequest, admin: Any) -> list[tuple[str, Any]]:
        return [
            ("1", _("in the last 24 hours")),
            *((str(days), _("in the last %(days)d days") % {"days": days}) for days in DAYS[1:]),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        days = self.value() or ""
        if days not in {str(each) for each in DAYS}:
            return queryset
        since = timezone.now() - timedelta(days=int(days))
        found = queryset.filter(pk__gte=first_id(since))
        return found.filter(**{f"{self.ends_at}__gte": since}) if "state" in request.GET else found


class TeamCreated(CreatedFilter):
    ends_at = "expires_at"


class OrderCreated(CreatedFilter):
    ends_at = "pay_deadline"
