"""Steps of several tests: check the whole database, send one promise."""

from django.utils import timezone

from tag.crowd import crowds_of
from trade import invariants
from trade.models import NotifyTask
from trade.notify import transports
from trade.notify.transports import Result


def broken_invariants() -> dict[str, list[str]]:
    """The sentence of each violated invariant -> the rows; those about lateness are left out."""
    return {sentence: rows for sentence, rows in invariants.check_all() if rows}


def is_member(tag_id: str, user_id: str) -> bool:
    return tag_id in crowds_of(user_id, [tag_id])


def send(task: NotifyTask) -> int | None:
    """Send this promise now and return the HTTP status; nothing is recorded."""
    result = transports.send([task], now=timezone.now())[task.key]
    assert not result.error
    return result.status_code


def failure(task: NotifyTask) -> Result:
    """Send a promise whose delivery must fail; return the result."""
    result = transports.send([task], now=timezone.now())[task.key]
    assert result.error
    return result
