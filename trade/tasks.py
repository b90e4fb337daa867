"""Celery entry points. Each one calls one function and decides nothing."""

from typing import Any

from celery import shared_task
from celery.signals import worker_init, worker_shutdown
from django.utils import timezone

from groupbuy.sweeps import again
from tag import jobs
from trade import expire, history, invariants, retention
from trade.figures import sums
from trade.notify import endpoints, nudges, outbox


@worker_init.connect
def start_sending(sender: Any, **signal: Any) -> None:
    threads = endpoints.leave_spare(sender.concurrency)
    nudges.start(lambda: outbox.deliver_due(clock=timezone.now, new=True), threads=threads)


@worker_shutdown.connect
def stop_sending(**signal: Any) -> None:
    nudges.stop()


@shared_task
def close_overdue_holds() -> int:
    return expire.close_overdue_holds(clock=timezone.now)


@shared_task
def end_overdue_teams() -> int:
    return expire.end_overdue_teams(clock=timezone.now)


@shared_task
def fail_teams_of_closed() -> int:
    return expire.fail_teams_of_closed(clock=timezone.now)


@shared_task
def expire_activities() -> int:
    return expire.expire_activities(now=timezone.now())


@shared_task
def deliver_due_notifications() -> int:
    """Deliver for some seconds, then queue again, so that a backlog does not wait for a sweep."""
    tried = outbox.deliver_due(clock=timezone.now)
    if tried:
        again(deliver_due_notifications)
    return tried


@shared_task
def delete_old_rows() -> int:
    return retention.delete_old_rows(now=timezone.now())


@shared_task
def keep_sums() -> None:
    sums.keep(clock=timezone.now)


@shared_task(acks_late=False)  # RabbitMQ closes the connection of a task that takes half an hour
def check_invariants() -> None:
    invariants.report(now=timezone.now())


@shared_task
def work_on_crowds() -> None:
    """Work on one slice, then queue again, so that a long job does not block other tasks."""
    if jobs.work(history, clock=timezone.now):
        again(work_on_crowds)


@shared_task
def start_crowd_job(job_id: int) -> None:
    jobs.start(job_id, now=timezone.now())
