"""Settings of a platform that waits for its database however slowly the machine starts it."""

from django.apps import AppConfig

from groupbuy.settings import *  # noqa: F403  these settings are those, and one more app
from groupbuy.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.patient.Patient"]


class Patient(AppConfig):
    name = "tests"

    def ready(self) -> None:
        from groupbuy import rows  # noqa: PLC0415  not before the apps are loaded

        rows.RESTART = rows.LATEST = 300
