"""make load, for some seconds, on a running stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT, embedded

pytestmark = pytest.mark.operations


@pytest.mark.parametrize(
    ("shape", "calls"), [("steady", {"look", "open", "pay"}), ("flash", {"look", "join", "pay"})]
)
def test_shoppers_buy_without_a_fault(tmp_path: Path, shape: str, calls: set[str]) -> None:
    with embedded(tmp_path / "stack") as (url, found):
        command = [sys.executable, "-m", "benchmarks.load", "--url", url, "--key", found["api_key"]]
        command += ["--notify-url", f"{url}/api/v1/test/group_buy_notify", "--shape", shape]
        command += ["--users", "5", "--shoppers", "20", "--teams", "3", "--minutes", "0.3"]
        run = subprocess.run(
            [*command, "--out", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr

    result = json.loads((tmp_path / "latest.json").read_text("utf-8"))
    assert calls <= {row["name"] for row in result["rows"]}
    assert sum(row["faults"] for row in result["rows"]) == 0
    assert result["sale"].get("overfull", 0) == 0
    assert (tmp_path / f"{shape}.md").exists()
