"""Crowd jobs (人群任务): find a crowd's members in the trade history.

start() creates a new part of the crowd that is not live yet; work() fills it from one slice of the
shoppers at a time, so that any number of workers share a run. A slice whose worker died can be
claimed again when its lease ends. The last slice swaps the new part for the old one in one
transaction; until then the old members count. A stopped run keeps its progress. trade passes the
history in, because this app cannot import trade.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from django.db import transaction
from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from groupbuy.errors import ErrorCode, GroupBuyError
from tag import bitmaps, crowd
from tag.models import CrowdJob, CrowdMember, CrowdPart, CrowdSlice

LEASE = timedelta(seconds=60)  # far longer than a slice takes
PLANNING = timedelta(minutes=5)  # far longer than cutting the shoppers into slices takes
PARALLEL = 4  # slices of one run leased at once, so that a large run leaves room for others
DELETE_BATCH = 5000  # members of a retired part deleted per step
Status = CrowdJob.Status


@dataclass(frozen=True, slots=True)
class Rule:
    """A number of paid orders or a sum paid, with since <= paid_at < until."""

    kind: CrowdJob.Kind
    at_least: Decimal
    since: datetime | None
    until: datetime | None


class History(Protocol):
    """The trade history as a job reads it; trade/history.py implements it."""

    def slices(self) -> Iterator[tuple[str, str]]:
        """Ranges of user ids that cover every shopper: after < id <= upto, "" for no bound."""

    def found(self, rule: Rule, *, after: str, upto: str) -> list[str]:
        """The user ids of the range that fulfil the rule."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of the last run."""

    status: Status
    done: int  # slices
    slices: int  # 0 until the run is planned, and after its end
    found: int
    started_at: datetime | None
    finished_at: datetime | None


def rule_of(job: CrowdJob, now: datetime) -> Rule:
    since, until = job.start_at, job.end_at
    if job.last_days:
        since, until = now - timedelta(days=job.last_days), now
    return Rule(CrowdJob.Kind(job.kind), job.at_least, since, until)


def start(job_id: int, *, now: datetime) -> bool:
    """Start a run from the first shopper; False if one is running or the job does not exist."""
    with transaction.atomic():
        job = CrowdJob.objects.select_for_update().filter(pk=job_id).first()
        if job is None or job.status == Status.RUNNING:
            return False
        rule = rule_of(job, now)
        job.run = CrowdPart.objects.create(
            tag_id=job.tag_id,
            job=job,
            kind=rule.kind,
            at_least=rule.at_least,
            since=rule.since,
            until=rule.until,
            started_at=now,
        )
        job.status = Status.RUNNING
        job.save(update_fields=["run", "status"])
    return True


def stop(job_id: int) -> bool:
    """Stop the run and keep its progress; False if none is running."""
    running = CrowdJob.objects.filter(pk=job_id, status=Status.RUNNING)
    return bool(running.update(status=Status.RESET))


def resume(job_id: int) -> bool:
    """Continue a stopped run; False if there is none."""
    stopped = CrowdJob.objects.filter(
        pk=job_id, status=Status.RESET, run__is_live=False, run__finished_at=None
    )
    return bool(stopped.update(status=Status.RUNNING))


def drop_stopped_runs(before: datetime) -> int:
    """Drop the stopped runs that were started before this moment; return how many.

    work() deletes their members. Their jobs are new again: they can be started, not resumed.
    """
    stopped = CrowdJob.objects.filter(status=Status.RESET)
    old = list(stopped.filter(run__started_at__lt=before).values_list("pk", "run"))
    return sum(
        stopped.filter(pk=pk, run=run).update(run=None, status=Status.NEW) for pk, run in old
    )


def discard(job: CrowdJob) -> None:
    """Delete the job. Members that only it had found leave the crowd; work() deletes their rows."""
    with transaction.atomic():
        CrowdJob.objects.select_for_update().filter(pk=job.pk).first()  # before its crowd, always
        crowd.give_new_version(job.tag_id)
        CrowdPart.objects.filter(job=job).update(job=None, is_live=False)
        job.delete()


def preview(job: CrowdJob, history: History, *, now: datetime, seconds: float) -> tuple[int, bool]:
    """How many users the job would find now, and whether it counted all within `seconds`."""
    rule, count, end = rule_of(job, now), 0, time.monotonic() + seconds
    for after, upto in history.slices():
        if time.monotonic() > end:
            return count, False
        count += len(history.found(rule, after=after, upto=upto))
    return count, True


