"""Notifications of payments, with the faults that the knobs ask for."""

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from cryptography.hazmat.primitives.asymmetric import rsa

from mall import rsa2
from pretend_alipay.trades import MOMENT, shanghai

PAUSES = (1, 2, 5, 10, 30)  # seconds, after an answer that is not "success"
FALSE = {"amount": ("total_amount", "0.01"), "app_id": ("app_id", "2021000000000000"),
         "order": ("out_trade_no", "19700101000000000000")}  # fmt: skip


@dataclass(slots=True)
class Knobs:
    """The faults of notifications; by default none."""

    delay: float = 0.0  # seconds
    repeat: int = 0  # copies in addition to the first
    lose: bool = False
    falsify: str = ""  # "signature", or a key of FALSE


class Notices:
    def __init__(self, app_id: str, seller_id: str, key: rsa.RSAPrivateKey) -> None:
        self.knobs = Knobs()
        self._app_id, self._seller_id, self._key = app_id, seller_id, key
        self._opener = build_opener(ProxyHandler({}))  # the mall is on loopback: no proxy

    def send(self, trade: Mapping[str, str]) -> None:
        """Notify the mall of a payment, from a thread of its own."""
        if not self.knobs.lose:
            threading.Thread(target=self._send, args=(trade,), daemon=True).start()

    def fields(self, trade: Mapping[str, str]) -> dict[str, str]:
        fields = {
            "notify_id": secrets.token_hex(17),
            "notify_type": "trade_status_sync",
            "notify_time": shanghai().strftime(MOMENT),
            "app_id": self._app_id,
            "seller_id": self._seller_id,
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "out_trade_no": trade["out_trade_no"],
            "trade_no": trade["trade_no"],
            "trade_status": trade["status"],
            "total_amount": trade["amount"],
            "subject": trade["subject"],
            "gmt_payment": trade["paid_at"],
            "body": "",
        }
        if false := FALSE.get(self.knobs.falsify):
            fields[false[0]] = false[1]
        sign = rsa2.sign(rsa2.notice_content(fields), self._key)
        if self.knobs.falsify == "signature":
            fields["total_amount"] = "0.01"
        return fields | {"sign": sign}

    def _send(self, trade: Mapping[str, str]) -> None:
        time.sleep(self.knobs.delay)
        body = urlencode(self.fields(trade)).encode()
        for _ in range(1 + self.knobs.repeat):
            for pause in (*PAUSES, 0):
                if self._post(trade["notify_url"], body):
                    break
                time.sleep(pause)

    def _post(self, url: str, body: bytes) -> bool:
        try:
            with self._opener.open(Request(url, body), timeout=15) as answer:  # noqa: S310
                return bool(answer.read(100).strip() == b"success")
        except OSError:
            return False
