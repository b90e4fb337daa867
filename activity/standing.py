"""Where an activity stands, and what an operator does next (活动的现状), in one sentence."""

from datetime import datetime

from django.utils.translation import gettext as _

from activity.models import Activity
from groupbuy.moments import to_minute


def standing(activity: Activity, now: datetime) -> str:
    moments = {"start": to_minute(activity.start_at), "end": to_minute(activity.end_at)}
    match Activity.Status(activity.status):
        case Activity.Status.CREATED:
            return _draft(activity, now) % moments
        case Activity.Status.IN_EFFECT:
            return _in_effect(activity, now) % moments
        case Activity.Status.PAUSED:
            return _("Paused: nobody can open or join a team. Resume it, or close it.")
        case Activity.Status.EXPIRED:
            text = _("Over since %(end)s. Extend it to sell again, or copy it for another time.")
            return text % moments
        case Activity.Status.ABANDONED:
            return _("Closed: nobody can open or join a team. To sell again, copy it.")


def _draft(activity: Activity, now: datetime) -> str:
    if activity.end_at <= now:
        return _("A draft whose end, %(end)s, has passed: move the end, then publish it.")
    if not activity.offers.exists():
        return _("A draft without goods: add an offer at the bottom of the form, then publish it.")
    return _(
        "A draft: shoppers do not see it yet. Look at its preview, its explanation and a forecast,"
        " then publish it: it sells from %(start)s until %(end)s."
    )


def _in_effect(activity: Activity, now: datetime) -> str:
    if now < activity.start_at:
        return _("Published: shoppers can open teams from %(start)s until %(end)s.")
    if now < activity.end_at:
        return _("Selling: shoppers can open and join teams until %(end)s.")
    return _("Its end, %(end)s, has passed: nobody can open a team any more.")
