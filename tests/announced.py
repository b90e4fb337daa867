"""Settings of processes that see only the changes that are announced; for tests/test_changes.py."""

from django.apps import AppConfig

from groupbuy.settings import *  # noqa: F403


class NeverOld(AppConfig):
    """Keeps copies of configuration until a change is announced, or the subscription is lost."""

    name = "tests"

    def ready(self) -> None:
        from groupbuy import snapshots  # noqa: PLC0415  it needs the settings

        snapshots.LONGEST = 3600


INSTALLED_APPS = [*INSTALLED_APPS, "tests.announced.NeverOld"]  # noqa: F405
