"""A mall written in TypeScript compiles against the types generated from docs/openapi.yaml."""

import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "tests/typescript"


@pytest.fixture
def project() -> Path:
    """tests/typescript below VAR_DIR, with the packages of its package-lock.json."""
    if not shutil.which("npm"):
        pytest.skip("npm is missing: nothing was compiled against the schema's TypeScript types")
    directory: Path = settings.VAR_DIR / "typescript"
    shutil.copytree(SOURCES, directory, dirs_exist_ok=True)
    lock, installed = directory / "package-lock.json", directory / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        done = run(directory, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        if done.returncode:
            pytest.skip(f"npm could not install what the test needs: {done.stdout[-300:]}")
        shutil.copy(lock, installed)
    return directory


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_mall_compiles_against_the_generated_types(project: Path) -> None:
    programs, schema = project / "node_modules/.bin", str(ROOT / "docs/openapi.yaml")

    generated = run(project, str(programs / "openapi-typescript"), schema, "-o", "schema.d.ts")
    compiled = run(project, str(programs / "tsc"))

    assert generated.returncode == 0, generated.stdout
    assert (compiled.returncode, compiled.stdout) == (0, "")
