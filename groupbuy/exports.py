"""Exports (导出) of long lists: a worker writes each to a file, piece by piece.

A worker claims an export with a lease and saves its progress after each piece. After a crash
another worker continues from the saved progress and overwrites whatever the file has beyond it.
Between two pieces a worker rests REST times as long as the last piece took, two seconds at most.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from groupbuy import tables
from groupbuy.listing import Listing
from groupbuy.models import Export

Clock = Callable[[], datetime]
AT_ONCE = 2000  # rows that a request writes itself
REST = 4
SECONDS = 5  # until a run stops; the next one continues
LEASE = timedelta(minutes=2)  # of a piece
BOOK_LEASE = timedelta(seconds=tables.SECONDS + 60)
KEPT = timedelta(hours=24)  # a file
GIVE_UP = timedelta(hours=6)
MOST = 5  # files of a user that are kept, and exports that wait or are being written
IS_BOOK = Q(is_read=True, kind="xlsx")
BOOKS = 2  # workbooks that are being made: each holds a thread of a worker, for minutes
READERS = 2  # exports whose rows are being read: each holds a thread that mostly rests


class TakenOverError(Exception):
    """Another worker has taken the export over, or it was deleted."""


def start(user: Any, *, model: Any, query: str, kind: str, now: datetime) -> Export | None:
    """Queue an export of the list; None if MOST of this user's have not finished.

    A repeat before the export has finished returns the same one.
    """
    asked = {"user": user, "model": model._meta.label, "query": query, "kind": kind}
    unfinished = Export.objects.filter(user=user, leased_until__isnull=False)
    if running := unfinished.filter(**asked).first():
        return running
    if unfinished.count() >= MOST:
        return None
    for old in Export.objects.filter(user=user, leased_until=None).order_by("-pk")[MOST - 1 :]:
        forget(old)
    listing = Listing(model, query, user)
    return Export.objects.create(
        **asked,
        language=get_language() or "",
        last_key=listing.last_key(),
        created_at=now,
        leased_until=now,
    )


def work(*, clock: Clock) -> bool:
    """Write one export for SECONDS; True if there is more to do."""
    export = _claim(clock())
    if export is None:
        return False
    with suppress(TakenOverError), override(export.language):
        _write_for_some_time(export, clock)
    return _free(clock()).exists()


def path_of(export: Export, *, kind: str = "") -> Path:
    return _directory() / f"{export.pk}.{kind or export.kind}"


def _directory() -> Path:
    return Path(settings.MEDIA_ROOT) / "exports"


def forget(export: Export) -> None:
    for kind in ("part", export.kind):
        path_of(export, kind=kind).unlink(missing_ok=True)
    export.delete()


def forget_old(now: datetime) -> None:
    """Delete exports that finished KEPT ago, and end those that have run longer than GIVE_UP.

    Files without an export go, too: its user was deleted, or a worker was still writing the file.
    """
    for old in Export.objects.filter(leased_until=None, finished_at__lt=now - KEPT):
        forget(old)
    for late in Export.objects.filter(leased_until__lt=now, created_at__lt=now - GIVE_UP):
        with suppress(TakenOverError), override(late.language):
            _end(late, now, _("It took too long."))
    files = list(_directory().glob("*.*"))  # before the keys: a row is older than its file
    keys = {str(key) for key in Export.objects.values_list("pk", flat=True)}
    for file in files:
        if file.stem not in keys:
            file.unlink(missing_ok=True)


def _write_for_some_time(export: Export, clock: Clock) -> None:
    """Write pieces for SECONDS. An export that fails is ended with the reason."""
    stop = time.monotonic() + SECONDS
    try:
        while export.leased_until and time.monotonic() < stop:
            if export.is_read and not _may_finish(export, clock()):
                break
            _advance(export, clock)
    except PermissionDenied:
        _end(export, clock(), _("You may not see this list any more."))
    except (IncorrectLookupParameters, OSError) as exc:
        _end(export, clock(), str(exc) or type(exc).__name__)
    else:
        _update(export, leased_until=clock() if export.leased_until else None)


def _free(now: datetime) -> QuerySet[Export]:
    """The exports that no worker holds, as far as BOOKS and READERS leave room.

    Workers that start at the same moment may be more than READERS, for SECONDS.
    """
    free = Export.objects.filter(leased_until__lte=now)
    held = Export.objects.filter(leased_until__gt=now)
    if held.filter(IS_BOOK).count() >= BOOKS:
        free = free.exclude(IS_BOOK)
    return free.filter(IS_BOOK) if held.exclude(IS_BOOK).count() >= READERS else free


def _may_finish(export: Export, now: datetime) -> bool:
    """Is it no workbook, or do others make fewer than BOOKS?

    Call with the lease, which other workers see: of those that start together none is overlooked.
    """
    return export.kind != "xlsx" or _made(now).exclude(pk=export.pk).count() < BOOKS


def _made(now: datetime) -> QuerySet[Export]:
    """The workbooks that workers are making."""
    return Export.objects.filter(IS_BOOK, leased_until__gt=now)


def _claim(now: datetime) -> Export | None:
    """Lease an export that is free; None if there is none."""
    for export in _free(now).select_related("user"):
        held = Export.objects.filter(pk=export.pk, leased_until=export.leased_until)
        if held.update(leased_until=now + LEASE):
            export.leased_until = now + LEASE
            return export
    return None


def _advance(export: Export, clock: Clock) -> None:
    """Write one piece, or after the last one make the file of all pieces."""
    began = time.monotonic()
    if export.is_read:
        _finish(export, clock)
        return
    user = export.user
    if not (user.is_active and user.is_staff):
        raise PermissionDenied
    listing = Listing(apps.get_model(export.model), export.query, user)
    rows, upto = listing.piece(export.after, export.last_key)
    if not export.size:
        rows.insert(0, listing.header)
    content = tables.ENCODERS[export.kind](rows)
    if not export.size and export.kind == "csv":
        content = tables.MARK.encode() + content
    _update(export, leased_until=clock() + LEASE)  # raises unless this worker still holds it
    _write(path_of(export, kind="part"), export.size, content)
    _update(
        export,
        rows=export.rows + len(rows) - (not export.size),
        size=export.size + len(content),
        after=upto,
        is_read=not upto,
    )
    time.sleep(min(REST * (time.monotonic() - began), 2))


def _write(path: Path, size: int, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        if os.fstat(file.fileno()).st_size < size:  # another host's disk, or a power failure
            text = _("The file is not in %(place)s: every host needs the same directory.")
            raise OSError(text % {"place": settings.MEDIA_ROOT})
        file.truncate(size)
        file.seek(size)
        file.write(content)


def _finish(export: Export, clock: Clock) -> None:
    part, path = path_of(export, kind="part"), path_of(export)
    if export.kind == "xlsx":
        _update(export, leased_until=clock() + BOOK_LEASE)
        tables.write_book(part, path)
    elif part.exists() or not path.exists():  # else a worker died after this step
        part.replace(path)
    _end(export, clock())
    part.unlink(missing_ok=True)


def _end(export: Export, now: datetime, error: str = "") -> None:
    _update(export, finished_at=now, leased_until=None, error=error[:200])


def _update(export: Export, **values: Any) -> None:
    """Save these values. Raises TakenOverError if another worker holds the export by now."""
    held = Export.objects.filter(pk=export.pk, leased_until=export.leased_until)
    if not held.update(**values):
        raise TakenOverError
    for name, value in values.items():
        setattr(export, name, value)
