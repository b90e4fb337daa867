"""What several tests do: checks of the whole database, and sending one promise."""

from django.utils import timezone

from tag.crowd import crowds_of
from trade import invariants
from trade.models import NotifyTask
from trade.notify import transports
from trade.notify.transports import Failure


def broken_invariants() -> dict[str, list[str]]:
    """The sentence of each timeless invariant that does not hold -> the rows that break it."""
    return {sentence: rows for sentence, rows in invariants.check_all() if rows}


def is_member(tag_id: str, user_id: str) -> bool:
    return tag_id in crowds_of(user_id, [tag_id])


def send(task: NotifyTask) -> int | Failure | None:
    """Send this promise now; what becomes of it is not recorded."""
    return transports.send([task], now=timezone.now())[task.key]


def failure(task: NotifyTask) -> Failure:
    """Send a promise that cannot be delivered."""
    result = send(task)
    assert isinstance(result, Failure)
    return result
