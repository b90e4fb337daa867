"""deploy/grafana/dashboards is what bin/dashboards.py writes, and queries metrics that exist."""

import re

import pytest

from bin import dashboards
from tests.stack import ROOT

QUERIES = [
    query.expression
    for panels in dashboards.DASHBOARDS.values()
    for panel in panels
    for query in panel.queries
]


def test_the_files_are_up_to_date() -> None:
    written = {path: path.read_text("utf-8") for path in dashboards.DIRECTORY.iterdir()}

    assert written == dashboards.files(), "run python -m bin.dashboards"


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_that_the_guide_lists(query: str) -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text("utf-8")

    for metric in re.findall(r"gbm_\w+", query):
        name = re.sub(r"_(total|bucket|count)$", "", metric)
        assert f"`{name}`" in guide


def test_panels_do_not_overlap() -> None:
    for name, panels in dashboards.DASHBOARDS.items():
        drawn = dashboards.dashboard(name, panels)["panels"]
        places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in drawn}
        assert len(places) == len(panels) == len({each["id"] for each in drawn})
