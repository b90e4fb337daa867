"""The calls of a mall's back end. The platform makes every one of them safe to repeat."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from groupbuy_client.answers import (
    Confirmation,
    Event,
    Market,
    Order,
    Page,
    Refund,
    Seat,
    Settlement,
    Team,
    Trial,
    read,
)
from groupbuy_client.errors import GroupBuyError

T = TypeVar("T")
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each repeat
NO_ANSWER = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class Client:
    """The calls of one channel. Safe to share between threads: each has a session of its own.

    Every call raises GroupBuyError if the platform refuses it. A call that fails with no answer,
    5xx, 429, 0001, 0004 or 0006 is repeated, once for each of `pauses`, before it raises.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        source: str,
        channel: str,
        timeout: float = 15,
        pauses: Sequence[float] = PAUSES,
        session: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        """base_url: https://platform.example.com; api_key: None on a channel open without one.

        timeout: seconds to connect, and between two bytes of an answer.
        pauses: seconds before each repeat; () repeats nothing. If the platform asks for a pause
        longer than all of these, the call raises at once: see GroupBuyError.retry_after.
        session: makes each thread's session, for example with a proxy or a certificate.
        """
        self._url = f"{base_url.rstrip('/')}/api/v1/gbm/"
        self._api_key = api_key
        self._channel = {"source": source, "channel": channel}
        self._timeout = timeout
        self._pauses = tuple(pauses)
        self._new_session = session
        self._local = threading.local()

    def query_market(self, *, user_id: str, goods_id: str) -> Market:
        """The index query (首页查询): price, open teams, statistics."""
        fields = {"userId": user_id, "goodsId": goods_id}
        return self._post(Market, "index/query_group_buy_market_config", fields)

    def trial(self, *, user_id: str, goods_id: str, activity_id: int | None = None) -> Trial:
        """The trial (试算). It also returns refusals: see Trial.refusals."""
        fields = {"userId": user_id, "goodsId": goods_id, "activityId": activity_id}
        answer = self._call("POST", "trade/trial", json=fields | self._channel)
        if answer["data"] is None:
            raise GroupBuyError(answer["code"], answer["info"], status=200)
        return _read(Trial, answer["data"])

    def lock(
        self,
        *,
        user_id: str,
        goods_id: str,
        activity_id: int,
        out_trade_no: str,
        notify_url: str | None,
        team_id: str | None = None,
    ) -> Seat:
        """Hold a seat (锁单) before the shopper pays: in this team, or in a new one if None.

        out_trade_no: the mall's own order number, never used for another order.
        notify_url: the callback URL of a new team; None: its notifications go to RabbitMQ.
        """
        notify_type = "MQ" if notify_url is None else "HTTP"
        fields = {
            "userId": user_id,
            "goodsId": goods_id,
            "activityId": activity_id,
            "outTradeNo": out_trade_no,
            "teamId": team_id,
            "notifyConfigVO": {"notifyType": notify_type, "notifyUrl": notify_url},
        }
        return self._post(Seat, "trade/lock_market_pay_order", fields)

    def settle(self, *, user_id: str, out_trade_no: str, paid_at: datetime) -> Settlement:
        """Settle (结算) an order. paid_at: the payment provider's time of the payment."""
        moment = _moment("paid_at", paid_at)
        fields = {"userId": user_id, "outTradeNo": out_trade_no, "outTradeTime": moment}
        return self._post(Settlement, "trade/settlement_market_pay_order", fields)

    def refund(self, *, user_id: str, out_trade_no: str) -> Refund:
        """Give an order back (退单). Return money on TeamRefund, not on this answer."""
        fields = {"userId": user_id, "outTradeNo": out_trade_no}
        return self._post(Refund, "trade/refund_market_pay_order", fields)

    def confirm_refund(
        self, *, user_id: str, out_trade_no: str, amount: Decimal, refunded_at: datetime
    ) -> Confirmation:
        """Report that the money of a closed order is back (退款到账), once for each order.

        refunded_at: the payment provider's time of the refund. An older platform, which lacks this
        call, refuses it with status 404.
        """
        fields = {
            "userId": user_id,
            "outTradeNo": out_trade_no,
            "refundAmount": float(amount),
            "refundTime": _moment("refunded_at", refunded_at),
        }
        return self._post(Confirmation, "trade/confirm_refund", fields)

    def team(self, team_id: str) -> Team:
        """A team's progress and members."""
        return _read(Team, self._get(f"trade/teams/{quote(team_id, safe='')}"))

    def order(self, out_trade_no: str) -> Order:
        """An order's state and timeline."""
        return _read(Order, self._get(f"trade/orders/{quote(out_trade_no, safe='')}"))

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """All of the channel's notifications after this number, oldest first, page by page."""
        more = True
        while more:
            page = _read(Page, self._get("events", after=after))
            yield from page.events
            after, more = page.next, page.has_more

    def _post(self, cls: type[T], path: str, fields: Mapping[str, Any]) -> T:
        return _read(cls, _data(self._call("POST", path, json={**fields, **self._channel})))

    def _get(self, path: str, **query: Any) -> Any:
        """GET. Without an API key, which implies the channel, the query names the channel."""
        named = {} if self._api_key else self._channel
        return _data(self._call("GET", path, params=query | named))

    def _call(self, method: str, path: str, **request: Any) -> Any:
        """Send a request, with repeats; return the answer's envelope. Raises GroupBuyError."""
        pauses = iter(self._pauses)
        while True:
            try:
                return self._send(method, path, **request)
            except GroupBuyError as error:
                pause = next(pauses, None)
                longest = max(self._pauses, default=0)
                if pause is None or not error.retryable or error.retry_after > longest:
                    raise
                # Random, so that clients do not all repeat at the same moment after an outage.
                time.sleep(max(error.retry_after, pause * random.uniform(0.5, 1)))  # noqa: S311

    def _send(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._session().request(
                method,
                self._url + path,
                timeout=self._timeout,
                allow_redirects=False,  # a redirected POST would become a GET
                auth=self._authorize,
                **request,
            )
        except NO_ANSWER as exc:
            raise GroupBuyError("", f"no answer: {exc}") from exc
        return _envelope(response)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session()
        session: requests.Session = self._local.session
        return session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the Authorization header. As `auth`, it also makes requests ignore ~/.netrc."""
        if self._api_key:
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _moment(name: str, at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError(f"{name}: expected a datetime with a time zone")
    return at.isoformat(timespec="milliseconds")


def _envelope(response: requests.Response) -> Any:
    """The answer as {code, info, data}. Raises GroupBuyError unless status is 200, or to repeat."""
    status = response.status_code
    retry_after = re.fullmatch(r"[0-9]{1,9}", response.headers.get("Retry-After", ""))
    seconds = int(retry_after[0]) if retry_after else 0
    try:
        answer = response.json(parse_float=Decimal)
        code, info, _ = answer["code"], answer["info"], answer["data"]
    except (ValueError, KeyError, TypeError) as exc:
        info = f"HTTP {status} without an answer from the platform"
        known = None if 200 <= status < 300 else status
        raise GroupBuyError("", info, status=known, retry_after=seconds) from exc
    error = GroupBuyError(code, info, status=status, retry_after=seconds)
    if status != 200 or error.retryable:
        raise error
    return answer


def _data(answer: Any) -> Any:
    if answer["code"] != "0000":
        raise GroupBuyError(answer["code"], answer["info"], status=200)
    return answer["data"]


def _read(cls: type[T], data: Any) -> T:
    try:
        return read(cls, data)
    except ValueError as exc:
        raise GroupBuyError("", f"not readable: {exc}", status=200) from exc
