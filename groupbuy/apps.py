"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GroupBuyConfig(AppConfig):
    name = "groupbuy"
    verbose_name = _("Channels and switches")

    def ready(self) -> None:
        from groupbuy import schema  # noqa: F401, PLC0415  registers itself with drf-spectacular
