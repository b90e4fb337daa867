"""The project's settings, plus the empty viewset that everything is measured against."""

import os

from groupbuy.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
if os.environ.get("BENCHMARK_WITHOUT_METRICS"):  # see metering.py
    MIDDLEWARE.remove("groupbuy.access.follow")  # noqa: F405
