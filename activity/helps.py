"""What the fields of an activity mean, for its form (字段说明)."""

from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

ACTIVITY = {
    "discount": _("⋮ beside a discount or goods adds one in a window of its own."),
    "start_at": format_lazy(
        _("From here on shoppers can open teams. Times are those of {zone}."),
        zone=settings.TIME_ZONE,
    ),
    "end_at": _("The last moment to open a team. Open teams still have their own time."),
    "group_type": _("What becomes of a team that is not full when its time is up."),
    "target_count": _("With the shopper who opens the team."),
    "valid_minutes": _("From its opening, for example 24 h or 2 d 12 h."),
    "hold_minutes": _("From the moment a seat is reserved, for example 30 min."),
    "take_limit": _("Orders of one shopper in this activity, given back ones not counted."),
    "crowd": _("For the two choices below. Without them it limits nobody."),
    "restrict_visible": _("Others see the normal price alone."),
    "restrict_join": _("Others see the team price and cannot buy at it."),
    "cut_range": _(
        "100 admits everybody. Less tries the activity on that share of the shoppers; raising it"
        " later drops nobody."
    ),
}
