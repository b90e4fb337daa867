"""The cost of live pages: polls, copies, limits. They are current nevertheless."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from activity.models import Activity, Sku
from groupbuy import snapshots
from pages import frame, problems
from tests import factories
from tests.factories import NOW, set_switch
from tests.pages.conftest import browser
from tests.pages.scenes import (
    ME,
    MINUTE,
    NAMES,
    OFFER,
    SCENES,
    Scene,
    code_of,
    offer_at,
    team_at,
)
from trade.models import Team

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_now")]
STATIC = Path(__file__).parents[2] / "static"


@pytest.fixture
def _warm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies stay fresh for the whole test."""
    monkeypatch.setattr(snapshots, "MAX_AGE", 3600)
    yield
    snapshots.invalidate()


def poll(client: Client, path: str, etag: str = "") -> Any:
    headers = {"If-None-Match": etag} if etag else {}
    return client.get(path, {"live": "1"}, headers=headers)


def queries(client: Client, at: Scene) -> tuple[int, int]:
    """The status and the number of queries of a poll that finds nothing new."""
    etag = poll(client, at.path)["ETag"]
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = poll(client, at.path, etag)
    return answer.status_code, len(asked)


@pytest.mark.usefixtures("_warm")
@pytest.mark.parametrize(
    ("name", "user_id", "expected"),
    [
        ("team_joinable", "", 0),
        ("team_full_but_unpaid", "", 0),
        ("my_team_forming", ME, 0),
        ("my_seat_unpaid", ME, 0),
        ("order_my_team_forming", ME, 0),
        ("offer_open_with_teams", "", 0),
        # One query for the shopper's own orders in the activity, by its index.
        ("offer_open_with_teams", ME, 1),
        ("team_joinable", ME, 1),
    ],
)
def test_a_poll_that_finds_nothing_new_costs_no_sql(name: str, user_id: str, expected: int) -> None:
    at = SCENES[name](NOW)

    assert queries(browser(user_id), at) == (304, expected)


@pytest.mark.usefixtures("_warm")
def test_a_thousand_watchers_cost_the_database_what_one_does() -> None:
    at = SCENES["team_joinable"](NOW)
    etag = poll(browser(), at.path)["ETag"]

    with CaptureQueriesContext(connection) as asked:
        statuses = {poll(browser(), at.path, etag).status_code for _ in range(50)}

    assert (statuses, len(asked)) == ({304}, 0)


def test_a_poll_brings_the_part_that_has_changed() -> None:
    offer_at(NOW)
    team = team_at(NOW - 5 * MINUTE, NAMES[1], paid=1)
    path, client = f"/t/{code_of(team, NAMES[1])}", browser()
    before = poll(client, path)

    factories.lock(NAMES[2], now=NOW, team_id=str(team.pk))

    after = poll(client, path, before["ETag"])
    assert (after.status_code, after["Cache-Control"]) == (200, "private, no-cache")
    assert "1 more person needed" in after.content.decode()
    assert "<html" not in after.content.decode()
    assert after["ETag"] != before["ETag"]


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("offer_not_started", {"start_at": NOW + 120 * MINUTE}, "Starts at 14:00"),
        ("offer_ended", {"end_at": NOW - 20 * MINUTE}, "Ended at 11:40"),
        ("offer_open", {"target_count": 5}, "Buy together with 4 others"),
        ("offer_open", {"valid_minutes": 30}, "there are 30 minutes to fill it"),
    ],
)
def test_a_poll_brings_what_an_operator_has_changed(
    name: str, changed: dict[str, Any], words: str
) -> None:
    at = SCENES[name](NOW)
    client = browser(at.user_id)
    before = poll(client, at.path)
    assert words not in before.content.decode()

    Activity.objects.update(**changed)

    after = poll(client, at.path, before["ETag"])
    assert after.status_code == 200
    assert words in after.content.decode()


