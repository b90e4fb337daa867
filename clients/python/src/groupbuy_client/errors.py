"""The two exceptions: GroupBuyError for calls, WebhookError for callbacks."""

import re

NAMED_FIELD = re.compile(r"[^:]*: ([A-Za-z]\w*(?:\.\w+)*): ")  # "非法参数: userId: …"
REPEATABLE = ("0001", "0004", "0006")


class GroupBuyError(Exception):
    """The platform refused a call, or did not answer it.

    code         of the answer, e.g. "E0006"; "" without a readable answer of the platform
    info         a text for people
    field        the request's field that a "0002" is about, if info names one; else None
    status       HTTP status; None without a readable answer
    retry_after  seconds to wait before the next request; 0 if the answer names none
    """

    def __init__(
        self, code: str, info: str, *, status: int | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(f"{code} {info}".strip())
        self.code = code
        self.info = info
        self.status = status
        self.retry_after = retry_after
        named = NAMED_FIELD.match(info) if code == "0002" else None
        self.field = named[1] if named else None

    @property
    def retryable(self) -> bool:
        """May the same request succeed later? A repeat never has an effect twice."""
        status = self.status
        return status is None or status >= 500 or status == 429 or self.code in REPEATABLE


class WebhookError(ValueError):
    """A callback is forged, too old, or unreadable. Use nothing from it."""
