"""A Celery worker that keeps writing down what a trial says in it; for tests/test_changes.py."""

import time
from pathlib import Path

from django.utils import timezone

from groupbuy.celery import app


@app.task(name="watch")
def watch(path: str) -> None:
    """Run trials until the file is gone."""
    from activity.trial import TrialQuery, run_trial  # noqa: PLC0415  Django is set up now

    file, query = Path(path), TrialQuery("u", "s01", "c01", "9890001")
    while file.exists():
        file.write_text(run_trial(query, now=timezone.now()).first_refusal.code)
        time.sleep(0.02)
