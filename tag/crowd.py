"""Membership of crowds (人群): is this user in that crowd? Add users to it, remove them.

A crowd is the union of its parts: one part for the members that operators add, and one for each
job (tag/jobs.py). Every change of the members gives the crowd a new version in the same
transaction, because a bitmap (tag/bitmaps.py) mirrors one version.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.db.models.constants import OnConflict
from django.utils.translation import gettext as _

from groupbuy import changes, snapshots, switches
from groupbuy.errors import ErrorCode, GroupBuyError
from groupbuy.ids import new_id
from groupbuy.snapshots import Snapshot
from tag import bitmaps
from tag.models import CrowdMember, CrowdPart, CrowdTag, CrowdUser

BATCH = 1000
COUNTED = 200_000  # members that a request counts: a crowd of millions takes longer than it may
KNOWN = 200_000  # user numbers cached in a process; a number never changes
STRANGERS = 10_000  # users without a number cached in a process, each for snapshots.MAX_AGE

_strangers: dict[str, float] = {}  # user id -> time.monotonic() at which the entry expires


def crowds_of(user_id: str, tag_ids: Collection[str]) -> frozenset[str]:
    """The subset of tag_ids that the user belongs to.

    A crowd that does not exist has no members, so a restriction never opens by mistake. Once this
    process has the user's number, the call takes no database query. It asks Redis only if a bitmap
    is not copied: once for the bits, and once for each bitmap to copy.
    """
    if not tag_ids:
        return frozenset()
    if switches.caches_off():
        return _from_table(user_id, tag_ids)
    known = _versions.get()
    versions = {tag_id: known[tag_id] for tag_id in tag_ids if tag_id in known}
    number = _number_or_none(user_id) if versions else None
    if number is None:
        return frozenset()
    found = bitmaps.look_up(number, versions)
    return _from_table(user_id, tag_ids) if found is None else found


def find(tag_id: str) -> CrowdTag:
    """Raises ILLEGAL_PARAMETER for a crowd that does not exist."""
    tag = CrowdTag.objects.filter(pk=tag_id).first()
    if tag is None:
        raise _no_such_crowd()
    return tag


def add_members(tag: CrowdTag, user_ids: Iterable[str]) -> None:
    """Add these users to the crowd. A repeat adds nobody.

    Raises ILLEGAL_PARAMETER if the crowd was deleted meanwhile.
    """
    for batch in batches(user_ids):
        with transaction.atomic():
            if not give_new_version(tag.pk):
                raise _no_such_crowd()
            part, _created = CrowdPart.objects.get_or_create(tag=tag, job=None, is_live=True)
            insert_members(part, number_users(batch))


def remove_members(tag: CrowdTag, user_ids: Iterable[str]) -> None:
    """Remove these users from the crowd. The next run of a job may add them back."""
    for batch in batches(user_ids):
        with transaction.atomic():
            give_new_version(tag.pk)
            leaving = CrowdMember.objects.filter(part__tag=tag, part__is_live=True)
            leaving.filter(user__user_id__in=batch).delete()


def count_members(tag: CrowdTag) -> int | None:
    """The number of members; None above COUNTED. tag/bitmaps.py counts all of them later."""
    count = members_of(tag.pk)[: COUNTED + 1].count()
    return count if count <= COUNTED else None


def discard(tag: CrowdTag) -> None:
    """Delete the crowd at once; tag/jobs.py deletes the rows of its members in batches.

    Raises ProtectedError while a job, a discount or an activity refers to it.
    """
    with transaction.atomic():
        give_new_version(tag.pk)
        CrowdPart.objects.filter(tag=tag).update(tag=None, is_live=False)
        tag.delete()


def members_of(tag_id: str) -> QuerySet[CrowdUser]:
    """The users in the crowd, each once."""
    live = CrowdMember.objects.filter(part__tag=tag_id, part__is_live=True)
    return CrowdUser.objects.filter(pk__in=live.values("user"))


def give_new_version(tag_id: str) -> bool:
    """Mark the members as changed; return whether the crowd exists.

    Locks the crowd's row, so that changes run one at a time.
    """
    found = CrowdTag.objects.filter(pk=tag_id).update(version=new_id(), size=None)
    changes.announce()
    return found == 1


def number_users(user_ids: Collection[str]) -> list[int]:
    """The numbers of these users; users without a number get the next ones.

    Only users without a number are inserted, because MySQL uses up a number for an ignored row too.
    """
    users = CrowdUser.objects.values_list("user_id", "pk")
    numbers = dict(users.filter(user_id__in=user_ids))
    if new := sorted(set(user_ids) - numbers.keys()):
        _insert_new(CrowdUser, ["user_id"], [(user_id,) for user_id in new])
        numbers |= dict(users.filter(user_id__in=new))
    return sorted(numbers.values())


def insert_members(part: CrowdPart, numbers: Iterable[int]) -> None:
    """Insert the members that the part does not have yet. Call inside a transaction."""
    rows = [(part.pk, number) for number in numbers]
    for start in range(0, len(rows), BATCH):
        _insert_new(CrowdMember, ["part_id", "user_id"], rows[start : start + BATCH])


def _insert_new(model: type[Model], columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """INSERT IGNORE. bulk_create() took half of a job's time."""
    insert = connection.ops.insert_statement(on_conflict=OnConflict.IGNORE)
    marks = ", ".join(["%s"] * len(columns))
    statement = f"{insert} {model._meta.db_table} ({', '.join(columns)}) VALUES ({marks})"
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def batches(user_ids: Iterable[str]) -> Iterator[list[str]]:
    distinct = sorted(set(user_ids))
    for start in range(0, len(distinct), BATCH):
        yield distinct[start : start + BATCH]


def _no_such_crowd() -> GroupBuyError:
    return GroupBuyError(ErrorCode.ILLEGAL_PARAMETER, _("tagId: there is no such crowd"))


def _from_table(user_id: str, tag_ids: Collection[str]) -> frozenset[str]:
    members = CrowdMember.objects.filter(
        part__tag_id__in=tag_ids, part__is_live=True, user__user_id=user_id
    )
    return frozenset(members.values_list("part__tag_id", flat=True))


def _number_or_none(user_id: str) -> int | None:
    if time.monotonic() < _strangers.get(user_id, 0):
        return None
    try:
        return _number(user_id)
    except CrowdUser.DoesNotExist:
        if len(_strangers) >= STRANGERS:
            _strangers.clear()
        _strangers[user_id] = time.monotonic() + snapshots.MAX_AGE
        return None


@lru_cache(KNOWN)
def _number(user_id: str) -> int:
    return CrowdUser.objects.values_list("pk", flat=True).get(user_id=user_id)


_versions = Snapshot(
    lambda: dict(CrowdTag.objects.values_list("tag_id", "version")),
    bypass=switches.caches_off,
    announced=True,
)
