"""The report of a load test."""

from pathlib import Path
from typing import Any

from benchmarks.load import report

TARGET = {"shape": "flash", "minutes": 1, "users": 5, "shoppers": 30, "teams": 10}
JOIN: dict[str, Any] = {
    "name": "join",
    "calls": 1300,
    "faults": 2,
    "rate": 12.34,
    "p50": 4,
    "p95": 20,
    "p99": 1250,
    "most": 2000.4,
    "codes": {"0000": 20, "E0006": 1278, "HTTP 0": 2},
}
SALE = {"teams": 10, "shoppers": 30, "seats": 20, "sold": 20, "overfull": 0}


def test_the_report_says_what_was_measured(tmp_path: Path) -> None:
    found = {"rows": [JOIN], "samples": [[2, 10.0, 30], [4, 20.0, 60]], "sale": SALE}

    page = report.write(found, TARGET, "A stack.", tmp_path)

    text = page.read_text("utf-8")
    assert page.name == "flash.md"
    assert "30 shoppers come at 500 a second" in text
    assert "**1,300 calls, 2 faults.**" in text
    assert "**20 of 20 free seats were sold, 0 of 10 teams have more members than seats.**" in text
    row = "| join | 1,300 | 12.3 | 4 | 20 | 1,250 | 2,000 | 0000 × 20, E0006 × 1,278, HTTP 0 × 2 |"
    assert row in text.splitlines()
    assert "`0000`: done; `E0006`: the team is full." in text
    picture = (tmp_path / "flash.svg").read_text("utf-8")
    assert '<polyline class="rates" points="360.0,129.0 674.0,30.0"/>' in picture
    assert "<title>Calls per second, and the 95th percentile of their time</title>" in picture
    assert '<text x="680" y="133">30</text>' in picture


def test_a_report_of_nothing_has_no_lines(tmp_path: Path) -> None:
    found: dict[str, Any] = {"rows": [], "samples": [], "sale": {}}

    page = report.write(found, TARGET | {"shape": "steady"}, "A stack.", tmp_path)

    assert "**0 calls, 0 faults.**" in page.read_text("utf-8")
