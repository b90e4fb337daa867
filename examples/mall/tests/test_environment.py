"""Variables that may be in a file, as secrets of containers are."""

from pathlib import Path

import pytest

from mall import environment as env


def test_a_variable_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("  of the file\n")
    monkeypatch.setenv("MALL_X_FILE", str(path))
    assert env.text("MALL_X", "default") == "of the file"
    path.write_text("")
    assert env.text("MALL_X", "default") == "default"
    path.unlink()
    monkeypatch.setenv("MALL_X", "of the variable")
    assert env.text("MALL_X", "default") == "of the variable"


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content:
        path.write_bytes(content)
    monkeypatch.setenv("MALL_X_FILE", str(path))
    with pytest.raises(SystemExit) as exit_:
        env.text("MALL_X")
    assert exit_.value.code == f"MALL_X_FILE is wrong: {path} is not a text file that can be read."
