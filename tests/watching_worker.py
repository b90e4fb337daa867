"""A Celery worker that keeps writing the result of a trial to a file; for tests/test_changes.py."""

import time
from contextlib import suppress
from pathlib import Path

from django.utils import timezone

from groupbuy.celery import app


@app.task(name="watch")
def watch(path: str) -> None:
    """Run trials until the file is gone; never create it, or this would never end."""
    from activity.trial import TrialQuery, run_trial  # noqa: PLC0415  Django is set up now

    query = TrialQuery("u", "s01", "c01", "9890001")
    with suppress(FileNotFoundError):
        while True:
            code = run_trial(query, now=timezone.now()).first_refusal.code
            with Path(path).open("r+") as file:
                file.write(code)
                file.truncate()
            time.sleep(0.02)
