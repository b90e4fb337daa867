"""Makes time pass faster for some teams: moves their times and those of their orders back."""

import random
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial

from django.db import DatabaseError, connection, transaction
from django.db.models import F

from groupbuy import rows
from trade.models import Order, Team

PASSED = timedelta(minutes=18)  # a team's quarter of an hour, the grace and a bit


def move_clocks(seed: int, until: float) -> None:
    """Now and then let the time of a team, or of its holds, run out."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 1.0))
        with suppress(DatabaseError):  # the database is down: try in the next round
            team_ids = list(forming_teams())
            if team_ids:
                age(rng.choice(team_ids), holds_only=rng.random() < 0.5)
    connection.close()


def end_all() -> None:
    """Let the time of every forming team run out."""
    for team_id in forming_teams():
        rows.retry(partial(age, team_id, holds_only=False))


def forming_teams() -> list[int]:
    forming = Team.objects.filter(status=Team.Status.FORMING).order_by("pk")
    return list(forming.values_list("pk", flat=True))


def age(team_id: int, *, holds_only: bool) -> None:
    """Move one team and its orders into the past."""
    orders = Order.objects.filter(team_id=team_id)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team_id)
        if holds_only:
            locked = orders.filter(status=Order.Status.LOCKED)
            locked.update(pay_deadline=F("pay_deadline") - 2 * PASSED)
            return
        Team.objects.filter(pk=team_id).update(
            created_at=F("created_at") - PASSED, expires_at=F("expires_at") - PASSED
        )
        orders.update(
            created_at=F("created_at") - PASSED,
            pay_deadline=F("pay_deadline") - PASSED,
            paid_at=F("paid_at") - PASSED,
            settled_at=F("settled_at") - PASSED,
            closed_at=F("closed_at") - PASSED,
        )
