"""App configuration."""

from celery.signals import before_task_publish, task_postrun, task_prerun
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
            tracing,
        )

        for signal in (post_save, post_delete):
            signal.connect(changes.announce_saved, dispatch_uid="announce")
        before_task_publish.connect(tracing.mark_message)
        task_prerun.connect(tracing.start_task)
        task_prerun.connect(metrics.start_task)
        task_postrun.connect(metrics.end_task)
        task_postrun.connect(tracing.end_task)
        connection_created.connect(metrics.time_statements, dispatch_uid="time statements")
