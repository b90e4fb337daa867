"""Why a shopper may open or join a team, or not (能否参团): what a lock checks after the trial.

For operators, beside activity/explain.py. Seats are counted as of the chosen moment; limits are the
present ones.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Min, Q, QuerySet
from django.utils.translation import gettext as _

from activity.catalog import LiveOffer
from activity.explain import Step
from activity.models import Activity
from activity.trial import Trial, TrialQuery
from groupbuy import switches
from groupbuy.errors import ErrorCode
from groupbuy.fields import read_id
from groupbuy.moments import to_second
from trade.models import Order, Team


class Check(NamedTuple):
    error: ErrorCode
    step: Step


def checks(
    query: TrialQuery, team_id: str, offer: LiveOffer | None, *, at: datetime
) -> list[Check]:
    """The checks in the order of a lock; team_id "" stands for a new team of this offer."""
    if team_id:
        team = Team.objects.select_related("channel").filter(pk=read_id(team_id)).first()
        return list(_of_team(query, team, at) if team else _unknown(team_id))
    if not offer:
        return []
    return [_limit(query, offer.activity, at), _holds(query, offer.channel_id, at)]


def _unknown(team_id: str) -> Iterator[Check]:
    refused = True, _("Ask for the number of the team again.")
    yield Check(ErrorCode.TEAM_NOT_JOINABLE, Step(_("There is such a team"), team_id, *refused))


def _of_team(query: TrialQuery, team: Team, at: datetime) -> Iterator[Check]:
    seated = live_at(Order.objects.filter(team=team), at)
    taken = seated.count()
    offered = (team.channel.source, team.channel.channel, team.goods_id)
    other = offered != (query.source, query.channel, query.goods_id) or (
        query.activity_id not in (None, team.activity_id)
    )
    yield _check(
        ErrorCode.TEAM_FULL,
        _("The team has a free seat"),
        _("%(taken)d of %(target)d taken") % {"taken": taken, "target": team.target_count},
        taken >= team.target_count and not other,
        _("A seat comes free when somebody leaves or does not pay in time."),
    )
    yield _limit(query, team.activity, at)
    yield _check(
        ErrorCode.ALREADY_IN_TEAM,
        _("The shopper is not in the team yet"),
        query.user_id,
        seated.filter(user_id=query.user_id).exists(),
        _("The shopper has a seat in this team: one seat per person and team."),
    )
    yield _check(
        ErrorCode.TEAM_NOT_JOINABLE,
        _("The team is for these goods on this channel"),
        f"{offered[0]}/{offered[1]}, {offered[2]}",
        other,
        _("Choose the channel, the goods and the activity of the team."),
    )
    ended = _ended(team)
    yield _check(
        ErrorCode.TEAM_NOT_JOINABLE,
        _("The team is forming"),
        _("from %(start)s to %(end)s")
        % {"start": to_second(team.created_at), "end": to_second(ended)},
        not team.created_at <= at < ended,
        _("A team that is complete, failed or past its end takes nobody in: open another one."),
    )
    yield _holds(query, team.channel_id, at)


def _limit(query: TrialQuery, activity: Activity, at: datetime) -> Check:
    bought = live_at(Order.objects.filter(activity=activity, user_id=query.user_id), at).count()
    return _check(
        ErrorCode.TAKE_LIMIT_REACHED,
        _("The shopper is below the limit per person"),
        _("%(count)d of %(limit)d") % {"count": bought, "limit": activity.take_limit},
        bought >= activity.take_limit,
        _("Orders that are open or complete count. Raise the activity's limit per person."),
    )


def _holds(query: TrialQuery, channel_id: int, at: datetime) -> Check:
    orders = Order.objects.filter(channel=channel_id, user_id=query.user_id)
    unpaid = live_at(orders, at).filter(Q(paid_at=None) | Q(paid_at__gt=at)).count()
    limit = switches.hold_limit()
    return _check(
        ErrorCode.TOO_MANY_HOLDS,
        _("The shopper may hold another seat without paying"),
        _("%(count)d of %(limit)d") % {"count": unpaid, "limit": limit},
        unpaid >= limit,
        _("Unpaid orders on the channel count. The shopper pays or cancels one, or it times out."),
    )


def price_of_member(team_id: str, trial: Trial) -> Decimal | None:
    """What this shopper pays in the team: its prices stay those of its opening."""
    team = Team.objects.filter(pk=read_id(team_id)).first()
    if team is None:
        return None
    return team.pay_price if trial.discounted else team.original_price


def live_at(orders: QuerySet[Order], at: datetime) -> QuerySet[Order]:
    """The orders that had a seat at that moment. A late payment moves closed_at (close_order())."""
    return orders.filter(Q(closed_at=None) | Q(closed_at__gt=at), created_at__lte=at)


def _ended(team: Team) -> datetime:
    """The moment at which the team stopped forming, or will stop."""
    if team.completed_at:
        return team.completed_at
    if team.status != Team.Status.FAILED:
        return team.expires_at
    ended = team.orders.filter(close_reason=Order.CloseReason.TEAM_ENDED)
    first = ended.aggregate(first=Min("closed_at"))["first"]
    return min(first or team.expires_at, team.expires_at)


def _check(error: ErrorCode, rule: str, saw: str, refused: bool, advice: str) -> Check:
    return Check(error, Step(rule, saw, refused, advice if refused else ""))
