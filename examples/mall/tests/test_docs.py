"""The README matches the code: its map, its variables, and the versions it installs."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MAP = re.findall(r"`([\w/]+)\.py` `(\w+)`", README)
VARIABLE = re.compile(r'"(MALL_[A-Z_]+)"')


def test_there_is_a_map() -> None:
    assert len(MAP) >= 10


@pytest.mark.parametrize(("path", "name"), MAP)
def test_the_map_is_true(path: str, name: str) -> None:
    assert hasattr(importlib.import_module(path.replace("/", ".")), name)


def test_every_variable_is_explained() -> None:
    used = set(VARIABLE.findall((ROOT / "mall" / "settings.py").read_text("utf-8")))
    explained = set(re.findall(r"MALL_[A-Z_]+", README))
    assert used <= explained | {"MALL_WECHAT_API"}


def test_the_versions_are_the_repositorys() -> None:
    own = set(re.findall(r"^[\w-]+==.*$", (ROOT / "requirements.txt").read_text(), re.M))
    repository = (ROOT / "../../requirements.txt").read_text()
    assert own <= {line.split("  #")[0] for line in repository.splitlines()}
