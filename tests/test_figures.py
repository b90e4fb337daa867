"""The figures of the console's first page: each computed from raw rows in another way."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.utils import timezone

from groupbuy.errors import GroupBuyError
from pages.management import history
from pages.management.commands import seed_demo
from tests.factories import NOW, lock, make_activity, make_promise, make_team, refund, settle
from trade.expire import end_overdue_teams
from trade.figures import activities, period, sums
from trade.figures import teams as team_figures
from trade.figures.drawing import Picture, heat, ticks
from trade.figures.period import Business
from trade.figures.pictures import PICTURES
from trade.figures.rows import day_of
from trade.figures.teams import Life, median, survival
from trade.figures.tiles import points, tiles
from trade.models import DailySum, NotifyAttempt, NotifyTask, Order, Team
from trade.refused import refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
DAYS = 6
DAY = timedelta(days=1)
URL = "http://127.0.0.1:9/notify"


@pytest.fixture
def business(monkeypatch: pytest.MonkeyPatch) -> Iterator[Business]:
    """A few days of trade, played, and what the pictures are drawn from."""
    monkeypatch.setattr(history, "TEAMS_A_DAY", 9)
    play = history.play
    monkeypatch.setattr(seed_demo, "play", lambda *a, **k: play(*a, **k, days=DAYS))
    with time_machine.travel(NOW, tick=False):
        call_command("seed_demo", "--history", URL, verbosity=0)
        yield read()


def read(crowds: dict[str, str] | None = None) -> Business:
    today = day_of(NOW)
    return Business(
        NOW,
        period.read(today - DAYS * DAY, today, today=period.today(NOW)),
        {str(pk): str(pk) for pk in Order.objects.values_list("channel", flat=True)},
        {str(pk): str(pk) for pk in Order.objects.values_list("activity", flat=True)},
        crowds or {},
    )


def columns(picture: Picture) -> dict[str, list[Any]]:
    return dict(zip(picture.header, map(list, zip(*picture.rows, strict=True)), strict=True))


def paid_seats() -> Any:
    return Order.objects.exclude(settled_at=None).exclude(
        close_reason__in=["late_payment", "blacklisted"]
    )


def local(moment: datetime) -> date:
    return moment.astimezone(timezone.get_default_timezone()).date()


def test_the_money_settled_and_given_back(business: Business) -> None:
    table = columns(PICTURES["gmv"](business))

    settled, back = Counter[date](), Counter[date]()
    for order in paid_seats():
        settled[local(order.settled_at)] += order.pay_price
        if order.closed_at:
            back[local(order.closed_at)] += order.pay_price
    assert table["GMV settled"] == [settled[day] for day in table["day"]]
    assert table["given back"] == [back[day] for day in table["day"]]
    assert sum(table["GMV settled"]) == sum(settled.values()) > sum(back.values()) > 0
    full = paid_seats().exclude(team__completed_at=None).filter(team__completed_by_shop=False)
    assert sum(table["team full"]) == sum(full.values_list("pay_price", flat=True))


def test_the_completion_rate_leaves_running_teams_out(business: Business) -> None:
    table = columns(PICTURES["completion"](business))

    for n, day in enumerate(table["day"]):
        opened = [team for team in Team.objects.all() if local(team.created_at) == day]
        running = [team for team in opened if team.status == Team.Status.FORMING]
        full = [team for team in opened if team.completed_at and not team.completed_by_shop]
        shop = [team for team in opened if team.completed_by_shop]
        done = len(opened) - len(running)
        assert (table["still forming"][n], table["full"][n]) == (len(running), len(full))
        assert table["completed at its end"][n] == len(shop)
        assert table["failed"][n] == done - len(full) - len(shop)
        assert table["completion rate"][n] == (f"{100 * len(full) / done:.0f} %" if done else "–")
    assert (
        sum(table["still forming"]) == Team.objects.filter(status=Team.Status.FORMING).count() > 0
    )


def test_the_figures_of_each_activity_are_those_of_its_rows(business: Business) -> None:
    table = columns(PICTURES["activities"](business))

    assert len(table["activity"]) > 5
    for n, pk in enumerate(table["activity"]):
        paid = list(paid_seats().filter(activity=pk))
        opened = list(Team.objects.filter(activity=pk))
        full = [team for team in opened if team.completed_at and not team.completed_by_shop]
        done = [team for team in opened if team.status != Team.Status.FORMING]
        back = Order.objects.filter(activity=pk).exclude(paid_at=None).exclude(closed_at=None)
        assert table["GMV settled"][n] == sum(order.pay_price for order in paid)
        assert table["money given back"][n] == sum(order.pay_price for order in back)
        assert (table["teams opened"][n], table["full"][n]) == (len(opened), len(full))
        assert table["still forming"][n] == len(opened) - len(done)
    sums.keep(clock=lambda: NOW)
    assert DailySum.objects.filter(figure="activity").exists()
    for n, pk in enumerate(table["activity"]):
        of_it = activities.of_activity(int(pk), NOW)
        found = (of_it.settled, of_it.returned, of_it.opened, of_it.rate)
        names = ("GMV settled", "money given back", "teams opened", "completion rate")
        assert found == tuple(table[name][n] for name in names)


def test_a_shopper_counts_once_a_day_in_a_stage(business: Business) -> None:
    table = columns(PICTURES["stages"](business))

    def shoppers(orders: Any) -> int:
        return len({(order.user_id, local(order.created_at)) for order in orders})

    in_complete = paid_seats().exclude(team__completed_at=None)
    seated = in_complete.filter(closed_at=None) | in_complete.filter(
        closed_at__gte=F("team__completed_at")
    )
    kept = Order.objects.filter(status=Order.Status.PAID, team__status__in=[1, 3])
    expected = [Order.objects.all(), paid_seats(), seated, kept]
    assert [table[name][0] for name in table if name != "scope"] == list(map(shoppers, expected))
    for n, scope in enumerate(table["scope"][1:], 1):
        mine = Order.objects.filter(activity=scope) | Order.objects.filter(channel=scope)
        assert table["locked"][n] == shoppers(mine)


def test_the_time_to_complete_is_that_of_kaplan_and_meier(business: Business) -> None:
    picture = PICTURES["time-to-complete"](business)

    lives = []  # minutes watched, is full
    for team in Team.objects.filter(target_count=3):
        end = team.completed_at or min(team.expires_at, NOW)
        minutes = math.ceil((end - team.created_at).total_seconds() / 60)
        step = 1 if minutes <= 120 else 10 if minutes <= 1440 else 60
        is_full = team.completed_at is not None and not team.completed_by_shop
        lives.append((math.ceil(minutes / step) * step, is_full))
    found = {row[4]: row[5] for row in picture.rows if row[0] == "3 people"}
    for minutes, share in found.items():
        product = math.prod(
            1 - sum(full and m == at for m, full in lives) / sum(m >= at for m, _full in lives)
            for at in {m for m, full in lives if full and m <= minutes}
        )
        assert share == f"{100 * product:.1f} %"
    assert set(found) == {0} | {minutes for minutes, full in lives if full}


def test_the_seats_that_were_missing_when_time_was_up(business: Business) -> None:
    picture = PICTURES["stalled"](business)

    expected: dict[int, Counter[int]] = {}
    for team in Team.objects.exclude(status=Team.Status.FORMING):
        if team.completed_at and not team.completed_by_shop:
            continue
        end = team.completed_at or team.expires_at
        there = sum(
            order.settled_at <= end + timedelta(minutes=2)
            and (order.closed_at is None or order.closed_at >= end)
            for order in paid_seats().filter(team=team)
        )
        found = expected.setdefault(team.target_count, Counter())
        found[min(team.target_count - there, 8)] += 1
    assert {row[0]: list(row[1:]) for row in picture.rows} == {
        size: [found[n] for n in range(1, 9)] for size, found in expected.items()
    }
    assert sum(expected[3].values()) > 3


def test_what_became_of_the_seats_of_a_day(business: Business) -> None:
    table = columns(PICTURES["seats"](business))

    for n, day in enumerate(table["day"]):
        locked = [order for order in Order.objects.all() if local(order.created_at) == day]
        paid = [order for order in paid_seats() if local(order.created_at) == day]
        held = [order for order in locked if order.status == Order.Status.LOCKED]
        assert (table["locked"][n], table["paid"][n]) == (len(locked), len(paid))
        assert table["still held"][n] == len(held)
        assert table["released unpaid"][n] == len(locked) - len(paid) - len(held)
    assert sum(table["released unpaid"]) > 0


def test_the_minutes_from_lock_to_payment(business: Business) -> None:
    picture = PICTURES["wait"](business)

    minutes = sorted(
        (order.settled_at - order.created_at).total_seconds() // 60 for order in paid_seats()
    )
    assert sorted(Counter(minutes).items()) == [tuple(row) for row in picture.rows]
    assert picture.fact == f"median {minutes[(len(minutes) + 1) // 2 - 1] + 1:.0f} min"


def test_the_locks_of_an_hour_on_average(business: Business) -> None:
    picture = PICTURES["hours"](business)

    days = [business.period.first + n * DAY for n in range(DAYS + 1)]
    zone = timezone.get_default_timezone()
    moments = [order.created_at.astimezone(zone) for order in Order.objects.all()]
    for weekday, row in enumerate(picture.rows):
        times = sum(day.weekday() == weekday for day in days)
        for hour, shown in enumerate(row[1:]):
            locks = sum((at.weekday(), at.hour) == (weekday, hour) for at in moments)
            assert shown == f"{locks / (times or 1):.1f}"


def test_teams_that_miss_one_and_end_within_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(NOW, tick=False):
        make_activity(target_count=2, valid_minutes=90, start_at=NOW - DAY)
        teams = [
            make_team(user, now=NOW - timedelta(minutes=ago)).pk
            for user, ago in (("a", 29), ("b", 31), ("c", 85))
        ]
        make_team("d", "e", now=NOW - timedelta(minutes=60))

        picture = PICTURES["nearly-full"](read())
        monkeypatch.setattr(team_figures, "LISTED", 1)
        shorter = PICTURES["nearly-full"](read())

    ours = [str(teams[2]), str(teams[1])]
    assert picture.rows == [(ours[0], "100123", 2, 5), (ours[1], "100123", 2, 59)]
    assert picture.drawing.summary == "2 teams miss one and end within the hour."
    assert (shorter.rows, shorter.drawing.summary) == (picture.rows[:1], picture.drawing.summary)


def test_refunds_that_the_mall_has_not_confirmed() -> None:
    with time_machine.travel(NOW, tick=False):
        make_activity(target_count=3, valid_minutes=9999, start_at=NOW - 9 * DAY, take_limit=9)
        for hours, user in ((0.5, "a"), (1, "b"), (5.9, "c"), (30, "d"), (80, "e"), (90, "f")):
            at = NOW - timedelta(hours=hours)
            lock(user, now=at)
            settle(user, paid_at=at, now=at)
            refund(user, now=at)
        lock("unpaid")
        refund("unpaid")
        tasks = {task.created_at: task for task in NotifyTask.objects.order_by("pk")}
        for hours, state in ((90, 3), (80, 1), (5.9, 2)):
            NotifyTask.objects.filter(pk=tasks[NOW - timedelta(hours=hours)].pk).update(state=state)

        picture = PICTURES["refund-ages"](read())

    zero, money = (Decimal(0), 0), (Decimal(80), 1)
    assert [tuple(row[1:]) for row in picture.rows] == [
        (*money, *zero, *zero),
        (*money, *money, *zero),
        (*zero, *zero, *zero),
        (*money, *zero, *zero),
        (*zero, *zero, *money),
    ]
    assert picture.fact == "¥400"


def test_callbacks_by_endpoint() -> None:
    with time_machine.travel(NOW, tick=False):
        good, bad = (make_promise(name, endpoint=name, state=state) for name, state in
                     (("good:80", 1), ("bad:80", 2)))  # fmt: skip
        make_promise("older", endpoint="bad:80", state=3, created_at=NOW - timedelta(hours=3))
        for number in range(1, 21):
            for task, error in ((good, ""), (bad, "answered 503" if number % 4 else "")):
                NotifyAttempt.objects.create(
                    task=task, number=number, started_at=NOW, duration_ms=number, error=error
                )

        picture = PICTURES["callbacks"](read())

    assert picture.rows == [
        ["bad:80", 20, 5, "25 %", "10 ms", "19 ms", "3 h"],
        ["good:80", 20, 20, "100 %", "10 ms", "19 ms", "–"],
    ]


def test_a_crowd_is_the_sum_of_its_activities(business: Business) -> None:
    table = columns(PICTURES["stages"](business))
    first, second = table["scope"][-2:]
    columns_of = {row[0]: row[1:] for row in PICTURES["stages"](business).rows}

    rows = PICTURES["stages"](read({first: "Fans", second: "Fans"})).rows

    both = [a + b for a, b in zip(columns_of[first], columns_of[second], strict=True)]
    assert rows[-1] == ["crowd: Fans", *both]
    assert both[0] > 0


def test_refused_locks_by_code() -> None:
    with time_machine.travel(NOW, tick=False):
        make_activity(target_count=2, take_limit=1)
        team = make_team("leader", "friend")
        for user, team_id, error in (
            ("late", str(team.pk), "E0006"),
            ("later", str(team.pk), "E0006"),
            ("leader", "", "E0103"),
        ):
            with pytest.raises(GroupBuyError, match=error):
                lock(user, out_trade_no=f"{user}-again", team_id=team_id)
        picture = PICTURES["refused"](read())
        refused.write()
        refused.write()  # nothing new

        written = PICTURES["refused"](read())

    assert picture.rows == []
    assert written.rows == [
        ["E0006", "The team is full", str(team.channel_id), 2],
        ["E0103", "This user has reached the activity's limit", str(team.channel_id), 1],
    ]
    assert written.fact == "3"


def test_the_numbers_of_the_page(business: Business, operator: Client) -> None:
    page = operator.get("/admin/")

    today = day_of(NOW)
    shown = {tile.title: tile.cells for tile in page.context["tiles"]}
    week = [today - n * DAY for n in range(1, 8)]
    gmv = sum(order.pay_price for order in paid_seats() if local(order.settled_at) in week)
    back: Any = Order.objects.exclude(paid_at=None).exclude(closed_at=None)
    assert shown["GMV settled"][1].value == f"¥{gmv:,.0f}"
    yesterday = sum(order.pay_price for order in back if local(order.closed_at) == week[0])
    assert shown["Money given back"][0].before == (f"¥{yesterday:,.0f}" if yesterday else "–")
    opened = [team for team in Team.objects.all() if local(team.created_at) == today]
    assert shown["Teams opened"][0].value == (f"{len(opened)}" if opened else "–")
    done: Any = Team.objects.exclude(completed_at=None)
    last_week = [team for team in done if local(team.completed_at) in week]
    assert shown["Teams completed"][1].value == f"{len(last_week)}"
    waiting = Order.objects.filter(status=Order.Status.PAID, team__status=Team.Status.FORMING)
    assert page.context["waiting"]["seats"] == waiting.count() > 0


def test_shares_are_compared_in_percentage_points() -> None:
    assert [points(0.684, 0.636), points(0.5, 0.5), points(0.5, None)] == ["+4 pp", "+0 pp", ""]
    assert points(0.5, 0.0) == "+50 pp"


def test_a_day_on_which_no_team_was_filled_has_a_rate() -> None:
    with time_machine.travel(NOW, tick=False):
        make_activity(valid_minutes=15)
        make_team("a", now=NOW - timedelta(minutes=20))
        assert end_overdue_teams(clock=lambda: NOW) == 1
        shown = {tile.title: tile.cells for tile in tiles(read())}

    assert [cell.value for cell in shown["Completion rate"]] == ["0 %", "–", "–"]
    assert shown["Teams completed"][0].value == "–"


@pytest.mark.parametrize(
    ("days", "span"), [(1, "today"), (7, "7 days including today"), (30, "30 days including today")]
)
def test_every_number_names_its_days(
    days: int, span: str, business: Business, operator: Client
) -> None:
    answer = operator.get(f"/admin/?days={days}", headers={"Accept-Language": "en"})

    page = answer.content.decode()
    facts = {picture.name: picture.fact for picture in answer.context["pictures"]}
    [today] = [tile.cells for tile in answer.context["tiles"] if tile.title == "GMV settled"]
    assert f"<h2>Charts: {span}</h2>" in page
    assert "30 days before today" in page
    assert facts["gmv"].endswith(f" · {span}")
    assert facts["completion"].endswith(f" · {span}")
    assert "today" not in facts["refund-ages"]  # right now
    if days == 1:
        assert facts["gmv"] == f"{today[0].value} · today"


def test_chinese_texts_have_chinese_colons(business: Business, operator: Client) -> None:
    page = operator.get("/admin/", headers={"Accept-Language": "zh-hans"}).content.decode()

    texts = re.findall(r"<title>([^<]+)</title>|aria-label=\"([^\"]+)\"|</svg>([^<]+)</li>", page)
    found = ["".join(each) for each in texts]
    assert sum("：" in text for text in found) > 100  # titles of bars, legends, summaries
    assert [text for text in found if re.search("[:;,] ", text)] == []


def test_the_median_of_a_curve() -> None:
    lives = [(Life(3, 10, True), 4), (Life(3, 15, False), 2), (Life(3, 20, True), 2)]

    curve = survival(lives)

    assert curve == [(0, 1.0), (10, 0.5), (20, 0.0)]
    assert median(curve) == 10
    assert median(survival([(Life(3, 10, False), 5)])) is None


def test_a_csv_has_the_rows_of_the_table(business: Business, operator: Client) -> None:
    pictures = operator.get("/admin/?days=7").context["pictures"]

    for picture in pictures:
        answer = operator.get(f"/admin/figures/{picture.name}.csv?days=7")
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        found = list(csv.reader(StringIO(answer.content.decode("utf-8-sig"))))
        assert found[0] == list(picture.header)
        assert found[1:] == [[str(each) for each in row] for row in picture.rows]
    assert [picture.name for picture in pictures] == list(PICTURES)


def test_the_page_reads_the_same_few_times_however_long_the_period(
    business: Business, operator: Client, django_assert_max_num_queries: Any
) -> None:
    for days in (7, 90):
        with django_assert_max_num_queries(45):
            page = operator.get(f"/admin/?days={days}")
        assert page.status_code == 200
        assert page.context["days"] == days
    assert operator.get("/admin/?days=x").context["days"] == 30


def test_an_empty_database_has_pictures_too(operator: Client) -> None:
    page = operator.get("/admin/")

    assert page.status_code == 200
    assert len(page.context["pictures"]) == len(PICTURES)


def test_a_user_who_may_not_see_orders_sees_no_figures(
    client: Client, django_user_model: Any
) -> None:
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))

    assert "pictures" not in client.get("/admin/").context
    assert client.get("/admin/figures/gmv.csv").status_code == 403
    client.logout()
    assert client.get("/admin/figures/gmv.csv").status_code == 302


def test_there_is_no_picture_of_another_name(operator: Client) -> None:
    assert operator.get("/admin/figures/other.csv").status_code == 404


def test_ticks_are_round_and_cover_the_values() -> None:
    assert ticks(93) == [0, 20, 40, 60, 80, 100]
    assert ticks(0) == [0, 1]
    assert ticks(11_000, low=-1700) == [-5000, 0, 5000, 10_000, 15_000]


def test_the_busiest_hour_has_the_darkest_of_the_five_shades() -> None:
    """Averages by weekday are no whole numbers, and rounding must not make a sixth shade."""
    busiest = {heat(count / days, count / days) for count in range(1, 300) for days in (4, 12, 13)}

    assert busiest == {"heat-5"}
    assert [heat(each, 10) for each in (0, 1, 2, 3, 9)] == [
        "heat-0", "heat-1", "heat-1", "heat-2", "heat-5",
    ]  # fmt: skip
