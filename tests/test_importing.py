"""import_group_buy_market: the Java reference's teams and orders on our platform."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from activity.models import Activity, Discount, Offer, Sku
from groupbuy.models import Channel
from tag.crowd import members_of
from tag.models import CrowdJob, CrowdMember, CrowdTag
from tests.reference import CLOSED, LOCKED, PAID, Reference, reference
from trade.invariants import check_all
from trade.models import CompletedTeams, NotifyTask, Order, Team

DRY = "\nNothing is written. Add --write to import.\n"
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "mysql" not in connection.settings_dict["ENGINE"],
        reason="needs a MariaDB for the source's database: set DATABASE_URL",
    ),
]
TABLES = [
    *(Channel, Sku, Discount, Activity, Offer, CrowdTag, CrowdMember, CrowdJob),
    *(Team, Order, NotifyTask, CompletedTeams),
]


@pytest.fixture
def source() -> Iterator[Reference]:
    with reference() as found:
        yield found


def run(source: Reference, *options: str) -> str:
    out = StringIO()
    call_command("import_group_buy_market", source.dsn, *options, stdout=out)
    return out.getvalue()


def everything() -> dict[str, list[Any]]:
    return {
        table.__name__: list(table._default_manager.order_by("pk").values()) for table in TABLES
    }


def broken() -> dict[str, list[str]]:
    return {sentence: rows for sentence, rows in check_all(timezone.now()) if rows}


def books(report: str) -> dict[str, tuple[str, str]]:
    """Outcome of payments -> their number and yuan."""
    found = re.findall(r"^  (\S.*?)  +(\d+) +(\d+\.\d\d)$", report, re.M)
    return {name: (orders, amount) for name, orders, amount in found}


def states() -> dict[str, tuple[int, str]]:
    """out_trade_no -> status, close reason"""
    orders = Order.objects.values_list("out_trade_no", "status", "close_reason")
    return {number: (status, reason) for number, status, reason in orders}


def test_a_dry_run_reports_and_writes_nothing(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, LOCKED)
    before = everything()

    report = run(source)

    assert everything() == before
    assert "Nothing is wrong in the source." in report
    assert "Nothing is written. Add --write to import." in report
    assert [line.split() for line in report.splitlines() if line.startswith(("teams", "orders"))] \
        == [["teams", "1", "0"], ["orders", "2", "0"]]  # fmt: skip


def test_an_open_team_goes_on_here(source: Reference) -> None:
    source.add_activity()
    source.add_team("01234567", PAID, LOCKED, CLOSED, notify_type="HTTP", notify_url="http://m/ok")

    run(source, "--write")

    team = Team.objects.get(pk=1234567)
    prices = (team.original_price, team.pay_price)
    assert prices == (Decimal("100.00"), Decimal("80.00"))
    assert (team.status, team.target_count, team.locked_count, team.paid_count) == (0, 3, 2, 1)
    assert (team.notify_transport, team.notify_url) == ("HTTP", "http://m/ok")
    end = source.ends(30)
    assert timezone.make_naive(team.expires_at) == end
    assert states() == {"t1": (1, ""), "t2": (0, ""), "t3": (2, "refunded")}
    paid, held, _closed = Order.objects.order_by("pk")
    assert (paid.take_no, paid.seat_of, paid.hold_no) == (1, "user1", None)
    assert timezone.make_naive(paid.paid_at or end) == end - timedelta(minutes=58)
    assert (held.take_no, held.seat_of, held.hold_no) == (1, "user2", 1)
    assert held.pay_deadline == held.created_at + timedelta(minutes=30)
    assert broken() == {}


def test_it_can_be_repeated(source: Reference) -> None:
    source.add_activity()
    source.add("crowd_tags", tag_id="A", tag_name="A", tag_desc="", statistics=1)
    source.add("crowd_tags_detail", tag_id="A", user_id="user1")
    source.add_team("12345678", PAID, PAID, LOCKED)
    source.add_team("12345679", PAID, PAID, LOCKED, minutes_left=-100)
    source.add_team("12345680", PAID, PAID, PAID, status=1)
    run(source, "--write")
    before = everything()

    report = run(source, "--write")

    assert everything() == before
    assert "Nothing is wrong in the source." in report


def test_catalog_and_crowds_come_along(source: Reference) -> None:
    source.add_activity(tag_id="A", tag_scope="1,2", target=5, take_limit_count=2)
    source.execute("UPDATE group_buy_discount SET discount_type = 1, tag_id = 'A'")
    source.add("crowd_tags", tag_id="A", tag_name="friends", tag_desc="of ours", statistics=2)
    for user_id in ("liergou", "xfg01"):
        source.add("crowd_tags_detail", tag_id="A", user_id=user_id)
    window = {"stat_start_time": source.ends(-60), "stat_end_time": source.now}
    source.add("crowd_tags_job", tag_id="A", batch_id="10001", tag_type=1, tag_rule="100", **window)

    run(source, "--write")

    offer = Offer.objects.get()
    assert (offer.channel.source, offer.channel.channel) == ("s01", "c01")
    assert (offer.sku.goods_id, offer.sku.original_price) == ("98100123", Decimal("100.00"))
    activity = offer.activity
    assert (activity.pk, activity.target_count, activity.take_limit) == (100123, 5, 2)
    assert (activity.crowd_id, activity.restrict_visible, activity.restrict_join) == (
        "A",
        True,
        True,
    )
    discount = activity.discount
    assert (discount.plan, discount.expression, discount.crowd_id) == ("ZJ", "20", "A")
    assert sorted(user.user_id for user in members_of("A")) == ["liergou", "xfg01"]
    job = CrowdJob.objects.get()
    assert (job.batch_id, job.kind, job.at_least, job.status) == (
        "10001",
        1,
        Decimal(100),
        0,
    )
    assert broken() == {}


def test_an_unknown_crowd_restricts_nobody(source: Reference) -> None:
    source.add_activity(tag_id="1", tag_scope="1")

    report = run(source, "--write")

    activity = Activity.objects.get()
    assert (activity.crowd, activity.restrict_visible) == (None, False)
    assert "activity 100123 (1): crowd does not exist → not restricted" in report


def test_a_complete_team_keeps_its_notifications(source: Reference) -> None:
    source.add_activity()
    for team_id, state in (("10000001", 1), ("10000002", 2), ("10000003", 3)):
        source.add_team(team_id, PAID, PAID, PAID, status=1)
        payload = json.dumps({"teamId": team_id, "outTradeNoList": []})
        source.add_task(team_id, payload, state, create_time=source.ends(-1))

    report = run(source, "--write")

    promises = NotifyTask.objects.order_by("key").values_list("key", "state")
    assert list(promises) == [
        ("team_success-10000001", 1),
        ("team_success-10000002", 0),
        ("team_success-10000003", 3),
    ]
    again = NotifyTask.objects.get(state=0)
    assert again.payload == '{"teamId":"10000002","outTradeNoList":["t4","t5","t6"]}'
    assert (again.transport, again.target) == ("MQ", "topic.team_success")
    assert again.next_attempt_at is not None
    completed_at = Team.objects.get(pk=10000001).completed_at
    assert completed_at
    assert timezone.make_naive(completed_at) == source.ends(-1)
    assert "notification was given up" in report
    assert sum(each.seats for each in CompletedTeams.objects.all()) == 9
    assert broken() == {}


def test_teams_past_their_end_are_ended(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, LOCKED, minutes_left=-60)

    report = run(source)
    assert run(source, "--write").startswith(report.removesuffix(DRY))

    assert (
        "team 12345678 (1 unpaid, 1 paid, 80.00): team is past its end and still open → fails"
        in report
    )
    assert books(report) == {"goes back": ("1", "80.00")}
    assert Team.objects.get().status == Team.Status.FAILED
    assert states() == {"t1": (2, "team_ended"), "t2": (2, "team_ended")}
    kinds = [json.loads(task.payload)["type"] for task in NotifyTask.objects.order_by("key")]
    assert kinds == ["paid_unformed", "unpaid_unlock"]
    assert broken() == {}


def test_group_type_0_completes_at_the_end(source: Reference) -> None:
    source.add_activity(group_type=0)
    source.add_team("12345678", PAID, LOCKED, minutes_left=-60)

    report = run(source, "--write")

    assert "activity 100123: activity has group type 0" in report
    team = Team.objects.get()
    assert (team.status, team.completed_by_shop) == (Team.Status.COMPLETE, True)
    assert states() == {"t1": (1, ""), "t2": (2, "team_ended")}
    assert broken() == {}


def test_an_order_closed_before_the_shop_completed_its_team_is_unformed(
    source: Reference,
) -> None:
    source.add_activity(group_type=0)
    source.add_team("12345678", PAID, minutes_left=-60, lock_count=2, complete_count=2)
    source.add_order("12345678", PAID, out_trade_time=source.ends(-60))
    source.add_order("12345678", CLOSED, out_trade_time=source.ends(-118), minutes_left=-60)

    report = run(source, "--write")

    assert books(report) == {
        "kept, completed by the shop": ("1", "80.00"),
        "goes back": ("1", "80.00"),
        "went back before": ("1", "80.00"),
    }
    assert states() == {"t1": (1, ""), "t2": (2, "late_payment"), "t3": (2, "refunded")}
    told = [json.loads(task.payload) for task in NotifyTask.objects.order_by("pk")]
    assert [each.get("type") for each in told] == [None, "paid_unformed", "paid_unformed"]
    assert told[0]["outTradeNoList"] == ["t1"]
    assert broken() == {}


def test_a_team_within_its_grace_is_ended_later(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, minutes_left=-1)

    report = run(source, "--write")

    assert books(report) == {"goes back": ("1", "80.00")}
    assert (Team.objects.get().status, states()) == (0, {"t1": (1, "")})


def test_seats_taken_or_paid_after_the_end_are_released(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, minutes_left=-60, lock_count=3, complete_count=2)
    source.add_order("12345678", LOCKED, create_time=source.ends(-50))
    source.add_order("12345678", PAID, out_trade_time=source.ends(-60))

    report = run(source, "--write")

    assert "order t2: seat was locked after the team's end" in report
    assert "order t3 (80.00): seat was paid after the team's end" in report
    assert states() == {
        "t1": (2, "team_ended"),
        "t2": (2, "team_ended"),
        "t3": (2, "late_payment"),
    }
    assert NotifyTask.objects.count() == 3
    assert broken() == {}


def test_counts_are_taken_from_the_orders(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, LOCKED, lock_count=3, complete_count=2)

    report = run(source, "--write")

    assert "team 12345678 (counts 3 taken and 2 paid, has 2 and 1): counts do not fit" in report
    team = Team.objects.get()
    assert (team.locked_count, team.paid_count) == (2, 1)
    assert broken() == {}


def test_a_full_paid_team_is_completed(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, PAID, PAID)

    report = run(source, "--write")

    assert "team 12345678: team is full and paid, but open → completed" in report
    assert Team.objects.get().status == Team.Status.COMPLETE
    assert NotifyTask.objects.get().payload.endswith('["t1","t2","t3"]}')
    assert broken() == {}


def test_too_many_members_get_their_money_back(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", LOCKED, PAID, PAID, target_count=2)
    source.add_order("12345678", PAID)

    report = run(source, "--write")

    assert "order t4: team has more members than seats" in report
    assert states() == {
        "t1": (2, "refunded"),
        "t2": (1, ""),
        "t3": (1, ""),
        "t4": (2, "refunded"),
    }
    assert broken() == {}


def test_complete_teams_keep_all_who_have_paid(source: Reference) -> None:
    source.add_activity()
    source.add_team("10000001", *[PAID] * 4, status=1)
    source.add_team("10000002", PAID, LOCKED, status=1)
    source.add_team("10000003", *[PAID] * 2, CLOSED, status=1)
    source.execute("UPDATE group_buy_order_list SET out_trade_time = create_time WHERE id = 9")
    source.add_team("10000004", *[PAID] * 3, status=1, minutes_left=-30)
    source.execute("UPDATE group_buy_order_list SET out_trade_time = %s WHERE id = 12",
                   [source.ends(-20)])  # fmt: skip

    report = run(source, "--write")

    teams = Team.objects.order_by("pk").values_list("status", "target_count", "completed_by_shop")
    assert list(teams) == [(1, 4, False), (1, 3, True), (3, 3, False), (1, 3, False)]
    moved = Team.objects.get(pk=10000004).expires_at
    assert timezone.make_naive(moved) == source.ends(-20) + timedelta(seconds=1)
    assert {number for number, (status, _) in states().items() if status != PAID} == {"t6", "t9"}
    assert "complete team has more members than seats → its target is raised" in report
    assert broken() == {}


def test_a_user_has_one_seat_in_a_team(source: Reference) -> None:
    source.add_activity(take_limit_count=3)
    source.add_team("12345678", lock_count=2, complete_count=1)
    source.add_order("12345678", LOCKED, user_id="liergou")
    source.add_order("12345678", PAID, user_id="liergou")

    report = run(source, "--write")

    assert "order t1: user has two seats in a team" in report
    assert states() == {"t1": (2, "refunded"), "t2": (1, "")}
    assert broken() == {}


def test_the_limit_is_raised_to_what_users_have(source: Reference) -> None:
    source.add_activity(take_limit_count=1)
    for team_id in ("10000001", "10000002"):
        source.add_team(team_id, lock_count=1)
        source.add_order(team_id, LOCKED, user_id="liergou")

    report = run(source, "--write")

    assert "activity 100123 (2 of 1): a user has more orders" in report
    assert Activity.objects.get().take_limit == 2
    turns = Order.objects.order_by("pk").values_list("take_no", "hold_no")
    assert list(turns) == [(1, 1), (2, 2)]
    assert broken() == {}

    Activity.objects.update(take_limit=1)  # an operator's decision, which a repetition respects
    run(source, "--write")
    assert Activity.objects.get().take_limit == 1
    assert broken() == {}


def test_an_order_with_a_refund_notification_is_closed(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", PAID, PAID)
    told = {"type": "paid_unformed", "orderId": "000000000001", "teamId": "12345678"}
    source.add_task("12345678", json.dumps(told), 1)

    report = run(source, "--write")

    assert "order t1: order is live, but its refund notification was made" in report
    assert states() == {"t1": (2, "refunded"), "t2": (1, "")}
    promise = NotifyTask.objects.get()
    assert (promise.key, promise.state) == ("team_refund-1-paid_unformed", 1)
    assert broken() == {}


def test_an_out_trade_no_belongs_to_one_order(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", lock_count=2, complete_count=1)
    source.add_order("12345678", LOCKED, out_trade_no="same")
    source.add_order("12345678", PAID, out_trade_no="same")

    report = run(source, "--write")

    assert "order same (id 1): out_trade_no is there twice" in report
    assert list(Order.objects.values_list("pk", "status")) == [(2, PAID)]
    assert broken() == {}


def test_a_number_that_belongs_to_an_order_here_leaves_its_team_out(source: Reference) -> None:
    """Mutation: _import_teams() saves such a team."""
    source.add_activity()
    source.add_team("10000001", PAID)
    run(source, "--write")
    Order.objects.update(out_trade_no="here")
    source.add_team("10000002", lock_count=1, complete_count=1)
    source.add_order("10000002", PAID, out_trade_no="here")

    report = run(source, "--write")

    assert " 1  out_trade_no belongs to another order here → team is left out" in report
    assert books(report)["left out"] == ("1", "80.00")
    assert list(Team.objects.values_list("pk", flat=True)) == [10000001]
    assert Order.objects.get().team_id == 10000001


def test_turns_and_holds_go_on_behind_those_here(source: Reference) -> None:
    """Mutation: _number() without the live orders here."""
    source.add_activity(take_limit_count=3)
    source.add_team("10000001", lock_count=1)
    source.add_order("10000001", LOCKED, user_id="liergou")
    run(source, "--write")
    source.add_team("10000002", lock_count=1)
    source.add_order("10000002", LOCKED, user_id="liergou")

    run(source, "--write")

    turns = Order.objects.order_by("pk").values_list("take_no", "hold_no")
    assert list(turns) == [(1, 1), (2, 2)]
    assert broken() == {}


def test_unusable_rows_are_left_out_and_their_money_is_reported(source: Reference) -> None:
    source.add_activity()
    source.add_order("99999999", PAID)
    source.add_team("1234567x", PAID)
    source.add_team("12345678")
    source.add_team("12345679", LOCKED, lock_count=2, complete_count=1)
    source.add_order("12345679", PAID, pay_price="0.00", out_trade_no="free")

    report = run(source, "--write")

    assert "team 99999999 (1 orders): orders of a team that does not exist" in report
    assert "team 1234567x (1 orders): team has an unreadable id" in report
    assert "team 12345678 (0 orders): team has no order" in report
    assert "team 12345679 order free (id 4): order has an unreadable id" in report
    assert books(report) == {"left out": ("3", "160.00")}
    assert list(Team.objects.values_list("pk", flat=True)) == [12345679]
    assert broken() == {}


def test_a_source_that_has_gone_on_is_reported(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", LOCKED)
    run(source, "--write")
    source.execute("UPDATE group_buy_order_list SET status = 1, out_trade_time = create_time")
    source.add_order("12345678", LOCKED)
    before = everything()

    report = run(source, "--write")

    assert "team 12345678 (t1, t2): team was imported before" in report
    assert everything() == before


def test_a_batch_that_fails_leaves_nothing_and_is_done_again(
    source: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.add_activity()
    source.add_team("12345678", PAID)

    def fail(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(NotifyTask.objects, "bulk_create", fail)
        run(source, "--write")
    assert (Team.objects.count(), Order.objects.count()) == (0, 0)

    run(source, "--write")

    assert (Team.objects.count(), Order.objects.count()) == (1, 1)


def test_times_are_read_in_the_zone_of_the_source(source: Reference) -> None:
    source.add_activity()
    source.add_team("12345678", LOCKED, minutes_left=600)

    run(source, "--write", "--time-zone", "UTC")

    assert Team.objects.get().expires_at.replace(tzinfo=None) == source.ends(600)


@pytest.mark.parametrize(
    ("dsn", "options", "message"),
    [
        ("sqlite:///x", [], "Expected mysql://user:password@host:3306/group_buy_market."),
        ("group_buy_market", [], "Expected mysql://"),
        ("mysql://root@127.0.0.1:1/x", [], "mysql://root@127.0.0.1:1/x: "),
        ("mysql://root@127.0.0.1:1/x", ["--time-zone", "Moon"], "there is no time zone 'Moon'"),
    ],
)
def test_an_unreadable_source_is_refused(dsn: str, options: list[str], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("import_group_buy_market", dsn, *options, stdout=StringIO())

    assert message in str(refused.value)


def test_a_missing_table_is_named(source: Reference) -> None:
    source.execute("DROP TABLE sc_sku_activity")

    with pytest.raises(CommandError, match="has no table sc_sku_activity"):
        run(source)
