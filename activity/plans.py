"""Copy an activity (复制活动) and extend one (延长活动).

Both refuse a second offer of the same goods on the same channel at the same time, as the form of an
activity does. So a repeated copy of an activity with offers is refused.
"""

from copy import copy
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from activity.models import Activity, Offer
from groupbuy import changes

Status = Activity.Status
EXTENDABLE = (Status.CREATED, Status.IN_EFFECT, Status.PAUSED, Status.EXPIRED)


def copy_activity(
    original: Activity, *, name: str, start_at: datetime, end_at: datetime
) -> Activity:
    """A draft with the same rules and offers. Raises ValidationError."""
    draft = copy(original)
    draft._state = copy(original._state)
    draft.pk, draft._state.adding = None, True
    draft.name, draft.status, draft.gives_back = name, Status.CREATED, False
    draft.start_at, draft.end_at = start_at, end_at
    draft.full_clean()
    draft.refuse_overlap(original.same_goods())
    with transaction.atomic():
        draft.save()
        for offer in original.offers.select_related("sku", "channel").order_by("pk"):
            Offer.objects.create(channel=offer.channel, sku=offer.sku, activity=draft)
    return draft


def extend(activity: Activity, *, end_at: datetime, now: datetime) -> Activity:
    """Give the activity a later end; an expired one is in effect again. Raises ValidationError.

    Teams that are open keep their own end.
    """
    if activity.status not in EXTENDABLE:
        raise ValidationError(_("A closed activity cannot be extended: copy it."))
    if end_at <= max(activity.end_at, now):
        raise ValidationError({"end_at": _("Choose a moment after the present end and after now.")})
    longer = copy(activity)
    longer.end_at = end_at
    if longer.status == Status.EXPIRED:
        longer.status = Status.IN_EFFECT
    longer.full_clean()
    unchanged = Activity.objects.filter(
        pk=activity.pk, status=activity.status, end_at=activity.end_at
    )
    if not unchanged.update(end_at=longer.end_at, status=longer.status):
        raise ValidationError(_("The activity has just been changed: look at it again."))
    changes.announce()
    return longer
