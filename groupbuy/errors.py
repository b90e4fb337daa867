"""Every code on the wire with its message. Source: docs/contract.md, section 2.7."""

from enum import Enum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class ErrorCode(Enum):
    """Wire code, message for people, and the HTTP status (200 for every business answer)."""

    SUCCESS = "0000", _("Success")
    UNKNOWN = "0001", _("Unknown failure"), 500
    ILLEGAL_PARAMETER = "0002", _("Illegal parameter")
    NOT_YOUR_ORDER = "0003", _("This outTradeNo belongs to another user")
    TRY_AGAIN = "0004", _("Two requests collided, please try again")
    RATE_LIMITED = "0006", _("Too many requests"), 429
    UNAUTHENTICATED = "0401", _("API key missing or wrong"), 401
    FORBIDDEN = "0403", _("Not allowed for this API key"), 403
    UNKNOWN_DISCOUNT = "E0001", _("No such discount calculation")
    NO_OFFER = "E0002", _("No group-buying offer for these goods")
    DOWNGRADED = "E0003", _("Group buying is switched off for now")
    OUTSIDE_CUT_RANGE = "E0004", _("Group buying is not open to this user yet")
    SEAT_REFUSED = "E0005", _("Could not take a seat, nothing was updated")
    TEAM_FULL = "E0006", _("The team is full")
    OUTSIDE_CROWD = "E0007", _("The activity is limited to a crowd")
    SEAT_LOST = "E0008", _("The last seat has just been taken")
    ALREADY_IN_TEAM = "E0009", _("Already a member of this team")
    TEAM_NOT_JOINABLE = "E0010", _("This team cannot be joined")
    ACTIVITY_NOT_IN_EFFECT = "E0101", _("The activity is not in effect")
    OUTSIDE_WINDOW = "E0102", _("Outside the activity's time window")
    TAKE_LIMIT_REACHED = "E0103", _("This user has reached the activity's limit")
    ORDER_NOT_FOUND = "E0104", _("No such outTradeNo, or it has been refunded")
    BLACKLISTED = "E0105", _("This source and channel are blacklisted")
    PAID_TOO_LATE = "E0106", _("Paid outside the team's time; a refund has been ordered")
    TOO_MANY_HOLDS = "E0107", _("Too many orders wait for payment: pay or give one back first")

    def __init__(self, code: str, message: Promise, status: int = 200) -> None:
        self.code = code
        self.message = message
        self.status = status


class GroupBuyError(Exception):
    """A refusal the caller should see. Anything else is a bug and becomes a 500."""

    def __init__(self, error: ErrorCode, detail: Any = "") -> None:
        super().__init__(f"{error.code} {detail}".rstrip())
        self.error = error
        self.detail = detail
