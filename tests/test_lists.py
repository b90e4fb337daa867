"""Lists of the console: filters find rows anywhere in the table, and an index serves each."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from groupbuy import biglists
from groupbuy.biglists import BigListAdmin
from tag.crowd import add_members
from tag.models import CrowdMember, CrowdTag
from tests.factories import lock, make_activity, make_channel, make_promise, make_team, refund
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db
BIG = [page for page in admin.site._registry.values() if isinstance(page, BigListAdmin)]
NAMES = [page.opts.model_name for page in BIG]
TABLES = "|".join(page.opts.db_table for page in BIG)
State = NotifyTask.State


@pytest.fixture
def operator() -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows on a page, three in all pages."""
    monkeypatch.setattr(biglists, "MOST", 3)
    monkeypatch.setattr(BigListAdmin, "list_per_page", 2)


def changes(page: Any, query: str = "") -> Any:
    request = RequestFactory().get(f"/{query}")
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    return page.get_changelist_instance(request)


def listed(model: Any, query: str = "") -> list[Any]:
    """Keys on the first page."""
    return [row.pk for row in changes(admin.site._registry[model], query).result_list]


def links(page: Any, query: str = "") -> list[str]:
    found = changes(page, query)
    return [choice["query_string"] for spec in found.filter_specs for choice in spec.choices(found)]


def test_the_tables_that_grow_with_orders_are_big_lists() -> None:
    assert sorted(NAMES) == ["crowdmember", "notifytask", "order", "team"]


@pytest.mark.usefixtures("_small_pages")
def test_order_filters_find_rows_that_are_not_on_the_first_pages() -> None:
    now = timezone.now()
    old = make_activity(1, channel=make_channel("s02", "c02"), start_at=now, take_limit=99)
    make_activity(2, start_at=now, take_limit=99)
    first = lock("a", now=now, activity_id=1, source="s02", channel="c02")
    for n in range(4):
        lock("b", now=now, activity_id=2, out_trade_no=f"b{n}")
        refund("b", now=now, out_trade_no=f"b{n}")
    reason = Order.CloseReason.LATE_PAYMENT
    late = Order.objects.filter(status=2).earliest("pk")
    Order.objects.filter(pk=late.pk).update(close_reason=reason)

    for query in (
        "state=locked",
        f"activity__id__exact={old.pk}",
        f"channel__id__exact={first.channel_id}",
        "days=1&state=locked",
        "q=a",
    ):
        assert listed(Order, f"?{query}") == [first.pk], query
    assert listed(Order, "?state=late_payment") == [late.pk]
    assert listed(Team, f"?channel__id__exact={first.channel_id}") == [first.team_id]
    assert listed(Team, f"?activity__id__exact={old.pk}") == [first.team_id]
    assert first.pk not in listed(Order)


@pytest.mark.usefixtures("_small_pages")
def test_a_search_with_a_filter_finds_rows_after_many_that_the_filter_drops() -> None:
    now = timezone.now()
    make_activity(start_at=now, take_limit=99)
    held = lock("b", now=now)
    for n in range(4):
        lock("b", now=now, out_trade_no=f"b{n}")
        refund("b", now=now, out_trade_no=f"b{n}")

    assert listed(Order, "?q=b&state=locked") == [held.pk]
    assert held.pk not in listed(Order, "?q=b")


@pytest.mark.usefixtures("_small_pages")
def test_team_filters_find_rows_that_are_not_on_the_first_pages() -> None:
    now = timezone.now()
    activity = make_activity(start_at=now, take_limit=99)
    first = lock("a", now=now).team_id
    for n in range(4):
        lock("b", now=now, out_trade_no=f"b{n}")
    Team.objects.exclude(pk=first).update(status=Team.Status.COMPLETE)

    assert listed(Team, "?state=forming") == [first]
    assert listed(Team, f"?state=forming&activity__id__exact={activity.pk}") == [first]
    assert first not in listed(Team)


@pytest.mark.usefixtures("_small_pages")
def test_notification_filters_find_rows_that_are_not_on_the_first_pages() -> None:
    first = make_promise("0", state=State.GIVEN_UP, next_attempt_at=None)
    for n in range(1, 5):
        make_promise(f"{n}", state=State.DELIVERED, next_attempt_at=None)

    assert listed(NotifyTask, "?state=given_up") == [first.pk]
    assert listed(NotifyTask, f"?state=given_up&endpoint={first.endpoint}") == [first.pk]
    assert first.pk not in listed(NotifyTask)