def test_a_poll_of_a_team_brings_the_new_price_alone() -> None:
    at = SCENES["team_joinable"](NOW)
    before = poll(browser(), at.path)
    assert "Buy alone: ¥100" in before.content.decode()

    Sku.objects.update(original_price="120")

    after = poll(browser(), at.path, before["ETag"])
    assert after.status_code == 200
    assert "Buy alone: ¥120" in after.content.decode()


def test_a_poll_of_an_offer_counts_the_payments_of_ones_own_team() -> None:
    offer_at(NOW)
    team_at(NOW - 5 * MINUTE, ME, NAMES[1], paid=1)
    client = browser(ME)
    before = poll(client, OFFER)
    assert "You are in: 2 payments to go" in before.content.decode()

    factories.settle(NAMES[1], now=NOW, paid_at=NOW)

    after = poll(client, OFFER, before["ETag"])
    assert after.status_code == 200
    assert "You are in: 1 payment to go" in after.content.decode()


@pytest.mark.usefixtures("_warm")
def test_a_shopper_who_returns_from_paying_sees_it_at_once() -> None:
    offer_at(NOW)
    team = team_at(NOW - 5 * MINUTE, ME)
    path, client = f"/t/{code_of(team, ME)}", browser(ME)
    assert 'data-state="UNPAID"' in client.get(path).content.decode()

    factories.settle(ME, now=NOW)

    assert 'data-state="FORMING"' in client.get(path).content.decode()


def test_time_alone_changes_a_page(time_goes: Any) -> None:
    at = SCENES["team_joinable"](NOW)
    client = browser()
    etag = poll(client, at.path)["ETag"]

    time_goes(timedelta(minutes=11))

    answer = poll(client, at.path, etag)
    assert answer.status_code == 200
    assert 'data-state="COUNTING"' in answer.content.decode()


def test_each_language_has_its_own_version() -> None:
    at = SCENES["team_joinable"](NOW)
    english = poll(browser(), at.path)

    chinese = poll(browser(language="zh-hans"), at.path, english["ETag"])

    assert chinese.status_code == 200
    assert "还差 1 人" in chinese.content.decode()


def test_every_answer_has_the_servers_clock_and_is_not_kept() -> None:
    at = SCENES["team_joinable"](NOW)

    page, part = browser().get(at.path), poll(browser(), at.path)

    assert {page["X-Now"], part["X-Now"]} == {str(round(NOW.timestamp() * 1000))}
    assert page["Cache-Control"] == "no-store"


def test_nothing_inline_and_nothing_of_others_may_run() -> None:
    at = SCENES["offer_open"](NOW)

    response = browser().get(at.path)

    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert page.count("<script") == 1
    assert " onclick" not in page


def test_a_first_visit_is_light() -> None:
    at = SCENES["offer_open_with_teams"](NOW)

    page = browser().get(at.path).content

    static = [STATIC / name for name in ("pages.css", "live.js", "logo.svg", "goods/9890001.svg")]
    assert (STATIC / "pages.css").stat().st_size < 15_000
    assert len(page) + sum(path.stat().st_size for path in static) < 100_000


@pytest.mark.usefixtures("_still_limits")
def test_a_limited_visitor_sees_how_long_to_wait() -> None:
    set_switch("pageAddressLimit", "2/60")
    at = SCENES["team_joinable"](NOW)
    client = browser()
    assert [poll(client, at.path).status_code for _ in range(2)] == [200, 200]

    refused = client.get(at.path, {"x": 1})
    posted = client.post("/h/s01/c01/leave", {"x": 1})

    assert (refused.status_code, refused["Retry-After"]) == (429, "30")
    assert "Try again in 30 seconds" in refused.content.decode()
    again = f'<a class="main" href="{at.path}?x=1">Try again</a>'
    assert (posted.status_code, again in refused.content.decode()) == (429, True)
    assert 'class="main"' not in posted.content.decode()
    assert browser(REMOTE_ADDR="10.0.0.9").get(at.path).status_code == 200


