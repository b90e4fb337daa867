"""The states (状态) of teams, orders and notifications in the console: a tone and words."""

from datetime import datetime
from typing import NamedTuple

from django.db.models import F, Prefetch, Q, QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from trade.expire import GRACE
from trade.models import NotifyTask, Order, RefundType, Team

TONES = {tone: tone for tone in ("success", "info", "warning", "danger", "")}


class Labelled(NamedTuple):
    """A tone of TONES and words: a coloured label in lists, the words elsewhere."""

    tone: str
    words: str

    def __str__(self) -> str:
        return self.words


def of_team(team: Team, now: datetime) -> Labelled:
    match Team.Status(team.status):
        case Team.Status.FORMING:
            return _forming(team, now)
        case Team.Status.COMPLETE if team.is_completed_at_its_end:
            return Labelled("success", _("complete, by the platform at its end"))
        case Team.Status.COMPLETE:
            return Labelled("success", _("complete"))
        case Team.Status.COMPLETE_WITH_REFUNDS:
            return Labelled("warning", _("complete with refunds"))
        case Team.Status.FAILED:
            return Labelled("danger", _("failed"))


def _forming(team: Team, now: datetime) -> Labelled:
    if now >= team.expires_at:
        until = timezone.localtime(team.expires_at + GRACE)
        moment = formats.date_format(until, "H:i:s")
        return Labelled(
            "warning", _("time is up, payments are awaited until %(until)s") % {"until": moment}
        )
    if team.locked_count:
        return Labelled("info", _("forming"))
    return Labelled("", _("forming, everybody has left"))


def of_order(order: Order) -> Labelled:
    match Order.Status(order.status):
        case Order.Status.CLOSED if order.refund_at:
            return Labelled("", _("closed, the money is back"))
        case Order.Status.CLOSED if order.paid_at:
            return Labelled("danger", _("closed, the money goes back"))
        case Order.Status.CLOSED:
            return Labelled("", _("closed, nothing was paid"))
        case Order.Status.PAID:
            return Labelled("success", str(Order.Status.PAID.label))
        case Order.Status.LOCKED:
            return Labelled("info", str(Order.Status.LOCKED.label))


def of_promise(promise: NotifyTask) -> Labelled:
    tones = {
        NotifyTask.State.NEW: "info",
        NotifyTask.State.DELIVERED: "success",
        NotifyTask.State.RETRYING: "warning",
        NotifyTask.State.GIVEN_UP: "danger",
    }
    state = NotifyTask.State(promise.state)
    return Labelled(tones[state], str(state.label))


def event_of(promise: NotifyTask) -> str:
    """What the mall is notified of; a closed order that was not paid is no refund."""
    if promise.key.endswith(f"-{RefundType.UNPAID_UNLOCK}"):
        return _("closed, nothing was paid")
    return str(promise.get_event_display())


def with_payers(teams: QuerySet[Team]) -> QuerySet[Team]:
    """Prefetch the orders of failed teams that were paid at their end; their counters are 0."""
    reason = Order.CloseReason
    after = Q(close_reason=reason.REFUNDED, closed_at__gte=F("team__completed_at"))
    failed = Order.objects.filter(team__status=Team.Status.FAILED, paid_at__isnull=False)
    paid = failed.filter(Q(close_reason=reason.TEAM_ENDED) | after)
    return teams.prefetch_related(Prefetch("orders", paid, to_attr="payers"))


def seats(team: Team) -> str:
    """Seats paid, taken and in all; for a failed team, how many had been paid."""
    if team.status == Team.Status.FAILED:
        had_paid = {"paid": len(team.payers), "target": team.target_count}  # type: ignore[attr-defined]
        return _("%(paid)d of %(target)d had paid") % had_paid
    counts = {"paid": team.paid_count, "taken": team.locked_count, "target": team.target_count}
    return _("%(paid)d paid, %(taken)d taken of %(target)d") % counts
