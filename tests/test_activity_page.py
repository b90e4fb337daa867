"""The page of an activity: figures, prices, teams, warnings, and what a change means."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from activity.discounts import Plan
from activity.models import Activity, Offer, Sku
from activity.warnings import warnings
from tag.crowd import add_members
from tag.models import CrowdTag
from tests.factories import NOW, make_activity, make_channel, make_discount, make_team, refund
from tests.forms import Fields, as_sent
from trade.models import Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock", "english")]
URL = "/admin/activity/activity/100123/change/"
Status = Activity.Status


def text_of(client: Client, url: str = URL) -> str:
    return " ".join(client.get(url).content.decode().split())


def test_the_page_shows_figures_prices_and_teams(operator: Client) -> None:
    make_activity(target_count=2)
    full = make_team("a", "b", paid=2)
    make_team("c", paid=1)
    refund("b")
    page = text_of(operator)

    for name, value in (
        ("GMV settled", "¥240"),
        ("Money given back", "¥80"),
        ("Seats paid", "3"),
        ("Teams opened", "2"),
        ("Teams full", "1"),
        ("Completion rate", "100 %"),
        ("Teams open", "1"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert "<strong>100.00 → 80.00</strong>" in page
    assert f">{full.pk}</a>" in page
    assert f'href="/admin/preview/100123/{Offer.objects.get().pk}/"' in page
    assert "/admin/activity/activity/explain/?channel=" in page
    assert "Nothing was changed in the console yet." in page


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Selling: shoppers can open and join teams until 2036-05-01 12:30."),
        (
            {"start_at": NOW + timedelta(minutes=5)},
            "Published: shoppers can open teams from 2036-05-01 12:05 until 2036-05-01 12:30.",
        ),
        (
            {"end_at": NOW},
            "Its end, 2036-05-01 12:00, has passed: nobody can open a team any more.",
        ),
        (
            {"status": Status.CREATED},
            "A draft: shoppers do not see it yet. Look at its preview, its explanation and a"
            " forecast, then publish it: it sells from 2036-05-01 11:30 until 2036-05-01 12:30.",
        ),
        (
            {"status": Status.CREATED, "end_at": NOW},
            "A draft whose end, 2036-05-01 12:00, has passed: move the end, then publish it.",
        ),
        (
            {"status": Status.PAUSED},
            "Paused: nobody can open or join a team. Resume it, or close it.",
        ),
        (
            {"status": Status.EXPIRED},
            "Over since 2036-05-01 12:30. Extend it to sell again, or copy it for another time.",
        ),
        (
            {"status": Status.ABANDONED},
            "Closed: nobody can open or join a team. To sell again, copy it.",
        ),
    ],
)
def test_the_page_begins_with_where_the_activity_stands(
    operator: Client, fields: dict[str, Any], text: str
) -> None:
    make_activity(**fields)
    page = text_of(operator)

    assert f"<strong>{text}</strong>" in page
    assert ("Teams opened" in page) == (fields.get("status") != Status.CREATED)


def test_a_new_activity_leads_to_its_page_which_says_what_is_missing(operator: Client) -> None:
    form = as_sent(operator.get("/admin/activity/activity/add/"))
    days = {"start_at_0": "2036-05-02", "end_at_0": "2036-05-03"}
    times = {"start_at_1": "10:00:00", "end_at_1": "10:00:00"}
    rules = {"discount": make_discount().pk, "target_count": 2, "valid_minutes": "1 d"}
    answer = operator.post(
        "/admin/activity/activity/add/", form | {"name": "x"} | days | times | rules
    )

    url = f"/admin/activity/activity/{Activity.objects.get().pk}/change/"
    assert answer["Location"] == url
    assert "A draft without goods: add an offer" in text_of(operator, url)


@pytest.mark.parametrize("day", ["0001-01-01", "1999-12-31", "2100-01-01", "9999-12-31"])
def test_a_year_far_away_is_refused_at_its_field(operator: Client, day: str) -> None:
    activity = make_activity()
    sent = as_sent(operator.get(URL))
    page = operator.post(URL, sent | {"start_at_0": day})

    errors = page.context["adminform"].form.errors
    assert errors["start_at"] == ["Enter a year from 2000 to 2099."]
    before = activity.start_at
    activity.refresh_from_db()
    assert activity.start_at == before


def test_errors_come_first_and_not_below_figures_of_what_was_not_saved(operator: Client) -> None:
    make_activity()
    make_team("a")
    sent = as_sent(operator.get(URL))
    page = operator.post(URL, sent | {"target_count": 5}).content.decode()

    assert "Please correct the errors below." in page
    assert 'class="campaign"' not in page


def test_figures_and_teams_need_the_permission_to_see_orders() -> None:
    make_activity()
    make_team("a")
    user = User.objects.create_user("goods", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_activity"))
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    page = text_of(client)

    assert "100.00 → 80.00" in page
    assert "Teams opened" not in page
    assert str(Team.objects.get().pk) not in page


def test_a_change_of_the_rules_says_how_many_open_teams_keep_the_old_ones(
    operator: Client,
) -> None:
    make_activity()
    make_team("a")
    make_team("b")
    sent = as_sent(operator.get(URL))
    change = {"target_count": 5, "reason": "busy"}
    page = operator.post(URL, sent | change, follow=True).content.decode()

    assert "2 open teams keep the old rules" in page
    assert Activity.objects.get().target_count == 5
    assert set(Team.objects.values_list("target_count", flat=True)) == {3}
    page = operator.post(URL, sent | {"target_count": 5, "name": "x"}, follow=True).content.decode()
    assert "keep the old rules" not in page
    # A team has no crowd of its own: joining looks at that of its activity.
    change = {"target_count": 5, "crowd": CrowdTag.objects.create(tag_id="A", name="A").pk}
    sent = as_sent(operator.get(URL))
    page = operator.post(URL, sent | change | {"reason": "x"}, follow=True).content.decode()
    assert Activity.objects.get().crowd is not None
    assert "keep the old rules" not in page


@pytest.mark.parametrize("model", ["sku", "discount"])
def test_a_change_of_the_price_says_how_many_open_teams_keep_the_old_one(
    operator: Client, model: str
) -> None:
    activity = make_activity()
    make_team("a")
    row = Sku.objects.get() if model == "sku" else activity.discount
    url = f"/admin/activity/{model}/{row.pk}/change/"
    sent = as_sent(operator.get(url))
    change = {"original_price": "120"} if model == "sku" else {"expression": "30"}
    body = sent | {"description": ""} | change
    page = operator.post(url, body | {"reason": "sale"}, follow=True).content.decode()

    assert "1 open team keeps the old rules" in page


@pytest.mark.parametrize("model", ["activity", "sku", "discount"])
def test_a_change_of_price_or_target_needs_a_reason_once_shoppers_see_it(
    operator: Client, model: str
) -> None:
    activity = make_activity()
    rows: dict[str, Any] = {
        "activity": activity,
        "sku": Sku.objects.get(),
        "discount": activity.discount,
    }
    url = f"/admin/activity/{model}/{rows[model].pk}/change/"
    form = operator.get(url).content.decode()
    sent = Fields(form).values
    change = {"target_count": "5", "original_price": "120", "expression": "30"}

    page = operator.post(url, sent | change).content.decode()

    assert form.count('name="reason"') == 1  # of two fields, the browser's last one would count
    assert "Say why the price or the number of people per team changes." in page
    rows[model].refresh_from_db()
    assert (activity.target_count, Sku.objects.get().original_price) == (3, Decimal(100))
    assert activity.discount.expression == "20"
    assert operator.post(url, sent | {"name": "other"}).status_code == 302  # no reason is needed
    Activity.objects.update(status=Activity.Status.CREATED)
    sent = as_sent(operator.get(url))
    assert operator.post(url, sent | change).status_code == 302  # nobody sees a draft
    rows[model].refresh_from_db()
    value = {"activity": "target_count", "sku": "original_price", "discount": "expression"}[model]
    assert str(getattr(rows[model], value)) in ("5", "120.00", "30")


def test_goods_on_two_channels_are_one_warning() -> None:
    activity = make_activity()
    sku = activity.offers.get().sku
    Offer.objects.create(channel=make_channel("s02", "c02"), sku=sku, activity=activity)
    Sku.objects.update(cost_price=90)

    assert warnings(activity, NOW) == [
        "9890001 a book: the team price 80.00 is below its cost of 90.00."
    ]


def crowd_of(*users: str) -> CrowdTag:
    tag = CrowdTag.objects.create(tag_id="vip", name="vip")
    add_members(tag, users)
    CrowdTag.objects.filter(pk="vip").update(size=len(users))
    tag.refresh_from_db()
    return tag


def test_a_sound_activity_has_no_warning() -> None:
    activity = make_activity(status=Activity.Status.CREATED)
    Sku.objects.update(cost_price=80)

    assert warnings(activity, NOW) == []


def test_warnings_of_price_and_time() -> None:
    activity = make_activity(valid_minutes=31)
    Sku.objects.update(cost_price=Decimal("80.01"))

    assert warnings(activity, NOW) == [
        "9890001 a book: the team price 80.00 is below its cost of 80.01.",
        "A team has 31 minutes, and the activity ends at 2036-05-01 12:30: teams will still be"
        " forming after its end.",
    ]
    activity.status = Activity.Status.ABANDONED
    assert warnings(activity, NOW) == []


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ((), ["Nobody belongs to the crowd vip: nobody can join."]),
        (("a", "b"), ["The crowd vip has 2 members, and a team needs 3 people."]),
        (("a", "b", "c"), []),
    ],
)
def test_warnings_of_the_crowd(users: tuple[str, ...], said: list[str]) -> None:
    activity = make_activity(crowd=crowd_of(*users), restrict_join=True)

    assert warnings(activity, NOW) == said


def test_warnings_of_overlap_and_of_an_activity_for_nobody() -> None:
    activity = make_activity()
    other = make_activity(2, name="other", discount=make_discount(Plan.MINUS, "10"), cut_range=0)

    [said] = warnings(activity, NOW)
    assert said == f"9890001 a book on {make_channel()} is also offered by 2 other at that time."
    assert warnings(other, NOW)[1] == "It admits 0 per cent of the users: nobody can see it."
    other.offers.all().delete()
    assert warnings(other, NOW)[0] == "It offers no goods: add an offer."


def test_the_page_of_a_draft_warns(operator: Client) -> None:
    make_activity(status=Activity.Status.CREATED)
    Sku.objects.update(cost_price=90)

    page = text_of(operator)
    assert "the team price 80.00 is below its cost of 90.00." in page
    assert "Check before publishing" in page
    Activity.objects.update(status=Activity.Status.IN_EFFECT)
    assert "Check before publishing" not in text_of(operator)
