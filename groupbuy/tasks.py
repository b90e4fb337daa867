"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task
from django.utils import timezone

from groupbuy import exports
from groupbuy.sweeps import again


@shared_task(acks_late=False)  # RabbitMQ closes the connection of a task that takes half an hour
def work_on_exports() -> None:
    """Work for some seconds, then queue again, so that a long list does not block other tasks.

    A workbook takes longer. If its worker dies, a sweep takes it up when its lease has ended.
    """
    if exports.work(clock=timezone.now):
        again(work_on_exports)


@shared_task
def forget_old_exports() -> None:
    exports.forget_old(timezone.now())
