"""The console's pages as an operator meets them: words, forms and refusals."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from activity.models import Activity
from groupbuy.errors import GroupBuyError
from groupbuy.models import Switch
from tag.models import CrowdJob
from tests.factories import (
    NOW,
    confirm,
    lock,
    make_activity,
    make_promise,
    make_team,
    refund,
    settle,
)
from tests.forms import as_sent
from trade import labels
from trade.expire import end_overdue_teams
from trade.models import NotifyTask, Order, Team

pytestmark = pytest.mark.django_db
SECONDS = timedelta(seconds=17, microseconds=123456)


@pytest.fixture(params=["zh-hans", "en"])
def operator(request: pytest.FixtureRequest) -> Client:
    client = Client(headers={"Accept-Language": request.param})
    client.force_login(User.objects.create_superuser("operator"))
    return client


def language(client: Client) -> str:
    return str(client.defaults["HTTP_ACCEPT_LANGUAGE"])


def test_saving_one_field_records_and_writes_only_that_field(operator: Client) -> None:
    start_at, end_at = NOW + SECONDS, NOW + timedelta(days=1) + SECONDS
    activity = make_activity(start_at=start_at, end_at=end_at)
    url = reverse("admin:activity_activity_change", args=[activity.pk])
    sent = as_sent(operator.get(url))
    response = operator.post(url, sent | {"name": "spring", "status": Activity.Status.ABANDONED})

    assert response.status_code == 302
    [change] = json.loads(LogEntry.objects.get().change_message)
    assert change["changed"]["values"] == [["name", "Name", "activity", "spring"]]
    activity.refresh_from_db()
    assert activity.status == Activity.Status.IN_EFFECT  # buttons change it, no form does
    assert (activity.start_at, activity.end_at) == (start_at, end_at)


def test_names_that_go_into_other_systems_are_shown_verbatim(operator: Client) -> None:
    make_activity()
    lock("xiaofuge", out_trade_no="mall-g-1")
    promise = make_promise("team_success-1")

    for row, name in (
        (Order.objects.get(), "mall-g-1"),
        (promise, "team_success-1"),
        (Switch.objects.get(key="cutRange"), "cutRange"),
    ):
        view = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        page = operator.get(reverse(view, args=[row.pk])).content.decode()
        assert name in page
        assert name[0].upper() + name[1:] not in page


def test_the_words_of_the_console_begin_with_a_capital(operator: Client) -> None:
    page = operator.get(reverse("admin:trade_order_changelist")).content.decode()
    verbose = str(Order._meta.verbose_name_plural)

    assert "Orders" in page if verbose == "orders" else verbose in page


@pytest.mark.parametrize(
    ("language", "title", "back"),
    [
        ("zh-hans", "您没有访问此页面的权限", "返回控制台"),
        ("en", "You do not have the permission for this page", "Back to the console"),
    ],
)
def test_a_refused_page_says_so_in_its_language_and_leads_back(
    language: str, title: str, back: str
) -> None:
    client = Client(headers={"Accept-Language": language})
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    promise = make_promise()

    for url in (
        reverse("admin:trade_notifytask_changelist"),
        reverse("admin:trade_notifytask_change", args=[promise.pk]),
        reverse("admin:activity_activity_add"),
        reverse("admin:groupbuy_switch_blocked"),
    ):
        response = client.get(url)
        page = response.content.decode()
        assert response.status_code == 403
        assert title in page
        assert f'href="{reverse("admin:index")}"' in page
        assert back in page
    assert NotifyTask.objects.get() == promise


def test_a_closed_order_says_whether_money_goes_back(operator: Client) -> None:
    make_activity()
    make_team("paid", "unpaid", paid=1)
    end_overdue_teams(clock=lambda: NOW + timedelta(hours=1))

    words = {"en": ("closed, the money goes back", "closed, nothing was paid")}
    words["zh-hans"] = ("已关闭，退款", "已关闭，未支付")
    for user, own in zip(("paid", "unpaid"), words[language(operator)], strict=True):
        page = operator.get(f"/admin/trade/order/?q={user}").content.decode()
        assert [each for each in words[language(operator)] if each in page] == [own]
        assert "&#x27;danger&#x27;" not in page  # a status is words, not a pair


def test_an_order_whose_refund_is_confirmed_says_that_the_money_is_back(operator: Client) -> None:
    make_activity()
    lock("a")
    settle("a")
    refund("a")
    confirm("a")

    page = operator.get("/admin/trade/order/?q=a").content.decode()

    assert {"en": "closed, the money is back", "zh-hans": "已关闭，已退款"}[
        language(operator)
    ] in page


def test_a_notification_leads_to_what_it_is_about_and_says_what_is_next(operator: Client) -> None:
    make_activity(target_count=1)
    order = lock("a")
    settle("a")
    unpaid = lock("b")
    refund("b")
    states = NotifyTask.State
    words = {
        "en": ("It is about to be sent.", "Attempts so far: 2; the next is at 2036-05-01 12:00:00.",
               "The mall accepted it at 2036-05-01 12:00:00.",
               "Given up: send it again as soon as the mall answers."),
        "zh-hans": ("即将发送。", "已尝试 2 次，下一次在 2036-05-01 12:00:00。",
                    "商城已于 2036-05-01 12:00:00 接收。", "已放弃：商城恢复后请重新发送。"),
    }[language(operator)]  # fmt: skip

    def page_of(promise: NotifyTask) -> str:
        return operator.get(f"/admin/trade/notifytask/{promise.pk}/change/").content.decode()

    promise = NotifyTask.objects.get(event="team_success")
    values = {"attempts": 2, "next_attempt_at": NOW, "delivered_at": NOW}
    asked = (states.NEW, states.RETRYING, states.DELIVERED, states.GIVEN_UP)
    for state, text in zip(asked, words, strict=True):
        NotifyTask.objects.filter(pk=promise.pk).update(state=state, **values)
        page = page_of(promise)
        assert f"<strong>{text}</strong>" in page
        assert f'href="/admin/trade/team/{order.team_id}/change/"' in page
    assert f'href="/admin/trade/order/{unpaid.pk}/change/"' in page_of(
        NotifyTask.objects.get(event="team_refund")
    )
    nothing = {"en": "closed, nothing was paid", "zh-hans": "已关闭，未支付"}[language(operator)]
    assert nothing in operator.get("/admin/trade/notifytask/").content.decode()
    assert "<strong>" in page_of(make_promise("of another system"))


def test_moments_are_written_one_way(operator: Client) -> None:
    make_activity()
    lock("a")

    for model in ("trade/order", "trade/team", "activity/activity"):
        assert "2036-05-01 1" in operator.get(f"/admin/{model}/").content.decode()


def test_the_header_names_the_list_and_the_row_without_the_app(operator: Client) -> None:
    order = make_activity() and lock("a")
    page = operator.get(f"/admin/trade/order/{order.pk}/change/").content.decode()

    assert "/admin/trade/order/" in page
    assert 'href="/admin/trade/"' not in page
    page = operator.get("/admin/auth/user/").content.decode()
    assert 'href="/admin/auth/user/"' in page
    assert 'href="/admin/auth/"' not in page


def test_a_failed_team_says_how_many_had_paid(operator: Client) -> None:
    make_activity()
    make_team("a", "b", "late", paid=2)
    later = NOW + timedelta(hours=1)
    end_overdue_teams(clock=lambda: later)
    with pytest.raises(GroupBuyError):
        settle("late", paid_at=later, now=later)

    page = operator.get("/admin/trade/team/?state=failed").content.decode()

    assert {"en": "2 of 3 had paid", "zh-hans": "当时已付 2 / 3"}[language(operator)] in page


@pytest.mark.parametrize(("ends", "paid"), [(True, 1), (False, 3)])
def test_who_left_a_team_before_its_end_had_not_paid_then(
    ends: bool, paid: int, operator: Client
) -> None:
    make_activity()
    team = make_team("a", "b", paid=2)
    refund("a")
    if ends:
        end_overdue_teams(clock=lambda: NOW + timedelta(hours=1))
    else:
        full = NOW + timedelta(minutes=2)
        for user in "cd":
            lock(user, team_id=str(team.pk))
            settle(user, paid_at=full, now=full)
        for user in "bcd":
            refund(user, now=full)

    page = operator.get("/admin/trade/team/?state=failed").content.decode()

    text = {"en": f"{paid} of 3 had paid", "zh-hans": f"当时已付 {paid} / 3"}[language(operator)]
    assert text in page


@pytest.mark.usefixtures("english")
def test_a_forming_team_says_what_it_waits_for() -> None:
    make_activity()
    team = make_team("a", "b", paid=1)
    ends = team.expires_at

    assert labels.of_team(team, ends - SECONDS) == ("info", "forming")
    assert labels.of_team(team, ends) == (
        "warning",
        "time is up, payments are awaited until 12:17:00",
    )
    for user in "ab":
        refund(user)
    team.refresh_from_db()
    assert labels.of_team(team, ends - SECONDS) == ("", "forming, everybody has left")


@pytest.mark.usefixtures("english")
def test_states_are_words_without_numbers() -> None:
    models = (Activity, CrowdJob, NotifyTask, Order, Team)
    choices = [field.choices for model in models for field in model._meta.fields if field.choices]
    words = [str(label) for pairs in choices for _value, label in pairs]

    assert "forming" in words
    assert [word for word in words if word[0].isdigit()] == []


def test_the_order_page_hides_what_only_the_database_needs(operator: Client) -> None:
    make_activity()
    order = lock()
    page = operator.get(f"/admin/trade/order/{order.pk}/change/").content.decode()

    assert order.out_trade_no in page
    for name in ("take_no", "seat_of", "hold_no"):
        assert f"field-{name}" not in page


def test_leaving_a_page_does_not_read_like_closing_the_order(operator: Client) -> None:
    make_activity()
    page = operator.get(f"/admin/trade/order/{lock().pk}/change/").content.decode()

    assert {"en": "Back to the list", "zh-hans": "返回列表"}[language(operator)] in page
    assert {"en": ">Close<", "zh-hans": "关闭\n"}[language(operator)] not in page


def test_a_search_without_result_says_what_is_searched(operator: Client) -> None:
    page = operator.get("/admin/trade/order/?q=nothing").content.decode()

    offers = {"en": ("exact values only", "Add order"), "zh-hans": ("完全一致", "新增订单")}
    says, adds = offers[language(operator)]
    assert says in page
    assert adds not in page


def test_the_sidebar_has_one_order_and_what_the_user_may_see() -> None:
    pages = {}
    for code in ("en", "zh-hans"):
        client = Client(headers={"Accept-Language": code})
        user, _new = User.objects.get_or_create(username="support", is_staff=True)
        user.groups.set([Group.objects.get(name="support")])
        client.force_login(user)
        page = client.get("/admin/groupbuy/switch/").content.decode()
        pages[code] = re.findall(r'href="/admin/(\w+/\w+)/"', page)

    assert pages["en"] == pages["zh-hans"]
    assert pages["en"].index("trade/order") < pages["en"].index("activity/activity")
    assert "groupbuy/apikey" not in pages["en"]
    assert "auth/user" not in pages["en"]


@pytest.mark.parametrize(
    "path",
    [
        "preview/{id}/1/",
        "preview/1/{id}/page/",
        "exports/{id}/",
    ],
)
def test_an_id_that_no_row_can_have_is_not_found(path: str, operator: Client) -> None:
    url = f"/admin/{path.format(id='9' * 20)}"
    assert operator.get(url).status_code == 404