@pytest.mark.usefixtures("_small_pages")
def test_member_filters_find_rows_that_are_not_on_the_first_pages() -> None:
    small = CrowdTag.objects.create(tag_id="small", name="small")
    large = CrowdTag.objects.create(tag_id="large", name="large")
    add_members(small, ["a"])
    add_members(large, ["b", "c", "d", "e"])

    [first] = CrowdMember.objects.filter(part__tag=small)

    assert listed(CrowdMember, "?tag=small") == [first.pk]
    assert first.pk not in listed(CrowdMember)


@pytest.mark.usefixtures("_small_pages")
def test_inbox_links_show_the_overdue_rows_although_newer_rows_fill_the_first_pages(
    operator: Client,
) -> None:
    now = timezone.now()
    long_ago = now - timedelta(days=1)
    make_activity(start_at=long_ago, end_at=now + timedelta(days=1), take_limit=99)
    for n, at in enumerate([long_ago, now, now, now]):
        lock("a", now=at, out_trade_no=f"order-{n}")
        make_promise(f"promise-{n}", next_attempt_at=at + timedelta(minutes=n), created_at=at)

    page = operator.get("/admin/").content.decode()
    found = re.findall(r'href="(/admin/trade/\w+/\?state=overdue)"', page)

    assert len(found) == 3
    models: tuple[Any, ...] = (NotifyTask, Order, Team)
    for model, link in zip(models, found, strict=True):
        [row] = model.objects.order_by("pk")[:1]
        shown = operator.get(link).content.decode()
        assert str(row) in shown
        for newer in model.objects.order_by("pk")[1:]:
            assert str(newer) not in shown


@pytest.mark.usefixtures("_small_pages")
def test_a_long_list_is_not_counted_to_its_end(operator: Client) -> None:
    for n in range(4):
        make_promise(f"{n}")
    url = reverse("admin:trade_notifytask_changelist")

    with CaptureQueriesContext(connection) as captured:
        page = operator.get(url).content.decode()

    assert "more than 3 notifications: find the others by a filter or the search" in page
    counts = [query["sql"] for query in captured if "COUNT" in query["sql"]]
    assert [sql for sql in counts if "LIMIT" not in sql and "next_attempt_at" not in sql] == []
    assert "4 notifications" not in page
    assert "Show all" not in page  # it shows what the filters and the search leave out
    narrowed = operator.get(url, {"state": "new", "q": "1"}).content.decode()
    assert "1 result" in narrowed
    assert '(<a href="?">Show all</a>)' in narrowed


def test_a_short_list_is_counted(operator: Client) -> None:
    make_promise()
    page = operator.get(reverse("admin:trade_notifytask_changelist")).content.decode()
    assert re.search(r"1\s+notification\s", page)


def test_an_empty_list_says_what_it_is_for_and_a_narrowed_one_how_to_widen_it(
    operator: Client,
) -> None:
    remove = "Remove search and filters"
    url = reverse("admin:groupbuy_proposal_changelist")
    page = operator.get(url).content.decode()
    assert "Nothing here yet" in page
    assert "Changes that a second person has to confirm are listed here." in page
    assert remove not in page

    page = operator.get(url, {"state": "waiting"}).content.decode()
    assert "No row matches the search and the filters." in page
    assert remove in page


def test_orders_and_teams_are_found_by_each_complete_number() -> None:
    make_activity()
    team = make_team("a", "b")
    make_team("c")
    first, second, _third = Order.objects.order_by("pk")

    for term in (first.out_trade_no, first.user_id, first.code, first.pk, f" {first.pk} "):
        assert listed(Order, f"?q={term}") == [first.pk]
    assert listed(Order, f"?q={team.pk}") == [second.pk, first.pk]
    for term in (team.pk, first.user_id, second.out_trade_no):
        assert listed(Team, f"?q={term}") == [team.pk]
    for term in ("t-", "A", str(first.pk)[:-1], "9" * 30, "%", "' OR 1=1"):
        assert listed(Order, f"?q={term}") == []
        assert listed(Team, f"?q={term}") == []


def test_an_order_number_that_is_also_a_user_finds_both() -> None:
    make_activity(take_limit=9)
    by_user = lock("same", out_trade_no="1")
    by_number = lock("other", out_trade_no="same")

    assert listed(Order, "?q=same") == [by_number.pk, by_user.pk]


