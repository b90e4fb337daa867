"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task
from django.utils import timezone

from tag import bitmaps, files


@shared_task
def refresh_bitmaps() -> None:
    bitmaps.refresh()


@shared_task
def forget_old_files() -> None:
    files.forget_old(timezone.now())
