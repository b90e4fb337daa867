"""Celery entry points. Each one calls one function and decides nothing."""

from typing import Any

from celery import shared_task
from celery.signals import worker_init
from django.utils import timezone

from trade import endpoints, expire, outbox


@worker_init.connect
def leave_spare_threads(sender: Any, **signal: Any) -> None:
    endpoints.leave_spare(sender.concurrency)


@shared_task
def deliver_notification(task_id: int) -> None:
    outbox.deliver(task_id, clock=timezone.now)


@shared_task
def close_overdue_holds() -> None:
    expire.close_overdue_holds(clock=timezone.now)


@shared_task
def end_overdue_teams() -> None:
    expire.end_overdue_teams(clock=timezone.now)


@shared_task
def expire_activities() -> None:
    expire.expire_activities(now=timezone.now())


@shared_task
def deliver_due_notifications() -> None:
    outbox.deliver_due(clock=timezone.now)
