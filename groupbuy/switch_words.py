"""Switches (开关) in words, for the pages of the console."""

import re

from django.utils.translation import gettext as _

from groupbuy.models import Switch
from groupbuy.switches import SWITCHES


def shown(key: str, value: str) -> str:
    """A rate such as 60/10 as "60 per 10 s", any other value as it is entered."""
    rate = re.fullmatch(r"(\d+)/(\d+)", value)
    if rate is None or "/" not in SWITCHES[Switch.Key(key)].default:
        return value
    return _("%(requests)s per %(seconds)s s") % {"requests": rate[1], "seconds": rate[2]}
