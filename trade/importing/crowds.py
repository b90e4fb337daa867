"""Crowd tags, their members and jobs. Members are added, never removed."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import groupby, islice

from tag.crowd import add_members, members_of
from tag.models import CrowdJob, CrowdTag
from trade.importing.report import Finding, Import
from trade.importing.source import Row, Source

BATCH = 1000  # members


def import_crowds(source: Source, run: Import) -> dict[str, CrowdTag]:
    """Every crowd of the source by its id."""
    crowds: dict[str, CrowdTag] = {}
    for row in source.rows("SELECT * FROM crowd_tags ORDER BY id"):
        texts = {"name": row["tag_name"], "description": row["tag_desc"][:255]}
        tag = run.find_or_add("crowds", CrowdTag, texts, tag_id=row["tag_id"])
        crowds[tag.pk] = tag
    _members(source, crowds, run)
    for row in source.rows("SELECT * FROM crowd_tags_job ORDER BY id"):
        _job(row, crowds, run)
    return crowds


def _members(source: Source, crowds: dict[str, CrowdTag], run: Import) -> None:
    details = source.rows("SELECT tag_id, user_id FROM crowd_tags_detail ORDER BY tag_id, id")
    for tag_id, rows in groupby(details, key=lambda row: str(row["tag_id"])):
        users = (row["user_id"] for row in rows)
        for batch in _batches(users):
            _add(crowds.get(tag_id), tag_id, batch, run)


def _add(tag: CrowdTag | None, tag_id: str, user_ids: list[str], run: Import) -> None:
    """Add members. If none is new, nothing is saved and the crowd keeps its version."""
    good = {user_id for user_id in user_ids if user_id.strip() and tag}
    for user_id in set(user_ids) - good:
        run.found(Finding.BAD_MEMBER, f"crowd {tag_id}", f"user {user_id!r}")
    known = members_of(tag_id).filter(user_id__in=good).values_list("user_id", flat=True)
    new = good - set(known)
    if tag and new and run.writes:
        add_members(tag, new)
    run.count("crowd members", new=len(new), here=len(good) - len(new))


def _job(row: Row, crowds: dict[str, CrowdTag], run: Import) -> None:
    tag = crowds.get(row["tag_id"])
    at_least = _number(row["tag_rule"])
    start_at, end_at = row["stat_start_time"], row["stat_end_time"]
    if tag is None or at_least is None or start_at >= end_at:
        run.found(Finding.BAD_JOB, f"crowd job {row['batch_id']}", str(row["tag_id"]))
        return
    rule = {"kind": row["tag_type"], "at_least": at_least, "start_at": start_at, "end_at": end_at}
    run.find_or_add("crowd jobs", CrowdJob, rule, tag=tag, batch_id=row["batch_id"])


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _batches(user_ids: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(user_ids, BATCH)):
        yield batch
