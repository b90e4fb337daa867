"""The project's settings, plus the empty viewset that everything is measured against."""

from groupbuy.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
