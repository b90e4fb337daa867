"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task
from django.utils import timezone

from activity import goods_import


@shared_task
def forget_old_goods_files() -> None:
    goods_import.forget_old(timezone.now())
