"""A stub of the platform: tests choose its answers, and it records the calls."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from mall.models import Order

ACTIVITY, TEAM = 100123, "7001"
PRICES = {"originalPrice": 100.0, "deductionPrice": 20.0, "payPrice": 80.0}


def success(*numbers: str) -> dict[str, Any]:
    return {"teamId": TEAM, "outTradeNoList": list(numbers)}


def refund_of(order: Order, kind: str) -> dict[str, Any]:
    ids = {"userId": order.shopper.user_id, "teamId": TEAM, "orderId": "1", "activityId": ACTIVITY}
    return {"type": kind, "outTradeNo": order.number, **ids}


class Platform(ThreadingHTTPServer):
    """The server. refusals maps a call's name, such as lock, to the code of its answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refusals: dict[str, str] = {}
        self.prices = dict(PRICES)
        self.pay_deadline = datetime.now(UTC) + timedelta(minutes=15)
        self.close_reason = ""
        self.refund_code = "success"  # the inner code of a refund's answer
        self.order: dict[str, Any] = {}  # fields in which GET trade/orders differs
        self.team: dict[str, Any] = {}  # fields in which the team of the index query differs
        self.events: list[dict[str, Any]] = []
        self.during: dict[str, Any] = {}  # functions run once, before a call of this name answers
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def called(self, name: str) -> list[dict[str, Any]]:
        return [fields for called, fields in self.calls if called == name]

    def answer(self, name: str, fields: dict[str, Any], path: str) -> Any:
        seat = {"orderId": "9001", "tradeOrderStatus": 0, "teamId": fields.get("teamId") or TEAM}
        goods = {"goodsId": fields.get("goodsId"), "goodsName": "a book", **self.prices}
        match name:
            case "lock":
                return seat | self.prices
            case "trial":
                return {"activityId": ACTIVITY, "goods": goods, "visible": True, "enable": True,
                        "refusals": []}  # fmt: skip
            case "settlement":
                return {"userId": fields["userId"], "teamId": TEAM, "activityId": ACTIVITY,
                        "outTradeNo": fields["outTradeNo"]}  # fmt: skip
            case "refund":
                return {"userId": fields["userId"], "orderId": "9001", "teamId": TEAM,
                        "code": self.refund_code, "info": "成功"}  # fmt: skip
            case "confirm":
                return {"userId": fields["userId"], "orderId": "9001", "teamId": TEAM,
                        "outTradeNo": fields["outTradeNo"], "refundAmount": fields["refundAmount"],
                        "refundTime": fields["refundTime"]}  # fmt: skip
            case "orders":
                return self._order(path.rsplit("/", 1)[-1])
            case "events":
                return {"events": self.events, "next": len(self.events), "hasMore": False}
        return self._market(goods)

    def _order(self, number: str) -> dict[str, Any]:
        return {"outTradeNo": number, "userId": "u", "activityId": ACTIVITY, "orderId": "9001",
                **self.prices, "tradeOrderStatus": 0, "closeReason": self.close_reason,
                "payDeadline": self.pay_deadline.isoformat(), "teamId": TEAM, "teamStatus": 0,
                "timeline": [], **self.order}  # fmt: skip

    def _market(self, goods: dict[str, Any]) -> dict[str, Any]:
        moment = self.pay_deadline.isoformat()
        team = {"userId": "xf***e", "teamId": TEAM, "activityId": ACTIVITY, "targetCount": 3,
                "completeCount": 0, "lockCount": 1, "validStartTime": moment,
                "validEndTime": moment, "validTimeCountdown": "00:15:00",
                "outTradeNo": None, **self.team}  # fmt: skip
        counts = {"allTeamCount": 1, "allTeamCompleteCount": 0, "allTeamUserCount": 1}
        return {"activityId": ACTIVITY, "goods": goods, "visible": True, "enable": True,
                "teamList": [team], "teamStatistic": counts}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Platform
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _serve(self, fields: dict[str, Any]) -> None:
        path = urlsplit(self.path).path
        name = path.removeprefix("/api/v1/gbm/").removeprefix("trade/").split("_")[0].split("/")[0]
        self.server.calls.append((name, fields | {"key": self.headers.get("Authorization")}))
        code = self.server.refusals.get(name, "0000")
        data = self.server.answer(name, fields, path) if code == "0000" else None
        if happens := self.server.during.pop(name, None):
            happens()
        body = json.dumps({"code": code, "info": "", "data": data}).encode()
        self.send_response({"0001": 503, "0002": 404}.get(code, 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
