"""python -m pretend_alipay --port 8200 --dir DIR: the server.

DIR contains its key pair and the application's. With MALL_DEMO the mall uses the keys in
MALL_VAR_DIR/alipay; the process that starts first makes them.
"""

import argparse
import json
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from mall import rsa2
from mall.keys import make_demo_keys
from pretend_alipay.notices import FALSE, Knobs, Notices
from pretend_alipay.trades import MOMENT, RefusedError, Trades, shanghai

APP_ID, SELLER_ID = "9021000100000001", "2088100000000001"
UNKNOWN_APP = "isv.invalid-app-id"
PAGE = """<!doctype html><html lang="zh-hans"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>支付宝（模拟）</title>
<style>:root {{ --page: #eef3fb; --card: #fff; --ink: #1b2330; --soft: #46566e; --blue: #1467c8 }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #10141b; --card: #1a202a; --ink: #e9eef6;
--soft: #a5b2c4; --blue: #7db4ff }} }}
body {{ font: 16px/1.6 -apple-system, "Segoe UI", Roboto, "PingFang SC", "Microsoft YaHei",
"Noto Sans CJK SC", sans-serif; margin: 0; padding: 0 1rem; background: var(--page);
color: var(--ink); text-align: center }}
main {{ max-width: 24rem; margin: 12vh auto 0; background: var(--card); border-radius: 18px;
padding: 1.6rem 1.4rem .6rem; overflow-wrap: anywhere }}
h1 {{ font-size: 1rem; font-weight: 600; color: var(--blue); margin: 0 0 1.4rem }}
p {{ margin: 0; color: var(--soft) }}
b {{ display: block; font-size: 2.4rem; line-height: 1.4; font-variant-numeric: tabular-nums }}
button {{ font: inherit; font-weight: 600; width: 100%; min-height: 52px; margin-top: 1.2rem;
border: 0; border-radius: 14px; background: #1467c8; color: #fff; cursor: pointer }}
a {{ display: block; padding: 1rem; color: var(--soft); text-underline-offset: .2em }}
:focus-visible {{ outline: 3px solid var(--blue); outline-offset: 2px }}</style>
<main><h1>支付宝（模拟） · pretend Alipay</h1>{}</main></html>"""


