"""Request bodies of the load generators."""

import time
from typing import Any

LOCK = "api/v1/gbm/trade/lock_market_pay_order"
SETTLE = "api/v1/gbm/trade/settlement_market_pay_order"
REFUND = "api/v1/gbm/trade/refund_market_pay_order"


def body(user: str, **fields: Any) -> dict[str, Any]:
    named = {"userId": user, "source": "s01", "channel": "c01"}
    return named | {"goodsId": "9890001"} | fields


def lock_body(user: str, team_id: str = "") -> dict[str, Any]:
    notify = {"notifyType": "HTTP", "notifyUrl": "http://127.0.0.1:9/notify"}
    return body(user, activityId=100123, teamId=team_id, outTradeNo=user, notifyConfigVO=notify)


def settle_body(user: str) -> dict[str, Any]:
    return body(user, outTradeNo=user, outTradeTime=time.time_ns() // 1_000_000)


def refund_body(user: str) -> dict[str, Any]:
    return body(user, outTradeNo=user)