@pytest.mark.parametrize(("seconds", "words"), [(1, "in 1 second."), (2, "in 2 seconds.")])
def test_a_limited_visitor_waits_seconds_or_one(seconds: int, words: str) -> None:
    request = RequestFactory().get("/")

    with translation.override("en"):
        assert words in problems.too_many(request, seconds).content.decode()


# --- Pages for guests -------------------------------------------------------------------------


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that are rendered for guests."""
    templates: list[str] = []

    def noted(template: str, *args: Any) -> str:
        templates.append(template)
        return render_to_string(template, *args)

    monkeypatch.setattr(frame, "render_to_string", noted)
    return templates


@pytest.mark.usefixtures("_warm")
@pytest.mark.parametrize("name", ["team_joinable", "offer_open"])
def test_guests_who_look_at_once_have_one_page_rendered(name: str, rendered: list[str]) -> None:
    at = SCENES[name](NOW)

    pages = [browser().get(at.path).content.decode() for _ in range(3)]

    assert len(rendered) == 1
    assert len(set(pages)) == 1


@pytest.mark.usefixtures("_warm")
def test_a_guest_with_an_old_part_gets_the_new_one(rendered: list[str]) -> None:
    """The guest before had the new part already, so that it was not rendered."""
    at = SCENES["team_joinable"](NOW)
    etag = poll(browser(), at.path)["ETag"]
    snapshots.invalidate()

    answers = [poll(browser(), at.path, known) for known in (etag, etag, "", '"old"', etag)]

    assert [answer.status_code for answer in answers] == [304, 304, 200, 200, 304]
    assert {answer["ETag"] for answer in answers} == {etag}
    assert answers[2].content == answers[3].content
    assert "1 more person needed" in answers[2].content.decode()
    assert len(rendered) == 2


@pytest.mark.usefixtures("_warm")
def test_guests_choose_a_language_without_a_token() -> None:
    guest = browser(enforce_csrf_checks=True)

    assert guest.post("/language/", {"language": "en"}).status_code == 302


@pytest.mark.usefixtures("_warm")
def test_a_shared_page_is_of_one_language_and_one_host(rendered: list[str], settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    at = SCENES["team_joinable"](NOW)

    browser().get(at.path)
    browser(language="zh-hans").get(at.path)
    page = browser().get(at.path, headers={"Host": "shop.example"}).content.decode()

    assert len(rendered) == 3
    assert f'content="http://shop.example{at.path}"' in page


@pytest.mark.usefixtures("_warm")
def test_a_shopper_has_a_page_of_their_own(rendered: list[str]) -> None:
    at = SCENES["team_joinable"](NOW)
    browser().get(at.path)

    page = browser(ME).get(at.path).content.decode()

    assert len(rendered) == 2
    assert "You are wa***g of" in page
    assert "You are looking around as a guest" in browser().get(at.path).content.decode()
    assert len(rendered) == 2


@pytest.mark.usefixtures("_warm")
def test_a_change_is_rendered_for_guests_at_once(rendered: list[str]) -> None:
    at = SCENES["team_joinable"](NOW)
    browser().get(at.path)
    snapshots.invalidate()
    factories.lock(NAMES[3], now=NOW, team_id=str(Team.objects.get().pk))

    page = browser().get(at.path).content.decode()

    assert len(rendered) == 2
    assert "All seats are taken" in page


@pytest.mark.usefixtures("_warm")
def test_a_page_is_rendered_each_time_without_caches(rendered: list[str]) -> None:
    at = SCENES["team_joinable"](NOW)
    set_switch("cacheSwitch", "1")
    snapshots.invalidate()

    for _ in range(2):
        browser().get(at.path)

    assert len(rendered) == 2


def test_a_page_for_guests_lives_no_longer_than_the_rows_it_shows(rendered: list[str]) -> None:
    at = SCENES["team_joinable"](NOW)

    for _ in range(2):  # in tests MAX_AGE is 0
        browser().get(at.path)

    assert len(rendered) == 2