class Alipay(ThreadingHTTPServer):
    """The server. `directory` contains app_public.pem, alipay_private.pem, and the trades."""

    daemon_threads = True

    def __init__(self, port: int, directory: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.key = rsa2.private_key((directory / "alipay_private.pem").read_text())
        self.app_key = rsa2.public_key((directory / "app_public.pem").read_text())
        self.trades = Trades(directory / "trades.sqlite3")
        self.notices = Notices(APP_ID, SELLER_ID, self.key)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Alipay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        match parts:
            case ["pay", trade_no]:
                self._show(trade_no)
            case ["books"]:
                self._json(self.server.trades.books())
            case ["knobs"]:
                self._json(asdict(self.server.notices.knobs))
            case _:
                self._answer(404, "not found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        fields = dict(parse_qsl(body, keep_blank_values=True))
        match urlsplit(self.path).path.strip("/").split("/"):
            case ["gateway.do"]:
                self._gateway(fields)
            case ["pay", trade_no]:
                self._pay(trade_no)
            case ["knobs"]:
                self._set_knobs(fields)
            case _:
                self._answer(404, "not found")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the mall logs the same calls."""

    def _gateway(self, fields: dict[str, str]) -> None:
        method = fields.get("method", "")
        try:
            self._require_signed(fields)
            wanted = json.loads(fields["biz_content"])
            if method == "alipay.trade.page.pay":
                self._open(fields, wanted)
                return
            answer = {"code": "10000", "msg": "Success"} | self._call(method, wanted)
        except RefusedError as refused:
            answer = {"code": "40004", "msg": "Business Failed", "sub_code": refused.code,
                      "sub_msg": str(refused)}  # fmt: skip
        except (KeyError, ValueError, InvalidOperation) as exc:
            answer = {"code": "40002", "msg": "Invalid Arguments", "sub_msg": repr(exc)}
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        body = f'"{method.replace(".", "_")}_response":{text}'
        if answer.get("sub_code") != UNKNOWN_APP:  # Alipay has no key to sign that for
            body += f',"sign":"{rsa2.sign(text.encode(), self.server.key)}"'
        self._answer(200, f"{{{body}}}", "application/json")

    def _require_signed(self, fields: dict[str, str]) -> None:
        content = rsa2.request_content(fields)
        if fields.get("app_id") != APP_ID:
            raise RefusedError(UNKNOWN_APP, "无效的AppID参数")
        if not rsa2.is_signed(content, fields.get("sign", ""), self.server.app_key):
            raise RefusedError("isv.invalid-signature", "验签出错")

    def _call(self, method: str, wanted: dict[str, str]) -> dict[str, str]:
        trades = self.server.trades
        match method:
            case "alipay.trade.query":
                return _described(trades.find(out_trade_no=wanted["out_trade_no"]))
            case "alipay.trade.close":
                trades.close(wanted["out_trade_no"])
                return {}
            case "alipay.trade.refund":
                amount = str(Decimal(wanted["refund_amount"]))
                moved = trades.refund(wanted["trade_no"], wanted["out_request_no"], amount)
                return {"fund_change": "Y" if moved else "N", "refund_fee": amount}
            case "alipay.trade.fastpay.refund.query":
                done = trades.is_refunded(wanted["out_request_no"])
                return {"refund_status": "REFUND_SUCCESS"} if done else {}
        raise RefusedError("isv.invalid-method", "不存在的方法名")

    def _open(self, fields: dict[str, str], wanted: dict[str, str]) -> None:
        urls = {name: fields.get(name, "") for name in ("notify_url", "return_url")}
        trade = self.server.trades.open(wanted | urls)
        self._redirect(f"/pay/{trade['trade_no']}")

    def _show(self, trade_no: str) -> None:
        try:
            trade = self.server.trades.find(trade_no=trade_no)
        except RefusedError as refused:
            self._page(f"<p>{escape(str(refused))}</p>", 404)
            return
        back = escape(self._return_url(trade))
        over = trade["time_expire"] <= shanghai().strftime(MOMENT)
        if trade["status"] == "WAIT_BUYER_PAY" and not over:
            self._page(
                f"<p>{escape(trade['subject'])}</p><b>¥{escape(trade['amount'])}</b>"
                f'<form method="post"><button>确认付款 · Pay</button></form>'
                f'<a href="{back}">返回商家 · Back without paying</a>'
            )
        else:
            text = "已付款 · paid" if trade["paid_at"] else "交易已关闭 · closed"
            self._page(f'<p>{text}</p><a href="{back}">返回商家 · Back</a>')

    def _pay(self, trade_no: str) -> None:
        paid = self.server.trades.pay(trade_no)
        try:
            trade = dict(self.server.trades.find(trade_no=trade_no))
        except RefusedError as refused:
            self._answer(404, str(refused))
            return
        if paid:
            self.server.notices.send(trade)
        self._redirect(self._return_url(trade) if paid else f"/pay/{trade_no}")

    def _return_url(self, trade: Any) -> str:
        query = urlencode({"out_trade_no": trade["out_trade_no"], "trade_no": trade["trade_no"]})
        return f"{trade['return_url']}?{query}"

    def _set_knobs(self, fields: dict[str, str]) -> None:
        """Set the knobs from form fields: delay, repeat, lose, falsify. Others keep their value."""
        knobs = self.server.notices.knobs
        falsify = fields.get("falsify", knobs.falsify)
        if falsify not in ("", "signature", *FALSE):
            self._answer(400, f"falsify: expected signature, {', '.join(FALSE)} or nothing")
            return
        try:
            self.server.notices.knobs = Knobs(
                delay=float(fields.get("delay", knobs.delay)),
                repeat=int(fields.get("repeat", knobs.repeat)),
                lose=fields.get("lose", str(knobs.lose)).lower() in ("true", "1", "on"),
                falsify=falsify,
            )
        except ValueError as exc:
            self._answer(400, str(exc))
            return
        self._json(asdict(self.server.notices.knobs))

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value, ensure_ascii=False), "application/json")

    def _page(self, content: str, status: int = 200) -> None:
        self._answer(status, PAGE.format(content), "text/html")

    def _redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _described(trade: Any) -> dict[str, str]:
    found = {
        "out_trade_no": trade["out_trade_no"],
        "trade_no": trade["trade_no"],
        "trade_status": trade["status"],
        "total_amount": trade["amount"],
    }
    return found | ({"send_pay_date": trade["paid_at"]} if trade["paid_at"] else {})


def main() -> None:
    parser = argparse.ArgumentParser(description="A pretend Alipay on loopback.")
    parser.add_argument("--port", type=int, default=8200)
    parser.add_argument("--dir", type=Path, required=True, help="keys and trades")
    options = parser.parse_args()
    make_demo_keys(options.dir)
    Alipay(options.port, options.dir).serve_forever()


if __name__ == "__main__":
    main()
