"""Random shoppers against a small model; the invariants hold after every step."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from groupbuy.errors import ErrorCode, GroupBuyError
from tests.checks import broken_invariants
from tests.factories import NOW, lock, make_activity, refund, settle
from trade import expire
from trade.models import CompletedTeams, NotifyTask, Order, Team

USERS = st.sampled_from(["a", "b", "c", "d", "e"])
NUMBERS = st.integers(0, 11)  # out_trade_no: few, so that they repeat
TARGET, LIMIT, MINUTES, HOLD, GRACE = 2, 2, 15, 6, 2


class Model:
    """The expected behaviour, with dictionaries for tables."""

    def __init__(self) -> None:
        self.teams: list[dict[str, int]] = []  # end, taken, paid, completed, over
        self.settled: set[int] = set()  # numbers that were seated once
        self.deadlines: dict[int, int] = {}  # number -> minute until it has to be paid
        self.timed_out: set[int] = set()
        self.late: set[int] = set()  # numbers whose payment came too late
        self.orders: dict[int, tuple[str, int, str]] = {}  # number -> user, team, state

    def lock(self, user: str, number: int, team: int | None, now: int) -> ErrorCode | None:
        if number in self.orders:
            owner, _team, state = self.orders[number]
            if owner != user:
                return ErrorCode.NOT_YOUR_ORDER
            return ErrorCode.ORDER_NOT_FOUND if state == "closed" else None
        if team is not None and self.teams[team]["taken"] == TARGET:
            return ErrorCode.TEAM_FULL
        mine = self._mine(user)
        if len(mine) >= LIMIT:
            return ErrorCode.TAKE_LIMIT_REACHED
        if team is None:
            self.teams.append(
                {"end": now + MINUTES, "taken": 0, "paid": 0, "completed": 0, "over": 0}
            )
            team = len(self.teams) - 1
        elif team in mine:
            return ErrorCode.ALREADY_IN_TEAM
        elif now >= self.teams[team]["end"] or self.teams[team]["over"]:
            return ErrorCode.TEAM_NOT_JOINABLE
        self.teams[team]["taken"] += 1
        self.orders[number] = (user, team, "locked")
        self.deadlines[number] = min(now + HOLD, self.teams[team]["end"])
        return None

    def settle(self, user: str, number: int, now: int) -> ErrorCode | None:
        owner, team, state = self.orders.get(number, ("", 0, ""))
        if owner != user:
            return ErrorCode.ORDER_NOT_FOUND
        row = self.teams[team]
        in_time = now < row["end"] and not row["over"]
        if in_time and self._may_come_back(number):
            row["taken"] += 1
            state = "locked"
        if state == "locked" and in_time:
            row["paid"] += 1
            full = row["paid"] == TARGET
            row.update(completed=row["completed"] | full, over=row["over"] | full)
            self.orders[number] = (user, team, "paid")
            self.settled.add(number)
        elif state == "locked":
            row["taken"] -= 1
            self.orders[number] = (user, team, "closed")
        if number not in self.settled:
            self.late.add(number)
            return ErrorCode.PAID_TOO_LATE
        return None if self.orders[number][2] == "paid" else ErrorCode.ORDER_NOT_FOUND

    def _may_come_back(self, number: int) -> bool:
        user, team, _state = self.orders[number]
        mine = self._mine(user)
        room = self.teams[team]["taken"] < TARGET and len(mine) < LIMIT and team not in mine
        return room and number in self.timed_out - self.late - self.settled

    def sweep(self, now: int) -> None:
        for number, (user, team, state) in self.orders.items():
            ends_with_team = self.deadlines[number] == self.teams[team]["end"]  # closed below
            if state == "locked" and self.deadlines[number] <= now and not ends_with_team:
                self.teams[team]["taken"] -= 1
                self.orders[number] = (user, team, "closed")
                self.timed_out.add(number)
        for place, row in enumerate(self.teams):
            if row["end"] + GRACE <= now and not row["over"]:
                row.update(taken=0, paid=0, over=1)
                for number, (user, team, _state) in self.orders.items():
                    if team == place:
                        self.orders[number] = (user, team, "closed")

    def _mine(self, user: str) -> list[int]:
        return [
            t for owner, t, state in self.orders.values() if owner == user and state != "closed"
        ]

    def refund(self, user: str, number: int) -> ErrorCode | None:
        owner, team, state = self.orders.get(number, ("", 0, ""))
        if owner != user:
            return ErrorCode.ORDER_NOT_FOUND
        if state != "closed":
            self.teams[team]["taken"] -= 1
            self.teams[team]["paid"] -= state == "paid"
            self.orders[number] = (user, team, "closed")
        return None


class Shoppers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        for table in (NotifyTask, Order, Team, CompletedTeams):
            table.objects.all().delete()
        self.model = Model()
        self.minute = 0
        self.team_ids: list[str] = []

    @rule(minutes=st.integers(1, 10))
    def time_passes(self, minutes: int) -> None:
        self.minute += minutes

    @rule(user=USERS, number=NUMBERS)
    def open_team(self, user: str, number: int) -> None:
        self._lock(user, number, None)

    @rule(user=USERS, number=NUMBERS, pick=st.integers(0, 99))
    def join(self, user: str, number: int, pick: int) -> None:
        if self.team_ids:
            self._lock(user, number, pick % len(self.team_ids))

    @rule(user=USERS, number=NUMBERS)
    def pay(self, user: str, number: int) -> None:
        expected = self.model.settle(user, number, self.minute)
        assert expected == refusal(
            lambda: settle(user, out_trade_no=f"t{number}", paid_at=self.now, now=self.now)
        )

    @rule()
    def sweeps(self) -> None:
        self.model.sweep(self.minute)
        expire.close_overdue_holds(clock=lambda: self.now)
        expire.end_overdue_teams(clock=lambda: self.now)

    @rule(user=USERS, number=NUMBERS)
    def give_back(self, user: str, number: int) -> None:
        expected = self.model.refund(user, number)
        assert expected == refusal(lambda: refund(user, out_trade_no=f"t{number}", now=self.now))

    def _lock(self, user: str, number: int, team: int | None) -> None:
        before = len(self.model.teams)
        expected = self.model.lock(user, number, team, self.minute)
        team_id = "" if team is None else self.team_ids[team]
        assert expected == refusal(
            lambda: lock(user, out_trade_no=f"t{number}", team_id=team_id, now=self.now)
        )
        if len(self.model.teams) > before:
            order = Order.objects.select_related("team").get(out_trade_no=f"t{number}")
            self.team_ids.append(str(order.team_id))

    @property
    def now(self) -> datetime:
        return NOW + timedelta(minutes=self.minute)

    @invariant()
    def counters_are_the_models(self) -> None:
        rows = {str(team.pk): (team.locked_count, team.paid_count) for team in Team.objects.all()}
        counts = [(team["taken"], team["paid"]) for team in self.model.teams]
        assert rows == dict(zip(self.team_ids, counts, strict=True))
        completed = sum(team["completed"] for team in self.model.teams)
        assert Team.objects.exclude(completed_at=None).count() == completed

    @invariant()
    def invariants_hold(self) -> None:
        assert broken_invariants() == {}


def refusal(call: Callable[[], Any]) -> ErrorCode | None:
    try:
        call()
    except GroupBuyError as exc:
        return exc.error
    return None


@pytest.mark.django_db
def test_shoppers_follow_the_model() -> None:
    make_activity(
        target_count=TARGET,
        take_limit=LIMIT,
        valid_minutes=MINUTES,
        hold_minutes=HOLD,
        end_at=NOW + timedelta(days=365),
    )
    run_state_machine_as_test(
        Shoppers,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
