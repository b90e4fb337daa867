"""Acts on an activity (活动的发布、暂停与关闭): what each does to its running teams.

A paused or closed activity refuses new teams and new members; a shopper who holds a seat can still
pay for it. When an activity is closed with its money back, a sweep fails its forming teams, so that
no request has to wait for a thousand of them. The next sweep continues where one was cut off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from activity.models import Activity
from activity.warnings import warnings
from groupbuy import changes, history, rows
from groupbuy.moments import to_minute
from trade.acts import Act, ChangedError
from trade.models import Order, Team
from trade.rowlocks import lock_activity

Status = Activity.Status


def _publish_means(activity: Activity) -> list[str]:
    activity.full_clean()
    if activity.end_at <= timezone.now():
        raise ValidationError(_("Its end has passed: move the end, then publish it."))
    return [_opens(activity), *warnings(activity, timezone.now())]


def _resume_means(activity: Activity) -> list[str]:
    activity.full_clean()
    return [_opens(activity), *_running(activity)]


def _opens(activity: Activity) -> str:
    return _("Shoppers can open and join teams from %(start)s until %(end)s.") % {
        "start": to_minute(activity.start_at),
        "end": to_minute(activity.end_at),
    }


def _pause_means(activity: Activity) -> list[str]:
    back = _("It can be resumed. A team that could fill only with new members runs out of time.")
    return [*_stops(), *_running(activity), *_finish(activity), back]


def _close_means(activity: Activity) -> list[str]:
    final = _("It cannot be resumed, only copied.")
    return [*_stops(), *_running(activity), *_finish(activity), final]


def _close_now_means(activity: Activity) -> list[str]:
    return [
        _("Nobody can open or join a team of it any more; shoppers see the normal price."),
        *_running(activity),
        _("All these teams fail within minutes, and everybody's money goes back."),
        _("The mall gets one notification for each of these shoppers and pays the money back."),
        _("Complete teams keep their goods. It cannot be resumed, only copied."),
    ]


def _stops() -> list[str]:
    return [
        _("Nobody can open or join a team of it any more; shoppers see the normal price."),
        _("Seats that are held can still be paid for."),
    ]


def _forming(activity: Activity) -> Any:
    return Team.objects.filter(activity=activity.pk, status=Team.Status.FORMING)


def _running(activity: Activity) -> list[str]:
    """The forming teams, and the shoppers and the money in them."""
    teams = _forming(activity).count()
    if not teams:
        return [_("No team is forming.")]
    orders = Order.objects.filter(team__in=_forming(activity))
    paid = Q(status=Order.Status.PAID)
    sums = orders.aggregate(
        payers=Count("pk", paid),
        money=Sum("pay_price", filter=paid),
        holds=Count("pk", Q(status=Order.Status.LOCKED)),
    )
    text = ngettext("%(count)d team is forming now.", "%(count)d teams are forming now.", teams) % {
        "count": teams
    }
    payers = ngettext(
        "%(count)d shopper in them has paid %(money)s.",
        "%(count)d shoppers in them have paid %(money)s together.",
        sums["payers"],
    ) % {"count": sums["payers"], "money": f"¥{sums['money'] or 0:.2f}"}
    holds = ngettext(
        "%(count)d seat in them is held and not paid for.",
        "%(count)d seats in them are held and not paid for.",
        sums["holds"],
    ) % {"count": sums["holds"]}
    return [text, payers, holds]


def _finish(activity: Activity) -> list[str]:
    """The outcomes of forming teams that no operator ends."""
    types = set(_forming(activity).values_list("group_type", flat=True))
    outcomes = {
        Activity.GroupType.MUST_FILL: _(
            "A team that is not full when its time is up fails, and its money goes back."
        ),
        Activity.GroupType.SHOP_COMPLETES: _(
            "A team that is not full when its time is up is completed with those who have paid."
        ),
    }
    return [text for kind, text in outcomes.items() if kind in types]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of an activity's status. means() lists what it does, or raises ValidationError."""

    name: str  # one of history.ACTS
    since: Sequence[Status]
    means: Callable[[Activity], list[str]]
    to: Status
    gives_back: bool = False
    needs_reason: bool = True


RUNNING = (Status.IN_EFFECT, Status.PAUSED)
PUBLISH = Step("publish", [Status.CREATED], _publish_means, Status.IN_EFFECT, needs_reason=False)
PAUSE = Step("pause", [Status.IN_EFFECT], _pause_means, Status.PAUSED)
RESUME = Step(
    "resume the sale", [Status.PAUSED], _resume_means, Status.IN_EFFECT, needs_reason=False
)
CLOSE = Step("close", [*RUNNING, Status.CREATED], _close_means, Status.ABANDONED)
CLOSE_NOW = Step(
    "close now",
    [*RUNNING, Status.EXPIRED, Status.ABANDONED],
    _close_now_means,
    Status.ABANDONED,
    gives_back=True,
)


RULES = (
    *("start_at", "end_at", "discount_id", "target_count", "take_limit", "group_type"),
    *("valid_minutes", "hold_minutes", "crowd_id", "restrict_visible", "restrict_join"),
)


def state(step: Step, activity: Activity) -> str:
    """What must not have changed since the page was shown: the status; on sale, the rules too."""
    rules = RULES if step.to == Status.IN_EFFECT else ()
    return " ".join(str(getattr(activity, name)) for name in ("status", "gives_back", *rules))


def refusal(step: Step, activity: Activity) -> str:
    """Why the activity's state does not allow the step; "" if it does."""
    if activity.status not in step.since:
        return _("The activity is now: %(status)s.") % {"status": activity.get_status_display()}
    if not step.gives_back:
        return ""
    if activity.gives_back:
        return _("Its forming teams are being failed already.")
    if not _forming(activity).exists():
        return _("It has no forming team, so no money can go back: close it.")
    return ""


def carry_out(step: Step, activity_id: int, act: Act) -> None:
    """Change the status and log it. Raises ChangedError if the operator saw another state."""
    rows.retry(lambda: _carry_out(step, activity_id, act))


def _require_valid(activity: Activity) -> None:
    """Raise ChangedError if another activity offers the same goods since the page was shown."""
    try:
        activity.full_clean()
    except ValidationError as exc:
        raise ChangedError from exc


def _carry_out(step: Step, activity_id: int, act: Act) -> None:
    with transaction.atomic(durable=True):
        activity = lock_activity(activity_id)
        if activity is None or state(step, activity) != act.seen or refusal(step, activity):
            raise ChangedError
        if step.to == Status.IN_EFFECT:
            _require_valid(activity)
        activity.status, activity.gives_back = step.to, step.gives_back
        rows.update(activity, "status", "gives_back")
        changes.announce()
        history.log_act(activity, step.name, act.reason, user_id=act.user_id)
