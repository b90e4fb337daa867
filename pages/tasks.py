"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task
from django.utils import timezone

from pages import handover


@shared_task
def forget_used_links() -> None:
    handover.forget_used_links(now=timezone.now())
