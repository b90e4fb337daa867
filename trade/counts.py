"""Counts of an activity's completed teams, kept so that nothing has to count the teams.

add() runs in the transaction that completes a team or refunds a member of a completed one. read()
is one short query, however many teams the activity has had.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import (
    Aggregate,
    BigIntegerField,
    Count,
    F,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.functions import Coalesce

from activity.models import Activity
from groupbuy.rows import Param, PreparedUpdate
from trade.models import CompletedTeams, Team

_ADD = PreparedUpdate(
    CompletedTeams.objects.filter(
        activity_id=Param("activity_id", BigIntegerField()),
        shard=Param("shard", IntegerField()),
    ),
    teams=F("teams") + Param("teams", IntegerField()),
    seats=F("seats") + Param("seats", IntegerField()),
)
COMPLETE = (Team.Status.COMPLETE, Team.Status.COMPLETE_WITH_REFUNDS)


class Completed(NamedTuple):
    teams: int
    seats: int  # taken by live orders


def add(team: Team, *, teams: int, seats: int) -> None:
    """Change the count of the team's activity. Call inside a transaction that has locked the team.

    The first completion of an activity inserts its rows.
    """
    mine = {"activity_id": team.activity_id, "shard": team.pk % CompletedTeams.SHARDS}
    if _ADD(**mine, teams=teams, seats=seats) == 0:
        made = range(CompletedTeams.SHARDS)
        rows = [CompletedTeams(activity_id=team.activity_id, shard=shard) for shard in made]
        CompletedTeams.objects.bulk_create(rows, ignore_conflicts=True)
        _ADD(**mine, teams=teams, seats=seats)


def read(activity_id: int) -> Completed:
    shards = CompletedTeams.objects.filter(activity_id=activity_id)
    sums = shards.aggregate(teams=Sum("teams", default=0), seats=Sum("seats", default=0))
    return Completed(sums["teams"], sums["seats"])


def mismatches() -> Iterator[str]:
    """A sentence for each activity whose counts differ from its teams; one statement for each."""
    compared = Activity.objects.annotate(
        kept_teams=_sum(CompletedTeams.objects.all(), Sum("teams")),
        kept_seats=_sum(CompletedTeams.objects.all(), Sum("seats")),
        teams=_sum(Team.objects.filter(status__in=COMPLETE), Count("pk")),
        seats=_sum(Team.objects.filter(status__in=COMPLETE), Sum("locked_count")),
    )
    for pk in list(Activity.objects.values_list("pk", flat=True)):
        wrong = compared.exclude(teams=F("kept_teams"), seats=F("kept_seats"))
        for activity in wrong.filter(pk=pk):
            yield (
                f"activity {pk}: counts {activity.kept_teams} complete teams and"
                f" {activity.kept_seats} seats, has {activity.teams} and {activity.seats}"
            )


def _sum(rows: QuerySet[Any], figure: Aggregate) -> Coalesce:
    """A subquery: the figure over the rows of the outer activity, 0 without rows."""
    mine = rows.filter(activity=OuterRef("pk")).order_by().values("activity")
    return Coalesce(Subquery(mine.annotate(figure=figure).values("figure")), 0)
