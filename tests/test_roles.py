"""The roles of the console: every cell of the table in docs/console.md is tried."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from activity.models import Offer
from groupbuy import proposals
from groupbuy.models import ApiKey, Channel, Switch
from tag import crowd
from tag.models import CrowdMember, CrowdTag
from tests.factories import lock, make_activity, make_channel, make_promise
from tests.test_jobs import make_job
from trade.forecast import report
from trade.models import Forecast

pytestmark = pytest.mark.django_db
DOC = (Path(__file__).parent.parent / "docs/console.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\|.*\|$", DOC, re.M)
]
ROLES = ROWS[0][1:]
WHAT = {cells[0]: cells[1:] for cells in ROWS[2:]}
Try = Callable[[Client], bool]


@pytest.fixture(autouse=True)
def _data() -> None:
    make_activity(pk=100123)
    lock("a")
    tag = CrowdTag.objects.create(tag_id="RQ", name="crowd")
    crowd.add_members(tag, ["a"])
    make_job(tag_id="other")
    make_promise()
    AccessAttempt.objects.create(username="x", ip_address="10.0.0.1", failures_since_start=9)
    forecast = Forecast(offer=Offer.objects.get(), created_at=timezone.now())
    report.fill(forecast)
    forecast.save()
    ApiKey.issue(channel=make_channel(), name="k")[0].save()
    CrontabSchedule.objects.get_or_create(hour="4")
    every = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="sweep", task="trade.tasks.sweep", interval=every)
    root = User.objects.create_superuser("root")
    switch = Switch(key="cutRange", value="30")
    proposals.propose(switch, ["value"], "r", by=root, now=timezone.now())
    User.objects.create_user("colleague")


def opens(*pages: str) -> Try:
    """Are these pages shown? Fails unless all or none of them are."""
    return lambda client: agreed([client.get(url_of(page)).status_code for page in pages])


def changes(*models: str, verbs: tuple[str, ...] = ("add", "change", "delete")) -> Try:
    """May rows be added, changed and deleted? The permitted get an error of the empty form only."""

    def attempt(client: Client) -> bool:
        answers = []
        for model in models:
            if "add" in verbs:
                answers.append(client.post(url_of(f"{model}/add/")).status_code)
            if "change" in verbs:
                answers.append(client.post(url_of(f"{model}/*/change/")).status_code)
            if "delete" in verbs:
                answers.append(client.get(url_of(f"{model}/*/delete/")).status_code)
        return agreed(answers)

    return attempt


def agreed(answers: list[int]) -> bool:
    assert answers
    assert set(answers) <= {200, 302} or set(answers) == {403}, answers
    return answers[0] != 403


def url_of(page: str) -> str:
    """The URL of a page; * in it is the key of a row."""
    app, model = page.split("/")[:2]
    keys = {
        "activity/activity": "100123",
        "groupbuy/switch": "cutRange",
        "auth/user": User.objects.get(username="colleague").pk,
        "tag/crowdmember": getattr(CrowdMember.objects.first(), "pk", ""),
    }
    if "*" in page:
        rows: Any = apps.get_model(app, model)._default_manager
        key = keys.get(f"{app}/{model}") or rows.first().pk
        page = page.replace("*", str(key))
    return f"/admin/{page}"


def secrets(client: Client) -> bool:
    channel = Channel.objects.get()
    page = client.get(url_of("groupbuy/channel/*/change/")).content.decode()
    may = changes("groupbuy/channel")(client)
    assert (channel.webhook_secret in page, channel.page_secret in page) == (may, may)
    return may


def superusers(client: Client) -> bool:
    """May accounts of superusers be changed, or other accounts be made superusers?"""
    root, other = User.objects.get(username="root"), User.objects.get(username="colleague")
    base = f"/admin/auth/user/{root.pk}/"
    refused = [
        client.post(f"{base}{page}/").status_code for page in ("change", "delete", "password")
    ]
    body = {"username": other.username, "is_superuser": "on", "is_active": "on"}
    body |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    body |= {"totpdevice_set-TOTAL_FORMS": "0", "totpdevice_set-INITIAL_FORMS": "0"}
    client.post(f"/admin/auth/user/{other.pk}/change/", body)
    other.refresh_from_db()
    assert set(refused) == {403}
    return other.is_superuser


SELLING = ("activity/activity", "activity/offer", "activity/sku", "activity/discount")
CROWDS = ("tag/crowdtag", "tag/crowdmember", "tag/crowdjob")
TRADE = ("trade/order", "trade/team", "trade/notifytask")
TRIES: dict[str, Try] = {
    "See orders, teams and notifications": opens(
        *(f"{model}/" for model in TRADE), *(f"{model}/*/change/" for model in TRADE)
    ),
    "See activities, offers, goods, discounts and forecasts": opens(
        *(f"{model}/" for model in SELLING), "trade/forecast/", "trade/forecast/*/change/"
    ),
    "See crowds, their members and jobs": opens(*(f"{model}/" for model in CROWDS)),
    "See channels without their secrets, and switches": opens(
        "groupbuy/channel/*/change/", "groupbuy/switch/*/change/"
    ),
    "Explain why a user may join, or is in a crowd": opens(
        "activity/activity/explain/", "tag/crowdjob/why/"
    ),
    "Preview what a shopper sees": lambda client: opens(
        f"preview/100123/{Offer.objects.get().pk}/page/"
    )(client),
    "See changes that wait for a second person": opens(
        "groupbuy/proposal/", "groupbuy/proposal/*/change/"
    ),
    "Send notifications again": opens("trade/notifytask/replay/", "trade/notifytask/*/send-again/"),
    "Give orders back": opens("trade/order/*/give-back/"),
    "Unblock clients": opens("groupbuy/switch/blocked/"),
    "Complete teams and end them": opens("trade/team/*/complete/", "trade/team/*/fail/"),
    "Publish, pause and close activities": opens(
        *(f"activity/activity/*/{step}/" for step in ("publish", "pause", "resume")),
        *(f"activity/activity/*/{step}/" for step in ("close", "close-now")),
    ),
    "Change activities, offers, goods and discounts": changes(*SELLING),
    "Copy and extend activities, import goods and offers": opens(
        "activity/activity/*/copy/", "activity/activity/*/extend/", "activity/sku/import/"
    ),
    "Make and delete forecasts": changes("trade/forecast", verbs=("add", "delete")),
    "Change crowds, delete members, run and schedule jobs": lambda client: (
        changes("tag/crowdtag", "tag/crowdjob")(client)
        and changes("tag/crowdmember", verbs=("delete",))(client)
        and changes("django_celery_beat/crontabschedule", verbs=("add",))(client)
        and opens("tag/crowdjob/*/watch/")(client)
    ),
    "Change switches": changes("groupbuy/switch", verbs=("change",)),
    "Confirm and reject what others propose": lambda client: agreed(
        [
            client.post(url_of("groupbuy/proposal/*/change/"), {"decision": each}).status_code
            for each in ("confirm", "reject")
        ]
    ),
    "Check the data": opens("trade/team/invariants/"),
    "See and change channels' secrets": secrets,
    "Issue and switch off API keys": changes("groupbuy/apikey"),
    "Change users and groups": changes("auth/user", "auth/group"),
    "Unlock a name after failed sign-ins": changes("axes/accessattempt", verbs=("delete",)),
    "Change the platform's schedules": changes(
        "django_celery_beat/periodictask", "django_celery_beat/intervalschedule"
    ),
    "Change superusers, make others superusers": superusers,
}


def test_the_table_and_the_attempts_have_the_same_rows() -> None:
    assert list(TRIES) == list(WHAT)
    assert ROLES == ["viewer", "support", "operator", "administrator"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("what", WHAT)
def test_each_role_may_do_what_the_table_says(role: str, what: str) -> None:
    user = User.objects.create_user("member", is_staff=True)
    user.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(user)

    assert {"yes": True, "–": False}[WHAT[what][ROLES.index(role)]] == TRIES[what](client)


def test_only_permissions_that_a_page_asks_for_can_be_chosen(operator: Client) -> None:
    page = operator.get(url_of("auth/group/add/")).content.decode()
    labels = [label.strip() for label in re.findall(r"<span[^>]*>\s*([^<>]+: [^<>]+)</span>", page)]

    assert "orders: view" in labels
    assert "notifications: send again" in labels
    assert "switches: unblock clients" in labels
    assert "activities: change" in labels
    for without in ("orders: change", "switches: delete", "log entries: view", "sessions: view"):
        assert without not in labels
    assert len(labels) == len(set(labels))


def test_making_a_superuser_warns(operator: Client) -> None:
    colleague = User.objects.get(username="colleague")
    body = {"username": "colleague", "is_superuser": "on", "is_active": "on"}
    body |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    body |= {"totpdevice_set-TOTAL_FORMS": "0", "totpdevice_set-INITIAL_FORMS": "0"}
    page = operator.post(f"/admin/auth/user/{colleague.pk}/change/", body, follow=True)

    colleague.refresh_from_db()
    assert colleague.is_superuser
    assert "colleague may now do everything, without limit." in page.content.decode()


def test_the_page_of_a_user_says_what_is_missing_to_sign_in(operator: Client) -> None:
    user = User.objects.get(username="colleague")
    url = f"/admin/auth/user/{user.pk}/change/"

    def warned() -> list[str]:
        page = operator.get(url).content.decode()
        texts = (
            "This user cannot sign in: mark “Staff status”, and choose a role.",
            "This user can sign in and sees nothing: choose a role.",
        )
        return [text for text in texts if text in page]

    assert warned() == ["This user cannot sign in: mark “Staff status”, and choose a role."]
    User.objects.update(is_staff=True)
    assert warned() == ["This user can sign in and sees nothing: choose a role."]
    user.groups.set([Group.objects.get(name="viewer")])
    assert warned() == []


@pytest.mark.parametrize("name", ["webhook_secret", "page_secret", "previous_page_secret"])
def test_a_list_cannot_be_filtered_by_a_secret(name: str) -> None:
    """Else a viewer could find it character by character."""
    user = User.objects.create_user("member", is_staff=True)
    user.groups.set([Group.objects.get(name="viewer")])
    client = Client()
    client.force_login(user)
    query = f"{name}__startswith={getattr(Channel.objects.get(), name)[:4]}"
    assert client.get(f"/admin/groupbuy/channel/?{query}").status_code == 400
    assert client.post(f"/admin/export/groupbuy/channel.csv?{query}").status_code == 400


@pytest.mark.parametrize("lookup", ["regex", "iregex"])
def test_a_list_cannot_be_filtered_by_a_pattern(admin_client: Client, lookup: str) -> None:
    """An invalid one would fail in the database."""
    query = f"name__{lookup}=["
    assert admin_client.get(f"/admin/groupbuy/channel/?{query}").status_code == 400
    assert admin_client.post(f"/admin/export/groupbuy/channel.csv?{query}").status_code == 400


def test_those_who_may_only_look_do_not_stop_the_schedule() -> None:
    user = User.objects.create_user("member", is_staff=True)
    view = Permission.objects.get(codename="view_periodictask")
    user.user_permissions.add(view)
    client = Client()
    client.force_login(user)
    task = PeriodicTask.objects.create(
        name="of a test", task="sweep", interval=IntervalSchedule.objects.create(every=1)
    )

    for action in ("disable_tasks", "toggle_tasks"):
        client.post(
            "/admin/django_celery_beat/periodictask/",
            {"action": action, "_selected_action": [task.pk]},
        )
        task.refresh_from_db()
        assert task.enabled is True


def test_an_administrator_gives_a_colleague_a_new_password() -> None:
    ada, colleague = User.objects.create_superuser("ada"), User.objects.create_user("ben")
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(ada)

    body = {"password1": "three green cups", "password2": "three green cups"}
    response = client.post(f"/admin/auth/user/{colleague.pk}/password/", body)

    assert response.status_code == 302
    colleague.refresh_from_db()
    assert colleague.check_password("three green cups")
    page = client.get(f"/admin/auth/user/{colleague.pk}/history/").content.decode()
    assert "Changed password." in page
    assert "three green cups" not in page
