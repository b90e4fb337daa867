"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task
from django.utils import timezone

from trade import outbox


@shared_task
def deliver_notification(task_id: int) -> None:
    outbox.deliver(task_id, clock=timezone.now)


@shared_task
def deliver_due_notifications() -> None:
    outbox.deliver_due(clock=timezone.now)
