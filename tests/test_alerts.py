"""Each alert links to a section of the runbook, which exists in both languages."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules"
ALERTS = [
    rule
    for path in sorted(RULES.glob("*.yml"))
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def test_there_are_alerts() -> None:
    assert len(ALERTS) >= 15


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    name = str(rule["alert"])

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize("runbook", ["runbook.md", "runbook.zh-CN.md"])
def test_the_runbook_has_a_section_for_each_alert(runbook: str) -> None:
    text = (ROOT / "docs" / runbook).read_text("utf-8")

    sections = re.findall(r"^### (\w+)$", text, re.M)

    assert sections == [rule["alert"] for rule in ALERTS]
