"""The Python client of clients/python against the platform."""

import ast
import re
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from activity.models import Activity
from groupbuy.models import ApiKey, Channel
from groupbuy_client import (
    Client,
    Confirmation,
    Event,
    Goods,
    GroupBuyError,
    Member,
    OrderStatus,
    Refund,
    Seat,
    Settlement,
    Statistic,
    Step,
    Team,
    TeamStatus,
    TeamSuccess,
)
from tests.factories import GOODS, URL, make_activity, make_channel, make_promise
from trade.models import NotifyTask, Order
from trade.notify.transports import signed_headers

PACKAGE = Path(__file__).parent.parent / "clients/python"


@pytest.fixture
def platform(transactional_db: None, live_server: Any) -> str:
    """The platform's address; one activity that is open now."""
    now, hour = timezone.now(), timedelta(hours=1)
    make_activity(target_count=2, start_at=now - hour, end_at=now + hour)
    return str(live_server.url)


@pytest.fixture
def api_key() -> str:
    key, text = ApiKey.issue(channel=make_channel(), name="tests")
    key.save()
    return text


@pytest.fixture
def mall(platform: str, api_key: str) -> Client:
    return Client(platform, api_key, source="s01", channel="c01", pauses=())


def lock(mall: Client, user_id: str, team_id: str | None = None, **fields: Any) -> Seat:
    defaults: dict[str, Any] = {
        "out_trade_no": f"t-{user_id}",
        "goods_id": GOODS,
        "activity_id": 100123,
        "notify_url": URL,
    }
    return mall.lock(user_id=user_id, team_id=team_id, **(defaults | fields))


def settle(mall: Client, user_id: str) -> Settlement:
    paid_at = timezone.now()
    return mall.settle(user_id=user_id, out_trade_no=f"t-{user_id}", paid_at=paid_at)


def test_query_and_trial_answer_price_and_teams(mall: Client) -> None:
    goods = Goods(GOODS, "a book", Decimal("100.00"), Decimal("20.00"), Decimal("80.00"))
    seat = lock(mall, "xiaofuge")

    trial = mall.trial(user_id="a", goods_id=GOODS)
    market = mall.query_market(user_id="a", goods_id=GOODS)

    assert (trial.activity_id, trial.goods, trial.refusals) == (100123, goods, ())
    assert (trial.visible, trial.enable) == (True, True)
    assert (market.activity_id, market.goods) == (100123, goods)
    assert market.team_statistic == Statistic(1, 0, 1)
    [card] = market.team_list
    assert (card.team_id, card.user_id, card.out_trade_no) == (seat.team_id, "xi***e", None)
    assert card.valid_end_time - card.valid_start_time == timedelta(minutes=15)
    assert str(market.goods.pay_price) == "80.00"


def test_a_refused_trial_is_returned_with_its_reasons(mall: Client) -> None:
    Activity.objects.update(status=Activity.Status.ABANDONED)

    trial = mall.trial(user_id="a", goods_id=GOODS, activity_id=100123)

    assert [refusal.code for refusal in trial.refusals] == ["E0101"]
    assert trial.goods is not None
    with pytest.raises(GroupBuyError, match="0002"):
        mall.trial(user_id="", goods_id=GOODS)


def test_a_team_from_lock_to_refund(mall: Client) -> None:
    seat = lock(mall, "a")
    lock(mall, "b", seat.team_id)
    settled = [settle(mall, user_id) for user_id in "ab"]
    refunds = [mall.refund(user_id="a", out_trade_no="t-a") for _ in range(2)]
    team, order = mall.team(seat.team_id), mall.order("t-a")

    prices = (Decimal("100.00"), Decimal("20.00"), Decimal("80.00"))
    assert seat == Seat(seat.order_id, *prices, OrderStatus.LOCKED, seat.team_id)
    assert settled[1] == Settlement("b", seat.team_id, 100123, "t-b")
    assert refunds == [
        Refund("a", seat.order_id, seat.team_id, "success", "成功"),
        Refund("a", seat.order_id, seat.team_id, "repeat", "重复"),
    ]
    assert isinstance(team, Team)
    assert team.status is TeamStatus.COMPLETE_WITH_REFUNDS
    assert team.members == (Member("b", "t-b", OrderStatus.PAID),)
    assert (order.trade_order_status, order.close_reason) == (OrderStatus.CLOSED, "refunded")
    assert [step.event for step in order.timeline] == ["locked", "paid", "closed"]
    assert isinstance(order.timeline[0], Step)
    assert order.pay_deadline.utcoffset() == timedelta(0)


