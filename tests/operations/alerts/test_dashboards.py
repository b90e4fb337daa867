"""A live Prometheus returns data for every query of the dashboards, so no panel is empty."""

from contextlib import suppress

import pytest

from bin.dashboards import DASHBOARDS
from groupbuy_client import GroupBuyError
from tests.operations.alerts.conftest import Watched, complete_team
from tests.sink import Sink, reply
from tests.stack import wait_for

pytestmark = pytest.mark.operations
QUERIES = {
    f"{name}: {panel.title}": [query.expression for query in panel.queries]
    for name, panels in DASHBOARDS.items()
    for panel in panels
}


@pytest.fixture(scope="module")
def traded(watched: Watched) -> Watched:
    """Let teams complete, an order be given back, and a callback fail."""
    _trade(watched, 0)
    wait_for(lambda: watched.query("gbm_payments_total") != [], "the metrics of the trade")
    _trade(watched, 1)  # a counter needs two values for a rate
    watched.manage("check_invariants")
    return watched


def _trade(watched: Watched, run: int) -> None:
    sink = Sink(lambda request: reply(500 if run else 200))
    mall, name = watched.mall(), f"dashboard{run}-"
    complete_team(mall, name, sink.url)
    with suppress(GroupBuyError):
        mall.trial(user_id=name, goods_id="none")
    mall.refund(user_id=f"{name}1", out_trade_no=f"{name}1")
    wait_for(lambda: _tried(watched, run), "the callbacks")
    sink.stop()


def _tried(watched: Watched, run: int) -> bool:
    outcome = "failed" if run else "delivered"
    return bool(watched.query(f'gbm_notification_attempts_total{{outcome="{outcome}"}} > 0'))


@pytest.mark.parametrize("panel", QUERIES)
def test_no_panel_is_empty(traded: Watched, panel: str) -> None:
    for expression in QUERIES[panel]:
        asked = expression.replace("$__rate_interval", "1m")
        wait_for(lambda: _has_value(traded, asked), asked, 60)  # noqa: B023  it is called at once


def _has_value(watched: Watched, expression: str) -> bool:
    return any(series["value"][1] != "NaN" for series in watched.query(expression))
