"""Facts about the code that a reviewer should not have to remember."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPS = ("groupbuy", "tag", "activity", "trade", "pages", "assistant")
ANSWER = re.compile(r"`([\w/]+)\.py` `(\w+)`")
ANSWERS = ANSWER.findall((ROOT / "README.md").read_text("utf-8"))
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for app in APPS
    for path in (ROOT / app).rglob("*.py")
    if "migrations" not in path.parts
}


def test_readme_has_a_map() -> None:
    assert len(ANSWERS) >= 25


@pytest.mark.parametrize(("path", "name"), ANSWERS)
def test_readme_map_is_true(path: str, name: str) -> None:
    assert hasattr(importlib.import_module(path.replace("/", ".")), name)


def test_both_readmes_have_the_same_map() -> None:
    chinese = (ROOT / "README.zh-CN.md").read_text("utf-8")
    assert ANSWER.findall(chinese) == ANSWERS


def test_rows_are_locked_where_the_order_of_locks_is_known() -> None:
    locks = re.compile(r"\.select_for_update\(|rows\.(lock|share)\(")
    lockers = {path for path, text in SOURCES.items() if locks.search(text)}
    assert lockers == {
        "trade/rowlocks.py",
        "groupbuy/switches.py",
        "groupbuy/proposals.py",  # the proposal before the row that it changes
        "groupbuy/stale_forms.py",  # shares the row of a form, before all that saving it locks
        "activity/admin.py",  # the offers of an activity, after its row; trade locks no offer
        "activity/goods_file.py",  # goods of an import; trade locks none
        "tag/jobs.py",  # job before crowd before part before slice
        "trade/retention.py",
    }


def test_only_use_cases_open_transactions_and_all_are_durable() -> None:
    found = {
        path: re.findall(r"transaction\.atomic\((.*?)\)", text)
        for path, text in SOURCES.items()
        if "transaction.atomic" in text and "/management/" not in path
    }
    # The console saves these within a transaction of its own.
    assert found.pop("activity/plans.py") == [""]
    assert found.pop("tag/crowd.py") == ["", "", ""]
    assert found.pop("groupbuy/switches.py") == [""]
    assert found.pop("groupbuy/proposals.py") == ["durable=True"] * 2
    assert found.pop("tag/jobs.py") == ["", "", *["durable=True"] * 5]
    use_cases = {
        "acts",
        "activity_acts",
        "lock",
        "settle",
        "refund",
        "confirm",
        "expire",
        "notify/outbox",
        "notify/events",
        "retention",
        "refused",
        "importing/run",
        "figures/sums",
    }
    with_a_log_entry = {"plan_admin", "crowd_admin"}
    trade = {f"trade/{name}.py" for name in use_cases | with_a_log_entry}
    assert set(found) == {"activity/goods_import.py"} | trade
    assert {argument for arguments in found.values() for argument in arguments} == {"durable=True"}


@pytest.mark.parametrize("path", SOURCES)
def test_every_module_has_a_docstring(path: str) -> None:
    assert SOURCES[path] == "" or SOURCES[path].lstrip().startswith('"""')


@pytest.mark.parametrize("path", SOURCES)
def test_modules_stay_short(path: str) -> None:
    assert len(SOURCES[path].splitlines()) <= 300


def test_env_example_lists_every_variable() -> None:
    readers = ("groupbuy/settings.py", "groupbuy/management/commands/run.py")
    source = "".join(SOURCES[path] for path in readers)
    used = set(re.findall(r'(?:env|environment)\.\w+\(\s*"(\w+)"', source))
    listed = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(used)