def test_a_refund_is_confirmed_and_again(mall: Client) -> None:
    seat = lock(mall, "a")
    settle(mall, "a")
    mall.refund(user_id="a", out_trade_no="t-a")
    at = timezone.now().replace(microsecond=0)
    money: dict[str, Any] = {"amount": Decimal("80.00"), "refunded_at": at}

    confirmed = [mall.confirm_refund(user_id="a", out_trade_no="t-a", **money) for _ in range(2)]

    ids = ("a", seat.order_id, seat.team_id, "t-a")
    assert confirmed == [Confirmation(*ids, Decimal("80.00"), at)] * 2
    order = mall.order("t-a")
    assert (order.refund_amount, order.refund_time) == (Decimal("80.00"), at)
    money["amount"] = Decimal("79.90")
    with pytest.raises(GroupBuyError) as refused:
        mall.confirm_refund(user_id="a", out_trade_no="t-a", **money)
    assert (refused.value.code, refused.value.field) == ("0002", "refundAmount")
    money["refunded_at"] = at.replace(tzinfo=None)
    with pytest.raises(ValueError, match="refunded_at"):
        mall.confirm_refund(user_id="a", out_trade_no="t-a", **money)


def test_events_are_pulled_page_by_page(mall: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade.notify.events.PAGE", 2)
    payload = '{"teamId":"1","outTradeNoList":["x"]}'
    keys = [make_promise(f"team_success-{n}", payload=payload).key for n in range(5)]

    events = list(mall.events())

    assert [(event.no, event.id) for event in events] == list(enumerate(keys, start=1))
    assert isinstance(events[0], Event)
    assert events[0].notification == TeamSuccess("team_success-0", "1", ("x",))
    assert [event.no for event in mall.events(after=3)] == [4, 5]
    assert list(mall.events(after=5)) == []


def test_a_refusal_has_its_code_and_a_0002_its_field(mall: Client, api_key: str) -> None:
    with pytest.raises(GroupBuyError) as no_offer:
        lock(mall, "a", goods_id="nothing")
    with pytest.raises(GroupBuyError) as no_user:
        lock(mall, "")
    with pytest.raises(GroupBuyError) as bad_url:
        lock(mall, "a", notify_url="")

    assert (no_offer.value.code, no_offer.value.info) == ("E0002", "无拼团营销配置")
    assert (no_offer.value.field, no_offer.value.retryable) == (None, False)
    assert (no_user.value.code, no_user.value.field) == ("0002", "userId")
    assert bad_url.value.field == "notifyConfigVO.notifyUrl"
    assert not Order.objects.exists()


def test_keys(platform: str, api_key: str) -> None:
    wrong = Client(platform, "gbm_1_2", source="s01", channel="c01", pauses=())
    without = Client(platform, source="s01", channel="c01", pauses=())

    with pytest.raises(GroupBuyError) as refused:
        wrong.order("t-a")
    assert (refused.value.code, refused.value.status) == ("0401", 401)
    Channel.objects.update(allow_without_key=True)
    seat = lock(without, "a", out_trade_no="2036/05/a")
    assert without.order("2036/05/a").order_id == seat.order_id


def test_times_have_a_zone_in_both_directions(mall: Client) -> None:
    lock(mall, "a")
    paid_at = timezone.now().astimezone(ZoneInfo("Asia/Shanghai"))

    with pytest.raises(ValueError, match="paid_at"):
        mall.settle(user_id="a", out_trade_no="t-a", paid_at=paid_at.replace(tzinfo=None))
    mall.settle(user_id="a", out_trade_no="t-a", paid_at=paid_at)

    stored = Order.objects.get().paid_at
    assert stored == paid_at.replace(microsecond=paid_at.microsecond // 1000 * 1000)


def test_the_readmes_code_locks_settles_and_takes_the_callback(platform: str, api_key: str) -> None:
    text = (PACKAGE / "README.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    channel = make_channel()
    Activity.objects.update(target_count=1)
    Channel.objects.update(callback_hosts="mall.example.com")
    for example, real in {
        "https://platform.example.com": platform,
        "gbm_your_key": api_key,
        "whsec_your_secret": channel.webhook_secret,
    }.items():
        code = code.replace(example, real)
    names: dict[str, Any] = {}
    printed = StringIO()

    with redirect_stdout(printed):
        exec(code, names)  # noqa: S102  our own README
        task = NotifyTask.objects.get()
        body = task.payload.encode()
        headers = signed_headers(task.key, body, channel, timezone.now())
        answer = names["group_buy_notify"](headers, body)

    assert task.target == "https://mall.example.com/group_buy_notify"
    assert answer == "success"
    assert printed.getvalue().splitlines() == ["charge 80.00", "ship 20260131-0001"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_the_package_needs_requests_and_nothing_else() -> None:
    imported = {
        alias.partition(".")[0]
        for path in (PACKAGE / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for alias in _modules(node)
    }

    assert imported - set(sys.stdlib_module_names) == {"groupbuy_client", "requests"}


def _modules(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or ""]
    return []
