"""When a worker dies the alert arrives; when it starts again the alert is resolved."""

import pytest

from tests.operations.alerts.conftest import Inbox, Watched
from tests.stack import wait_for

pytestmark = pytest.mark.operations


def test_a_dead_worker_is_an_alert_until_it_is_back(watched: Watched, inbox: Inbox) -> None:
    fired, resolved = ("page", "WorkerGone", "firing"), ("page", "WorkerGone", "resolved")
    inbox.alerts.clear()

    watched.processes.crash("worker")
    wait_for(lambda: fired in inbox.alerts, "the alert")
    assert resolved not in inbox.alerts

    watched.processes.revive()
    wait_for(lambda: resolved in inbox.alerts, "the end of the alert")
    wait_for(lambda: watched.value('sum(gbm_processes{kind="worker"})') == 1, "the worker")
    assert watched.query('ALERTS{alertname="WebGone",alertstate="firing"}') == []
