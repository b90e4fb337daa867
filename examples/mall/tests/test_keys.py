"""The demo's key pairs are made once, even by processes that start together."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from mall import environment
from mall.keys import make_demo_keys

NAMES = ["alipay_private.pem", "alipay_public.pem", "app_private.pem", "app_public.pem"]


def is_pair(directory: Path, name: str) -> bool:
    private = load_pem_private_key((directory / f"{name}_private.pem").read_bytes(), password=None)
    public = load_pem_public_key((directory / f"{name}_public.pem").read_bytes())
    return bool(private.public_key() == public)


def test_processes_that_start_together_agree_on_one_pair(tmp_path: Path) -> None:
    """Mutation: add() replaces what another process has written."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make_demo_keys, [tmp_path] * 4))

    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    assert is_pair(tmp_path, "app")
    assert is_pair(tmp_path, "alipay")


def test_existing_keys_stay(tmp_path: Path) -> None:
    make_demo_keys(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in NAMES]
    (tmp_path / "app_public.pem").unlink()  # as if the process had died before it was written

    make_demo_keys(tmp_path)

    assert [(tmp_path / name).read_bytes() for name in NAMES] == before
    assert (tmp_path / "app_private.pem").stat().st_mode & 0o077 == 0


def test_the_demos_secret_key_is_complete_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop and the web server start together: one may look while the other one writes."""
    monkeypatch.delenv("MALL_SECRET_KEY", raising=False)
    path, made = tmp_path / "secret_key", secrets.token_urlsafe
    looked: list[str] = []

    def key() -> str:
        return environment.secret_key("MALL_SECRET_KEY", path, may_make=True)

    def slowly(length: int) -> str:
        monkeypatch.setattr(secrets, "token_urlsafe", made)
        looked.append(key())
        return made(length)

    monkeypatch.setattr(secrets, "token_urlsafe", slowly)
    assert [key()] == looked
    assert len(looked[0]) == 64
    assert path.stat().st_mode & 0o077 == 0
