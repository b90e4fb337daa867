"""The explained trial has the trial's verdict on every rule, and advice that helps."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from activity.discounts import Plan
from activity.explain import Step, explain
from activity.models import Activity, Discount, Offer
from activity.trial import Trial, TrialQuery
from groupbuy import switches
from groupbuy.errors import ErrorCode
from tag.crowd import add_members
from tag.models import CrowdTag
from tests.factories import GOODS, NOW, make_activity, make_discount, set_switch

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
DAY = timedelta(days=1)


def explained(
    user_id: str = "u", *, activity_id: int | None = None, **later: int
) -> tuple[Trial, dict[str, Step]]:
    query = TrialQuery(user_id, "s01", "c01", GOODS, activity_id)
    trial, steps = explain(query, now=NOW + timedelta(**later))
    return trial, {step.rule: step for step in steps}


def refused(steps: dict[str, Step]) -> dict[str, str]:
    return {rule: step.advice for rule, step in steps.items() if step.refused}


def test_a_user_who_may_join_passes_every_rule() -> None:
    make_activity()

    trial, steps = explained()

    assert trial.refusals == ()
    assert refused(steps) == {}
    assert [step.advice for step in steps.values()] == [""] * 7
    assert steps["The discount can be calculated"].saw == "ZJ 20: 100.00 → 80.00"


def test_the_switches_are_explained() -> None:
    make_activity()
    bucket = switches.bucket("u")
    set_switch("downgradeSwitch", "1")
    set_switch("cutRange", str(bucket - 1))

    trial, steps = explained()

    assert trial.refusals == (ErrorCode.DOWNGRADED, ErrorCode.OUTSIDE_CUT_RANGE)
    assert refused(steps) == {
        "Group buying is switched on": "Set the switch “Refuse every trial” to 0.",
        "The switch “Percentage of users admitted” admits this user": (
            f"Set the switch “Percentage of users admitted” to {bucket} or more."
        ),
    }
    set_switch("downgradeSwitch", "0")
    set_switch("cutRange", str(bucket))
    assert explained()[0].refusals == ()  # the advice helps


def test_a_missing_offer_ends_the_explanation() -> None:
    make_activity()
    Offer.objects.all().delete()

    trial, steps = explained()

    assert trial.refusals == (ErrorCode.NO_OFFER,)
    assert list(refused(steps)) == ["There is an offer"]
    assert len(steps) == 3


def test_the_activitys_rules_are_explained() -> None:
    crowd, cheap = (CrowdTag.objects.create(tag_id=tag, name=tag) for tag in ("RQ", "CHEAP"))
    activity = make_activity(
        crowd=crowd,
        restrict_join=True,
        cut_range=0,
        status=Activity.Status.ABANDONED,
        discount=make_discount(crowd=cheap),
    )

    trial, steps = explained(activity_id=activity.pk)

    assert trial.refusals == (
        ErrorCode.OUTSIDE_CUT_RANGE,
        ErrorCode.OUTSIDE_CROWD,
        ErrorCode.ACTIVITY_NOT_IN_EFFECT,
    )
    advice = refused(steps)
    assert list(advice) == [
        "The activity admits this user",
        "The user is in the activity's crowd",
        "The user is in the discount's crowd",
        "The activity is in effect",
    ]
    add_members(crowd, ["u"])
    add_members(cheap, ["u"])
    words = advice["The activity admits this user"].split()
    activity.cut_range, activity.status = int(words[1]), Activity.Status.IN_EFFECT
    activity.save()
    assert refused(explained(activity_id=activity.pk)[1]) == {}  # the advice helps


def test_another_moment_is_explained() -> None:
    activity = make_activity()

    trial, steps = explained(activity_id=activity.pk, hours=1)

    assert trial.refusals == (ErrorCode.OUTSIDE_WINDOW,)
    assert list(refused(steps)) == ["The moment is within the activity's window"]


def test_a_discount_that_cannot_be_calculated_is_explained() -> None:
    make_activity()
    Discount.objects.update(plan=Plan.RATE, expression="cheap")

    trial, steps = explained()

    assert trial.refusals == (ErrorCode.UNKNOWN_DISCOUNT,)
    assert steps["The discount can be calculated"].saw == "ZK cheap: ?"


def test_the_console_explains(operator: Client) -> None:
    activity = make_activity()
    offer = activity.offers.get()
    page = "/admin/activity/activity/explain/"
    asked: dict[str, Any] = {
        "channel": offer.channel_id,
        "sku": offer.sku_id,
        "user_id": "u",
    }

    assert "There is an offer" not in operator.get(page).content.decode()
    may_join = operator.get(page, asked | {"at": "2036-05-01T12:00"}).content.decode()
    refused = operator.get(page, asked | {"at": "2036-05-09T12:00"}).content.decode()
    unreadable = operator.get(page, asked | {"at": "soon"}).content.decode()

    assert "May join, for 80.00." in may_join
    assert "No group-buying offer for these goods <small>E0002</small>" in refused
    assert "cutRange" not in may_join
    assert "downgradeSwitch" not in may_join
    error = "At that time: “soon” is not a date and time such as 2026-05-01 12:30."
    assert error in unreadable
    viewer = Client()
    viewer.force_login(User.objects.create_user("nobody", is_staff=True))
    assert viewer.get(page).status_code == 403


@pytest.mark.parametrize("at", ["0001-01-01T00:00", "9999-12-31T23:59", "1999-12-31T23:59:59"])
def test_the_console_refuses_years_far_away_and_keeps_the_text(operator: Client, at: str) -> None:
    channel = make_activity().offers.get().channel_id
    asked = {"channel": str(channel), "user_id": "u", "at": at}

    page = operator.get("/admin/activity/activity/explain/", asked).content.decode()

    assert f"At that time: “{at}” is not in the years 2000 to 2099." in page
    assert f'<input type="datetime-local" name="at" value="{at}"' in page


@pytest.mark.parametrize("at", ["soon", "2036-02-31T12:00", "2036-05-01 12:00+08:00 or so"])
def test_a_text_that_the_picker_would_drop_stays_in_a_plain_field(
    operator: Client, at: str
) -> None:
    page = operator.get("/admin/activity/activity/explain/", {"user_id": "u", "at": at})

    assert f'<input type="text" name="at" value="{at}"' in page.content.decode()


TRIAL = "/api/v1/gbm/trade/trial"
ASKED = {"userId": "u", "source": "s01", "channel": "c01", "goodsId": GOODS}


def test_the_api_explains_to_an_operator(operator_api: APIClient) -> None:
    make_activity(cut_range=0)

    body = operator_api.post(
        TRIAL, ASKED | {"explain": True, "at": "2036-05-01T04:00:00+00:00"}, format="json"
    ).json()

    assert body["code"] == "E0004"
    refused = [step for step in body["data"]["explanation"] if step["refused"]]
    [step] = refused
    assert step["rule"] == "The activity admits this user"
    assert step["saw"].startswith("0 per cent; this user is admitted from ")
    assert step["advice"].endswith(" per cent or more to the activity.")
    unexplained = operator_api.post(TRIAL, ASKED, format="json").json()
    assert unexplained["code"] == "E0002"  # now, and not in 2036
    assert "explanation" not in unexplained["data"]
    unreadable = operator_api.post(TRIAL, ASKED | {"at": "soon"}, format="json").json()
    assert unreadable["code"] == "0002"
    assert "at:" in unreadable["info"]


def test_a_mall_gets_no_explanation_and_no_other_moment(mall: APIClient) -> None:
    make_activity()

    body = mall.post(
        TRIAL, ASKED | {"explain": True, "at": "2036-05-01T04:00:00+00:00"}, format="json"
    ).json()

    assert body["code"] == "E0002"
    assert "explanation" not in body["data"]
    assert mall.post(TRIAL, ASKED | {"at": "soon"}, format="json").json()["code"] == "E0002"


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (0, "The next activity: 2 spring (draft), from 2036-05-02 12:00"),
        (1, "The next activity: 2 spring (in effect), from 2036-05-02 12:00"),
        (3, "Offer these goods on this channel by an activity that is in effect at that time."),
    ],
)
def test_without_an_activity_the_next_one_is_named(status: int, advice: str) -> None:
    make_activity(1, end_at=NOW)
    make_activity(2, name="spring", status=status, start_at=NOW + DAY, end_at=NOW + 2 * DAY)
    make_activity(3, start_at=NOW + 5 * DAY, end_at=NOW + 6 * DAY, status=status)

    assert refused(explained()[1])["There is an offer"] == advice