def test_notifications_are_found_by_the_ids_in_their_keys() -> None:
    team = make_promise("team_success-77")
    refunds = [make_promise(f"team_refund-99-{kind}") for kind in ("unpaid_unlock", "paid_formed")]
    keys = [task.pk for task in reversed(refunds)]

    for term in ("77", "team_success-77"):
        assert listed(NotifyTask, f"?q={term}") == [team.pk]
    for term in ("99", "team_refund-99"):
        assert listed(NotifyTask, f"?q={term}") == keys
    assert listed(NotifyTask, "?q=team_refund-99-paid_formed") == keys[:1]
    assert listed(NotifyTask, "?q=team_success") == []


def test_members_are_found_by_their_complete_id() -> None:
    tag = CrowdTag.objects.create(tag_id="RQ", name="crowd")
    add_members(tag, ["xfg01", "xfg011"])

    [found] = listed(CrowdMember, "?q=xfg01")

    assert CrowdMember.objects.get(pk=found).user.user_id == "xfg01"
    assert listed(CrowdMember, "?q=xfg0") == []


def test_a_filter_replaces_those_of_the_other_groups() -> None:
    make_activity()
    channel = make_channel("s02", "c02")
    make_activity(2, channel=channel)
    of_channel = f"channel__id__exact={channel.pk}"
    order, team = (admin.site._registry[model] for model in (Order, Team))

    assert "?days=7&state=paid" in links(order, f"?days=7&{of_channel}")
    assert f"?{of_channel}&days=7" in links(order, "?days=7&state=paid&activity__id__exact=1")
    assert "?q=a&state=paid" in links(order, f"?q=a&{of_channel}")
    assert "?activity__id__exact=100123&state=failed" in links(
        team, "?activity__id__exact=100123&state=complete"
    )
    assert "?days=30&state=paid" in links(order, "?days=7&state=paid")


@pytest.mark.parametrize("query", ["days=x", "days=99999999999999", "state=x", "tag=x"])
@pytest.mark.parametrize("page", BIG, ids=NAMES)
def test_an_unknown_choice_of_a_filter_is_ignored(page: Any, query: str, operator: Client) -> None:
    url = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist")
    assert operator.get(f"{url}?{query}", follow=True).status_code == 200


@pytest.mark.parametrize("page", BIG, ids=NAMES)
def test_no_column_of_a_big_list_sorts_it(page: Any) -> None:
    assert list(page.get_sortable_by(None)) == []


def every_query(page: Any) -> Iterator[str]:
    """Alone, two filters together, each with a search and a second page."""
    alone = ["?", *links(page)]
    pairs = [link for query in alone for link in links(page, query)]
    searches = [f"{query}&q=a" for query in alone]
    yield from dict.fromkeys([*alone, *pairs, *searches])


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="MariaDB scans small tables")
@pytest.mark.parametrize("page", BIG, ids=NAMES)
def test_every_filter_and_search_is_served_by_an_index(page: Any) -> None:
    make_activity()
    make_activity(2, channel=make_channel("s02", "c02"))
    make_team("a", "b")
    make_promise()
    add_members(CrowdTag.objects.create(tag_id="RQ", name="crowd"), ["a"])
    CrowdTag.objects.create(tag_id="other", name="other")
    for query in every_query(page):
        with CaptureQueriesContext(connection) as captured:
            list(changes(page, query).result_list)
        for sql in (each["sql"] for each in captured if "SELECT" in each["sql"]):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%', '%%')}")
                plan = [row[-1] for row in cursor.fetchall()]
            sorts = "USE TEMP B-TREE FOR ORDER BY" in plan and "q=" not in query
            scans = "WHERE" in sql and any(re.match(f"SCAN ({TABLES})", step) for step in plan)
            assert (query, sql, plan, sorts or scans) == (query, sql, plan, False)


def test_the_filter_by_state_reads_as_chinese(operator: Client) -> None:
    page = operator.get("/admin/trade/order/", headers={"Accept-Language": "zh-hans"})

    labels = [str(each["display"]) for each in page.context["cl"].filter_specs[0].choices(
        page.context["cl"])]  # fmt: skip
    assert "已关闭：拼团时间已到" in labels
    assert not [label for label in labels if ":" in label]
