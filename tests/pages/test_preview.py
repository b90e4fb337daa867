"""The preview in the console is the shopper's page, and writes nothing."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from activity.models import Activity, Offer
from groupbuy import snapshots
from tag.crowd import add_members
from tag.models import CrowdTag
from tests.factories import lock, make_activity
from trade.models import Order

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def operator() -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    return client


def an_activity(**fields: object) -> str:
    """Make an activity; return the URL of its offer's preview."""
    now = timezone.now()
    activity = make_activity(**({"start_at": now - HOUR, "end_at": now + HOUR} | fields))  # type: ignore[arg-type]
    snapshots.invalidate()
    return f"/admin/preview/{activity.pk}/{Offer.objects.get(activity=activity).pk}/"


def page(client: Client, url: str, **asked: str) -> str:
    response = client.get(f"{url}page/", asked)
    assert response.status_code == 200
    return response.content.decode()


def test_the_preview_is_the_real_page(operator: Client) -> None:
    url = an_activity()
    real = Client(headers={"Accept-Language": "en"}).get("/o/s01/c01/9890001").content.decode()
    shown = page(operator, url)

    for words in ("Buy together with 2 others", "Open a team: ¥80"):
        assert words in real
        assert words in shown
    assert "live.js" in real
    assert "live.js" not in shown


def test_a_draft_is_shown_as_if_it_were_published(operator: Client) -> None:
    url = an_activity(status=Activity.Status.CREATED)

    assert "The activity is a draft" in operator.get(url).content.decode()
    assert "Open a team: ¥80" in page(operator, url)
    assert Activity.objects.get().status == Activity.Status.CREATED
    assert Client().get("/o/s01/c01/9890001").status_code == 404


def test_another_moment(operator: Client) -> None:
    url = an_activity()
    before = timezone.localtime(timezone.now() - 2 * HOUR)
    after = timezone.localtime(timezone.now() + 2 * HOUR)

    assert "Starts at" in page(operator, url, at=f"{before:%Y-%m-%dT%H:%M}")
    assert "Ended at" in page(operator, url, at=f"{after:%Y-%m-%dT%H:%M}")


def test_a_shopper_in_a_crowd_and_one_outside(operator: Client) -> None:
    vip = CrowdTag.objects.create(tag_id="vip", name="vip")
    CrowdTag.objects.create(tag_id="other", name="other")
    add_members(vip, ["member"])
    url = an_activity(crowd=vip, restrict_join=True)

    assert "A price for invited customers" in page(operator, url)
    assert "A price for invited customers" in page(operator, url, user_id="x", crowd="other")
    assert "Open a team" in page(operator, url, user_id="x", crowd="vip")
    assert "Open a team" in page(operator, url, user_id="member")


def test_the_shopper_s_own_order_is_shown_and_nothing_is_written(operator: Client) -> None:
    url = an_activity()
    lock("a-shopper", now=timezone.now())
    before = Order.objects.get().state, Session.objects.count()
    shown = page(operator, url, user_id="a-shopper")

    assert "Your seat is held: now pay for it" in shown
    assert "a-shopper" not in shown  # masked, as for the shopper
    assert (Order.objects.get().state, Session.objects.count()) == before
    assert not [name for name in operator.cookies if name.startswith("shopper_")]


def test_the_page_is_framed_by_the_console_only(operator: Client) -> None:
    response = operator.get(f"{an_activity()}page/")

    assert "frame-ancestors 'self'" in response["Content-Security-Policy"]
    assert "script-src" not in response["Content-Security-Policy"]
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert "no-store" in response["Cache-Control"]
    real = Client().get("/o/s01/c01/9890001")
    assert "frame-ancestors 'none'" in real["Content-Security-Policy"]


def test_wrong_input(operator: Client) -> None:
    url = an_activity()

    assert operator.get(f"{url}page/?crowd=nothing").status_code == 404
    assert "<iframe" not in operator.get(f"{url}?at=yesterday").content.decode()
    assert operator.get("/admin/preview/100123/99/").status_code == 404


@pytest.mark.parametrize(
    ("codenames", "status"),
    [(["view_activity", "view_order"], 200), (["view_activity"], 403), (["view_order"], 403)],
)
def test_both_permissions_are_needed(codenames: list[str], status: int) -> None:
    user = User.objects.create_user("colleague", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client, url = Client(), an_activity()
    client.force_login(user)

    for address in (url, f"{url}page/"):
        assert client.get(address).status_code == status
    assert Client().get(f"{url}page/").status_code == 302
