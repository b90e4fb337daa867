"""Events (事件): the same notifications for polling, numbered without gaps.

A request for events numbers the channel's committed promises, 1, 2, 3, under a lock on the
channel's counter. So a cursor never passes a promise whose transaction began earlier and committed
later, as a cursor over ids or times would.
"""

from collections.abc import Sequence
from typing import NamedTuple

from django.db import transaction
from django.utils.translation import gettext as _

from groupbuy import rows
from groupbuy.errors import ErrorCode, GroupBuyError
from trade.models import EventCounter, NotifyTask
from trade.rowlocks import lock_event_counter

PAGE = 100  # events in one answer
BATCH = 500  # numbered at once; larger than a page: a page that is not full is then always the last


class Events(NamedTuple):
    events: Sequence[NotifyTask]
    next: int  # the cursor for the next request
    has_more: bool


def read_events(*, channel_id: int, after: int) -> Events:
    """The channel's events that follow number `after`, oldest first.

    Raises ILLEGAL_PARAMETER for a cursor that was never given out.
    """
    return rows.settled(lambda: _read(channel_id, after))


def _read(channel_id: int, after: int) -> Events:
    following = NotifyTask.objects.filter(channel_id=channel_id, event_no__gt=after)
    page = following.order_by("event_no")[: PAGE + 1]
    found = list(page)
    if len(found) <= PAGE and _number_new(channel_id):
        found = list(page.all())
    given_out = EventCounter.objects.filter(pk=channel_id, last__gte=after)
    if not found and after and not given_out.exists():
        unknown = _("after: there has been no event of this number")
        raise GroupBuyError(ErrorCode.ILLEGAL_PARAMETER, unknown)
    events = found[:PAGE]
    last = events[-1].event_no if events else None
    return Events(events, last or after, len(found) > PAGE)


def _number_new(channel_id: int) -> bool:
    """Number the oldest promises that have none yet. False: there were none."""
    unnumbered = NotifyTask.objects.filter(channel_id=channel_id, event_no=None)
    if not unnumbered.exists():
        return False
    EventCounter.objects.get_or_create(channel_id=channel_id)
    with transaction.atomic(durable=True):
        counter = lock_event_counter(channel_id)
        # By the index of the constraint; by pk alone MariaDB walks the whole table.
        new = list(unnumbered.order_by("event_no", "pk")[:BATCH])
        for task in new:
            counter.last += 1
            task.event_no = counter.last
        NotifyTask.objects.bulk_update(new, ["event_no"])
        counter.save(update_fields=["last"])
    return True
