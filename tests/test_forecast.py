"""Forecasts (拼团测算): the model against closed forms, and against what happened."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import mean
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from activity.models import Activity, Discount, Offer
from tests.factories import lock, make_activity, refund, settle
from trade.expire import end_overdue_teams
from trade.forecast import report
from trade.forecast.simulation import Guess, Outcome, Rules, expected_seats, fitted_spread, simulate
from trade.models import Forecast

NEVER = 10**7  # minutes


def rules(**values: Any) -> Rules:
    values = {"target": 3, "minutes": NEVER, "hold": 30, "shop_completes": False} | values
    return Rules(**values)


def guess(**values: Any) -> Guess:
    values = {
        "buyers": 100,
        "joins": 0,
        "spread": 0,
        "friend_minutes": 120,
        "pays": 1,
        "returns": 0,
    } | values
    return Guess(**values)


def run(rules: Rules, guess: Guess, days: int = 2) -> list[Outcome]:
    return simulate(rules, guess, days=days, seed=7)


def share(outcomes: list[Outcome], part: str, whole: str) -> float:
    total = sum(getattr(each, whole) for each in outcomes)
    return float(sum(getattr(each, part) for each in outcomes) / total)


def test_buyers_arrive_as_often_as_guessed() -> None:
    opened = [each.opened for each in run(rules(), guess())]

    assert mean(opened) == pytest.approx(200, abs=5)  # Poisson: standard error 1.4


@pytest.mark.parametrize("target", [2, 3, 5])
def test_a_team_fills_as_a_branching_process_grows(target: int) -> None:
    """Without a time limit the size of a family has a Borel distribution.

    Source: https://en.wikipedia.org/wiki/Borel_distribution
    """
    m = 0.8

    outcomes = run(rules(target=target), guess(spread=m))

    too_small = sum(
        math.exp(-m * n) * (m * n) ** (n - 1) / math.factorial(n) for n in range(1, target)
    )
    assert share(outcomes, "full", "opened") == pytest.approx(1 - too_small, abs=0.012)


def test_a_team_of_two_fills_if_a_friend_comes_in_time() -> None:
    """The first friend comes after an exponential time, at the rate spread / friend_minutes."""
    outcomes = run(rules(target=2, minutes=120), guess(spread=0.8))

    earliest, latest = (1 - math.exp(-0.8 * (1 - math.exp(-t / 120))) for t in (110, 120))
    assert earliest - 0.012 < share(outcomes, "full", "opened") < latest + 0.012


def test_without_friends_a_team_fails_and_its_money_goes_back() -> None:
    outcomes = run(rules(minutes=60), guess(pays=0.7))

    assert sum(each.full + each.by_shop for each in outcomes) == 0
    assert share(outcomes, "failed", "opened") == 1
    assert share(outcomes, "paid", "opened") == pytest.approx(0.7, abs=0.012)
    assert share(outcomes, "returned", "paid") == 1


def test_the_shop_completes_teams_with_a_payment() -> None:
    outcomes = run(rules(minutes=60, shop_completes=True), guess(pays=0.7, returns=0.25))

    assert share(outcomes, "by_shop", "opened") == pytest.approx(0.7, abs=0.012)
    assert share(outcomes, "failed", "opened") == pytest.approx(0.3, abs=0.012)
    assert share(outcomes, "returned", "paid") == pytest.approx(0.25, abs=0.012)


def test_strangers_fill_a_team_after_the_other() -> None:
    """Everybody joins where there is a seat, so a team of three is opened for every third buyer."""
    outcomes = run(rules(), guess(joins=1))

    assert share(outcomes, "paid", "opened") == pytest.approx(3, abs=0.02)
    assert all(each.opened - each.full <= 1 for each in outcomes)
    assert all(each.peak <= 3 + 3 for each in outcomes)  # the last one may still be paying


def test_seats_are_taken_as_littles_law_says() -> None:
    """A lone buyer's seat is taken for the team's 60 minutes; the peak is above the mean."""
    outcomes = run(rules(minutes=60), guess(buyers=240))

    taken = 240 / 24  # a Poisson number with this mean at any moment
    peak = mean(each.peak for each in outcomes)
    assert taken + 2 * math.sqrt(taken) < peak < taken + 6 * math.sqrt(taken)


def test_an_unpaid_seat_is_free_again_after_its_time() -> None:
    outcomes = run(rules(target=1, hold=30), guess(joins=1, pays=0.5))

    assert share(outcomes, "paid", "opened") > 0.85  # the next buyer takes the seat


def test_the_spread_is_found_from_what_teams_reached() -> None:
    """Counting friends would give less than 0.8: full teams turn some away."""
    played, known = rules(minutes=240), guess(spread=0.8, pays=0.9)
    outcomes = run(played, known, days=10)

    found = fitted_spread(played, guess(pays=0.9), seats=share(outcomes, "paid", "opened"))

    assert found == pytest.approx(0.8, abs=0.08)


def test_the_same_seed_gives_the_same_outcomes() -> None:
    first, again = (run(rules(), guess(spread=0.8)) for _time in range(2))

    assert first == again
    assert first != simulate(rules(), guess(spread=0.8), days=2, seed=8)


def test_the_bound_of_seats_is_one() -> None:
    for each in (guess(spread=0.8), guess(spread=3, pays=0.5), guess(joins=1)):
        outcomes = run(rules(target=6), each)
        seats = mean(outcome.paid for outcome in outcomes)
        assert seats <= expected_seats(rules(target=6), each, days=2) * 1.02


def guesses(offer: Offer, **values: Any) -> dict[str, Any]:
    return {
        "offer": offer.pk,
        "days": 7,
        "visitors": 100,
        "conversion": 5,
        "joins": 0,
        "spread": "0.8",
        "friend_minutes": 60,
        "pays": 85,
        "returns": 3,
        "unit_cost": "70.00",
        "fixed_cost": "0",
        "seed": 1,
    } | values


ADD = "/admin/trade/forecast/add/"


@pytest.mark.django_db
def test_a_loss_is_shown(operator: Client) -> None:
    make_activity(valid_minutes=24 * 60)

    operator.post(ADD, guesses(Offer.objects.get(), unit_cost="90.00"))

    forecast = Forecast.objects.get()
    kept, margin = (forecast.figures[name][1] for name in ("kept", "margin"))
    assert Decimal(margin) == -10 * Decimal(kept) < 0
    assert forecast.losing_runs == 100
    page = operator.get(f"/admin/trade/forecast/{forecast.pk}/change/").content.decode()
    assert "100 % of the simulations end with a loss." in page


@pytest.mark.django_db
def test_a_forecast_without_costs_promises_no_profit(operator: Client) -> None:
    make_activity(valid_minutes=24 * 60)
    words = ("No simulation ends with a loss.", "No costs were entered")

    for cost, text in (("1.00", words[0]), ("0", words[1])):
        operator.post(ADD, guesses(Offer.objects.get(), unit_cost=cost))
        pk = Forecast.objects.latest("pk").pk
        page = operator.get(f"/admin/trade/forecast/{pk}/change/").content.decode()
        assert [each for each in words if each in page] == [text]


@pytest.mark.django_db
def test_too_many_buyers_are_refused(operator: Client) -> None:
    make_activity()

    answer = operator.post(ADD, guesses(Offer.objects.get(), visitors=1_000_000))

    assert answer.context["errors"] == [
        ["More than 10000 buyers: forecast fewer days or a part of the visitors."]
    ]
    assert not Forecast.objects.exists()


@pytest.mark.django_db
def test_friends_who_would_find_no_seat_take_time_too(operator: Client) -> None:
    make_activity()

    many = guesses(Offer.objects.get(), visitors=1000, spread=100)
    answer = operator.post(ADD, many)  # 1,050 seats, and 100 friends for each

    assert answer.context["errors"] == [
        ["More than 10000 buyers: forecast fewer days or a part of the visitors."]
    ]
    assert operator.post(ADD, many | {"visitors": 100}).status_code == 302


@pytest.mark.django_db
def test_a_forecast_is_named_by_the_day_on_which_it_was_made(operator: Client) -> None:
    make_activity()
    operator.post(ADD, guesses(Offer.objects.get()))
    forecast = Forecast.objects.get()
    forecast.created_at = datetime(2036, 5, 1, 20, 0, tzinfo=UTC)  # 4:00 in Shanghai

    assert str(forecast) == "a book · 2036-05-02"


@pytest.mark.django_db
def test_a_discount_that_cannot_be_calculated_is_refused(operator: Client) -> None:
    play(timezone.now() - timedelta(hours=2))
    Discount.objects.update(plan="XX")  # an import keeps such a discount
    offer = Offer.objects.get()

    assert operator.get(ADD, {"offer": offer.pk}).status_code == 200
    answer = operator.post(ADD, guesses(offer))

    assert answer.context["errors"] == [["Correct the discount's expression."]]
    assert not Forecast.objects.exists()


def play(now: datetime) -> None:
    """Three teams: two seats each; one full, one with one payment, one with two."""
    make_activity(
        take_limit=5,
        target_count=2,
        valid_minutes=60,
        start_at=now - timedelta(days=1),
        end_at=now + timedelta(days=1),
    )
    for leader, friend, paid in (("a", "b", 2), ("c", "d", 1), ("e", "", 1)):
        team = lock(leader, now=now).team_id
        if friend:
            lock(friend, team_id=str(team), now=now + timedelta(minutes=12))
        for user_id in (leader, friend)[:paid]:
            at = now + timedelta(minutes=13)
            settle(user_id, paid_at=at, now=at)


@pytest.mark.django_db
def test_guesses_start_from_the_last_thirty_days(operator: Client) -> None:
    play(timezone.now() - timedelta(hours=2))
    refund("b", now=timezone.now())

    answer = operator.get(ADD, {"offer": Offer.objects.get().pk})

    initial = answer.context["adminform"].form.initial
    assert initial["visitors"] == 2  # 3 teams in 30 days, 5 % of visitors reserve a seat
    assert initial["joins"] == 0
    played, known = rules(target=2, minutes=60), guess(pays=0.8, friend_minutes=12, returns=0.25)
    spread = fitted_spread(played, known, seats=4 / 3)  # 4 paid seats in 3 teams
    assert initial["spread"] == round(Decimal(spread), 2)
    assert initial["pays"] == Decimal("80.0")  # 4 of 5 seats
    assert initial["returns"] == Decimal("25.0")
    assert initial["friend_minutes"] == 12  # both friends came after this time


@pytest.mark.django_db
def test_the_fact_is_what_the_rows_say(operator: Client) -> None:
    now = timezone.now()
    play(now - timedelta(hours=2))
    operator.post(ADD, guesses(Offer.objects.get(), unit_cost="70.00", fixed_cost="15.00"))
    forecast = Forecast.objects.get()
    forecast.starts_at = now - timedelta(days=1)
    end_overdue_teams(clock=lambda: now)

    fact = report.fact(forecast, now)

    assert fact == report.Campaign(
        opened=3,
        full=1,
        by_shop=0,
        failed=2,
        paid=4,
        kept=2,
        peak=5,
        gmv=Decimal("320.00"),
        refunds=Decimal("160.00"),
        discount=Decimal("40.00"),
        margin=Decimal("5.00"),
    )
    assert fact.completion == Decimal("33.33")


@pytest.mark.django_db
def test_more_orders_than_a_page_can_read_are_not_compared(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    play(now - timedelta(hours=2))
    operator.post(ADD, guesses(Offer.objects.get()))
    forecast = Forecast.objects.get()
    forecast.starts_at = now - timedelta(days=1)

    monkeypatch.setattr(report, "MOST_ORDERS", 5)
    assert report.fact(forecast, now) is not None
    monkeypatch.setattr(report, "MOST_ORDERS", 4)
    assert report.fact(forecast, now) is None


@pytest.mark.django_db
def test_fact_stands_beside_forecast(operator: Client) -> None:
    now = timezone.now()
    play(now - timedelta(hours=2))
    operator.post(ADD, guesses(Offer.objects.get()))
    forecast = Forecast.objects.get()
    url = f"/admin/trade/forecast/{forecast.pk}/change/"

    Forecast.objects.update(starts_at=now - timedelta(days=1))
    meanwhile = operator.get(url).content.decode()
    Forecast.objects.update(starts_at=now - timedelta(days=7))
    after = operator.get(url)

    assert "fact so far" in meanwhile
    assert "compared" not in meanwhile  # it would be below in the first days anyway
    rows = {str(row["label"]): row for row in after.context["rows"]}
    assert "compared" in after.content.decode()
    assert (rows["teams opened"]["fact"], rows["teams opened"]["compared"]) == ("3", "below")


@pytest.mark.django_db
def test_a_forecast_keeps_the_rules_of_its_time(operator: Client) -> None:
    make_activity()
    operator.post(ADD, guesses(Offer.objects.get()))
    Activity.objects.update(target_count=9)

    page = operator.get(f"/admin/trade/forecast/{Forecast.objects.get().pk}/change/")

    assert "3 people within 15 minutes" in page.content.decode()


@pytest.mark.django_db
def test_without_a_history_the_guesses_are_the_default(operator: Client) -> None:
    make_activity()

    answer = operator.get(ADD, {"offer": Offer.objects.get().pk})

    assert answer.context["adminform"].form.initial == {"offer": str(Offer.objects.get().pk)}
