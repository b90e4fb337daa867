"""App configuration."""

from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext_lazy as _


class GroupBuyConfig(AppConfig):
    name = "groupbuy"
    verbose_name = _("Channels and switches")

    def ready(self) -> None:
        from groupbuy import changes, checks, schema  # noqa: F401, PLC0415  register themselves

        for signal in (post_save, post_delete):
            signal.connect(changes.announce_saved, dispatch_uid="announce")
