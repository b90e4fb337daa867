"""Replay (重新投递): which promises an operator sends again, one by one or by range.

Used by manage.py replay_notifications and the console. A promise that is sent again keeps its key,
by which its receiver recognises the repeat.
"""

from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from trade.models import NotifyTask


def chosen_by_key(keys: Collection[str]) -> QuerySet[NotifyTask]:
    """These promises, delivered or not. Raises ValueError naming the keys that do not exist."""
    chosen = NotifyTask.objects.filter(key__in=keys)
    unknown = set(keys) - set(chosen.values_list("key", flat=True))
    if unknown:
        raise ValueError(", ".join(sorted(unknown)))
    return chosen


def chosen_by_range(
    *, endpoint: str, since: datetime | None, until: datetime | None, delivered: bool
) -> QuerySet[NotifyTask]:
    """Promises to an endpoint ("" for any) made from `since` on and before `until`.

    Delivered ones are included on request, for a mall that has lost them.
    """
    bounds = {"endpoint": endpoint, "created_at__gte": since, "created_at__lt": until}
    chosen = NotifyTask.objects.filter(**{name: value for name, value in bounds.items() if value})
    return chosen if delivered else chosen.exclude(state=NotifyTask.State.DELIVERED)
