"""The systemd units: valid, and hardened."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT

UNITS = sorted((ROOT / "deploy/systemd").iterdir())
MOST = "20"  # exposure by `systemd-analyze security`, in tenths of 10; 96 without hardening

pytestmark = [
    pytest.mark.operations,
    pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing"),
]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_valid_and_hardened(unit: Path, tmp_path: Path) -> None:
    """The unit is checked with this checkout's programs instead of those in /opt/groupbuy."""
    copy = tmp_path / unit.name.replace("@", "@a")
    copy.write_text(unit.read_text("utf-8").replace("/opt/groupbuy", str(ROOT)))

    verified = analyze("verify", "--man=no", "--recursive-errors=no", str(copy))
    security = analyze("security", "--offline=yes", f"--threshold={MOST}", str(copy))

    assert (verified.returncode, verified.stderr) == (0, "")
    assert security.returncode == 0, security.stdout
