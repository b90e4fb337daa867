"""App configuration."""

from celery.signals import task_postrun, task_prerun
from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext_lazy as _


class GroupBuyConfig(AppConfig):
    name = "groupbuy"
    verbose_name = _("Channels and switches")

    def ready(self) -> None:
        from groupbuy import (  # noqa: PLC0415
            changes,
            checks,  # noqa: F401  registers itself
            metrics,
            schema,  # noqa: F401  registers itself
        )

        for signal in (post_save, post_delete):
            signal.connect(changes.announce_saved, dispatch_uid="announce")
        task_prerun.connect(metrics.start_task)
        task_postrun.connect(metrics.end_task)
        connection_created.connect(metrics.time_statements, dispatch_uid="time statements")
