"""The demo's history is played through the use cases, and breaks no invariant."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db.models import Count, F, Sum
from django.utils import timezone

from activity.models import Offer
from groupbuy.ids import first_id
from groupbuy.models import Channel
from pages.management import history
from pages.management.commands import seed_demo
from tests.factories import NOW
from trade.invariants import check_all
from trade.models import (
    CompletedTeams,
    DailySum,
    NotifyAttempt,
    NotifyTask,
    Order,
    SummedDay,
    Team,
)

pytestmark = pytest.mark.django_db
URL = "http://127.0.0.1:9/notify"
DAYS = 10
State, Status = NotifyTask.State, Team.Status


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ten days with a few teams, which at this time of day is enough to meet each case."""
    days = history.play
    monkeypatch.setattr(seed_demo, "play", lambda *args, **kwargs: days(*args, **kwargs, days=DAYS))
    monkeypatch.setattr(history, "TEAMS_A_DAY", 12)
    with time_machine.travel(NOW.replace(hour=9)):
        yield


def play(*arguments: str) -> datetime:
    call_command("seed_demo", "--history", URL, *arguments, verbosity=0)
    return timezone.now()


def facts() -> list[Any]:
    counted = [
        Team.objects.values_list("activity", "status", "completed_by_shop"),
        Order.objects.values_list("status", "close_reason"),
        NotifyTask.objects.values_list("event", "state"),
    ]
    money = Order.objects.aggregate(sum=Sum("pay_price"))["sum"]
    return [money, *(sorted(rows.annotate(n=Count("pk"))) for rows in counted)]


def test_every_kind_of_end_is_there_and_a_mall_that_was_down() -> None:
    play()

    before = facts()
    play()  # again: that adds nothing
    assert facts() == before
    assert set(Team.objects.values_list("status", flat=True)) == set(Status)
    assert Team.objects.filter(completed_by_shop=True).exists()
    reasons = set(Order.objects.values_list("close_reason", flat=True))
    assert reasons == {"", "hold_timeout", "late_payment", "refunded", "team_ended"}
    kinds = {key.rpartition("-")[2] for key in NotifyTask.objects.values_list("key", flat=True)}
    assert {"unpaid_unlock", "paid_unformed", "paid_formed"} < kinds
    assert set(Order.objects.values_list("channel__source", flat=True)) == {"s01", "s03"}
    turns = Order.objects.values("user_id").annotate(n=Count("pk"))
    assert turns.filter(n__gte=2).exists()
    assert Order.objects.filter(user_id__startswith="shopper-").count() == Order.objects.count()

    # Money is back where the notification was accepted, and under way where it was not.
    returned = Order.objects.filter(close_reason__in=["late_payment", "refunded", "team_ended"])
    returned = returned.exclude(paid_at=None)
    assert returned.filter(refund_amount=F("pay_price")).exists()
    undelivered = NotifyTask.objects.exclude(state=State.DELIVERED)
    waiting = {
        json.loads(each)["orderId"]
        for each in undelivered.filter(event=NotifyTask.Event.TEAM_REFUND).values_list(
            "payload", flat=True
        )
    }
    assert {
        str(pk) for pk in returned.filter(refund_at=None).values_list("pk", flat=True)
    } <= waiting

    # A mall was down.
    failed = NotifyAttempt.objects.filter(status_code=503)
    assert failed.values("task").distinct().count() > 1
    assert NotifyTask.objects.filter(state=State.DELIVERED, attempts__gt=1).exists()
    assert NotifyTask.objects.filter(state=State.GIVEN_UP).exists()
    assert not NotifyAttempt.objects.filter(duration_ms=0).exists()


def test_the_invariants_hold() -> None:
    now = play()

    assert {sentence: rows for sentence, rows in check_all(now) if rows} == {}
    assert SummedDay.objects.count() == DAYS + 1
    assert DailySum.objects.exists()
    assert CompletedTeams.objects.aggregate(n=Sum("teams"))["n"] > 0

    # Ids and moments agree.
    for made in (Team, Order):
        for pk, at in made.objects.values_list("pk", "created_at"):
            assert first_id(at) <= pk < first_id(at + timedelta(minutes=1))
    assert not Order.objects.filter(created_at__gt=now).exists()
    assert not Order.objects.filter(settled_at__lt=F("created_at")).exists()
    assert not NotifyTask.objects.filter(delivered_at__lt=F("created_at")).exists()
    first = Order.objects.order_by("pk")[0].created_at
    assert timedelta(days=DAYS - 1) < now - first <= timedelta(days=DAYS, minutes=5)


@pytest.mark.parametrize("other", [1, 2])
def test_the_seed_decides(other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "TEAMS_A_DAY", 3)
    results = []
    for seed in (1, other):
        with time_machine.travel(NOW, tick=False):
            call_command("seed_demo", "--history", URL, "--seed", str(seed), verbosity=0)
        results.append(facts())
        for model in (NotifyTask, Order, Team, CompletedTeams):
            model.objects.all().delete()
        Offer.objects.filter(channel__source="s03").delete()
        Channel.objects.filter(source="s03").delete()

    assert results[0][0] > Decimal(0)
    assert (results[0] == results[1]) == (other == 1)


def test_without_it_there_is_no_trade() -> None:
    call_command("seed_demo", verbosity=0)

    assert not Order.objects.exists()


def test_an_interrupted_history_is_reported(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path, capfd: Any
) -> None:
    settings.VAR_DIR = tmp_path / "var"

    def interrupted(*_arguments: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(seed_demo, "play", interrupted)
        with pytest.raises(KeyboardInterrupt):
            play()
    play()

    expected = f"The history was interrupted. To play all of it, remove {settings.VAR_DIR}."
    assert expected in capfd.readouterr().err
