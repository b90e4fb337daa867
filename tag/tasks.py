"""Celery entry points. Each one calls one function and decides nothing."""

from celery import shared_task

from tag import bitmaps


@shared_task
def refresh_bitmaps() -> None:
    bitmaps.refresh()
