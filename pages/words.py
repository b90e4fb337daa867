"""How the pages write money, moments and lengths of time, in the reader's language."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

MINUTE, HOUR, DAY = 60, 3600, 24 * 3600


def money(amount: Decimal) -> str:
    """¥80 or ¥79.90."""
    text = f"{amount:,.2f}"
    return f"¥{text.removesuffix('.00')}"


def both(first: str, second: str) -> str:
    """Join two sentences; Chinese has no space between them."""
    return _("%(first)s %(second)s") % {"first": first, "second": second} if second else first


def moment(at: datetime, now: datetime) -> str:
    """20:45 if that is the same day as now, or else dated()."""
    local = timezone.localtime(at)
    if local.date() == timezone.localtime(now).date():
        return local.strftime("%H:%M")
    return dated(at)


def dated(at: datetime) -> str:
    """The moment with its date, for texts that may be read on another day."""
    return date_format(timezone.localtime(at), _("j M, H:i"))


def left(until: datetime, now: datetime) -> str:
    """A countdown as live.js writes it: 1 d 02:03:04, or 03:04 within the hour."""
    seconds = max(0, int((until - now) / timedelta(seconds=1)))
    days, rest = divmod(seconds, DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, seconds = divmod(rest, MINUTE)
    if days:
        return _("%(days)d d %(clock)s") % {
            "days": days,
            "clock": f"{hours:02}:{minutes:02}:{seconds:02}",
        }
    return f"{hours:02}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
