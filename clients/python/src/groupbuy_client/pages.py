"""Links to the shopper pages, and the hand-over (跳转登录) that shows shoppers their own orders."""

import hashlib
import hmac
import secrets
import time
from datetime import timedelta
from urllib.parse import quote, urlencode

LONGEST = timedelta(minutes=15)


class Pages:
    """Links to the pages of one channel. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        secret: str | None = None,
        *,
        source: str,
        channel: str,
        valid_for: timedelta = timedelta(minutes=5),
    ) -> None:
        """secret: the channel's page secret, "gbp_…"; only handover_url() needs it.

        valid_for: the time within which a shopper has to follow a hand-over link.
        """
        if secret is not None and not secret.startswith("gbp_"):
            raise ValueError("secret: expected the page secret, which begins with gbp_")
        if not timedelta(0) < valid_for <= LONGEST:
            raise ValueError("valid_for: expected more than 0 and at most 15 minutes")
        self._url = base_url.rstrip("/")
        self._secret = secret
        self._names = (source, channel)
        self._channel = f"{_segment(source)}/{_segment(channel)}"
        self._valid_for = valid_for.total_seconds()

    def handover_url(self, user_id: str, to: str = "") -> str:
        """A link that signs the shopper in and shows the path `to`, by default all offers.

        It is valid once, so create it when the shopper clicks, and answer with a redirect.
        """
        if self._secret is None:
            raise ValueError("secret: a hand-over is signed with the page secret")
        if to and not to.startswith("/"):
            raise ValueError("to: expected a path of the platform, such as offer_path() returns")
        until, nonce = str(int(time.time() + self._valid_for)), secrets.token_urlsafe(16)
        message = "\n".join((*self._names, user_id, until, nonce, to))
        sign = hmac.new(self._secret.encode(), message.encode(), hashlib.sha256).hexdigest()
        query = {"userId": user_id, "until": until, "nonce": nonce, "to": to, "sign": sign}
        return f"{self._url}/h/{self._channel}?{urlencode(query)}"

    def offers_path(self) -> str:
        """The path of all offers of the channel."""
        return f"/o/{self._channel}"

    def offer_path(self, goods_id: str) -> str:
        return f"/o/{self._channel}/{_segment(goods_id)}"

    def orders_path(self) -> str:
        """The path of the shopper's group orders."""
        return f"/my/{self._channel}"

    def order_path(self, out_trade_no: str, *, paid: bool = False) -> str:
        """The path of an order. paid: the shopper has just paid; the page awaits the settlement."""
        query = {"no": out_trade_no} | ({"paid": "1"} if paid else {})
        return f"/my/{self._channel}/order?{urlencode(query)}"


def _segment(name: str) -> str:
    """One segment of a path, in which the platform writes "~0" for "~" and "~1" for "/"."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="")