def progress(job: CrowdJob) -> Progress:
    run = job.run
    if run is None:
        return Progress(Status(job.status), 0, 0, 0, None, None)
    done = run.slices.filter(leased_until=None)
    found = done.aggregate(found=Sum("found", default=0))["found"]
    return Progress(
        status=Status(job.status),
        done=done.count(),
        slices=run.slices.count(),
        found=found if run.size is None else run.size,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def work(history: History, *, clock: Callable[[], datetime]) -> bool:
    """Fill one slice of a run, or delete some retired members; False if there is nothing to do."""
    for job in CrowdJob.objects.filter(status=Status.RUNNING).order_by("?"):
        if job.run is None:
            continue
        if not job.run.is_planned and not _plan(job.run, history, now=clock()):
            continue
        if part_slice := _claim(job.run, now=clock()):
            _fill(job.run, part_slice, history)
            _finish(job.pk, job.run.pk, now=clock())
            return True
        if _finish(job.pk, job.run.pk, now=clock()):
            return True
    return _delete_some()


def _plan(run: CrowdPart, history: History, *, now: datetime) -> bool:
    """Cut the shoppers into slices, unless that is done; False while another worker does it."""
    unplanned = CrowdPart.objects.filter(pk=run.pk, is_planned=False)
    free = unplanned.filter(Q(planning_until=None) | Q(planning_until__lte=now))
    if not free.update(planning_until=now + PLANNING):
        return False
    ranges = list(history.slices())
    with transaction.atomic(durable=True):
        locked = CrowdPart.objects.select_for_update().get(pk=run.pk)
        if not locked.is_planned:
            CrowdSlice.objects.bulk_create(
                CrowdSlice(part=run, after=after, upto=upto, leased_until=now)
                for after, upto in ranges
            )
            locked.is_planned = True
            locked.save(update_fields=["is_planned"])
    return True


def _claim(run: CrowdPart, *, now: datetime) -> CrowdSlice | None:
    """Lease a free slice; None if there is none or the run has PARALLEL leases."""
    slices = CrowdSlice.objects.filter(part=run)
    if slices.filter(leased_until__gt=now).count() >= PARALLEL:
        return None
    with transaction.atomic(durable=True):
        free = slices.filter(leased_until__lte=now).order_by("leased_until")
        claimed = free.select_for_update(skip_locked=True).first()
        if claimed:
            claimed.leased_until = now + LEASE
            claimed.save(update_fields=["leased_until"])
    return claimed


def _fill(run: CrowdPart, claimed: CrowdSlice, history: History) -> None:
    """Add the slice's users to the run's part and mark it done, in one transaction."""
    assert run.kind is not None
    assert run.at_least is not None
    rule = Rule(CrowdJob.Kind(run.kind), run.at_least, run.since, run.until)
    user_ids = history.found(rule, after=claimed.after, upto=claimed.upto)
    numbers = [number for batch in crowd.batches(user_ids) for number in crowd.number_users(batch)]
    with transaction.atomic(durable=True):
        mine = CrowdSlice.objects.filter(pk=claimed.pk, leased_until=claimed.leased_until)
        if mine.update(leased_until=None, found=len(numbers)):
            crowd.insert_members(run, numbers)


def _finish(job_id: int, run_id: int, *, now: datetime) -> bool:
    """Swap the new part for the job's old one if all slices are done; False if they are not."""
    if CrowdSlice.objects.filter(part=run_id).exclude(leased_until=None).exists():
        return False
    with transaction.atomic(durable=True):
        job = CrowdJob.objects.select_for_update().filter(pk=job_id).first()
        if job is None or job.status != Status.RUNNING or job.run_id != run_id:
            return False  # stopped or deleted meanwhile, or finished by another worker
        slices = CrowdSlice.objects.filter(part=run_id)
        size = slices.aggregate(size=Sum("found", default=0))["size"]
        crowd.give_new_version(job.tag_id)
        CrowdPart.objects.filter(job=job, is_live=True).update(is_live=False)
        CrowdPart.objects.filter(pk=run_id).update(is_live=True, finished_at=now, size=size)
        slices.delete()
        job.status = Status.DONE
        job.save(update_fields=["status"])
    bitmaps.build(job.tag_id)
    return True


def _delete_some() -> bool:
    """Delete a batch of members of a retired part, and with the last batch the part itself.

    False also while other workers do it: their rows would be the same ones.
    """
    runs = CrowdJob.objects.exclude(run=None).values("run")
    retired = CrowdPart.objects.filter(is_live=False).exclude(pk__in=runs)
    with transaction.atomic(durable=True):
        part = retired.select_for_update(skip_locked=True).first()
        if part is None:
            return False
        members = CrowdMember.objects.filter(part=part).values_list("pk", flat=True)
        batch = list(members[:DELETE_BATCH])
        CrowdMember.objects.filter(pk__in=batch).delete()
        if len(batch) < DELETE_BATCH:
            part.delete()
    return True


def find(tag_id: str, batch_id: str) -> CrowdJob:
    """Raises ILLEGAL_PARAMETER for a job that does not exist."""
    job = CrowdJob.objects.filter(tag=tag_id, batch_id=batch_id).first()
    if job is None:
        raise GroupBuyError(
            ErrorCode.ILLEGAL_PARAMETER, _("tagId, batchId: there is no such crowd job")
        )
    return job


def get(job_id: int) -> CrowdJob:
    """The job with its run."""
    return CrowdJob.objects.select_related("run").get(pk=job_id)
