"""The wiring (settings, urls, celery, wsgi) and what all apps share."""

from groupbuy.celery import app as celery_app

__all__ = ["celery_app"]
