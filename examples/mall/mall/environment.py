"""Environment variables, read and checked: a wrong value ends the process with one line."""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any, NoReturn

from mall import keys

BOOLEANS = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def text(name: str, default: str = "") -> str:
    """The variable, or else the text of the file NAME_FILE; empty counts as not set."""
    return os.environ.get(name, "").strip() or _text_of_file(f"{name}_FILE") or default


def _text_of_file(name: str) -> str:
    path = os.environ.get(name, "").strip()
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError):
        sys.exit(f"{name} is wrong: {path} is not a text file that can be read.")


def refuse(name: str, expected: str) -> NoReturn:
    sys.exit(f"{name} is wrong: expected {expected}.")


def flag(name: str) -> bool:
    value = text(name, "off").lower()
    if value not in BOOLEANS:
        refuse(name, "on or off")
    return BOOLEANS[value]


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def url(name: str, default: str = "") -> str:
    """An http(s) address without the slash at its end."""
    value = text(name, default)
    if value and not value.startswith(("http://", "https://")):
        refuse(name, "an address that begins with http:// or https://")
    return value.rstrip("/")


def key(name: str, default: str = "") -> str:
    """A key in PEM or bare base64, from the variable or from the file that it names."""
    value = text(name, default)
    if value.startswith(("/", "./", "../")):
        try:
            return Path(value).read_text("ascii")
        except (OSError, ValueError) as exc:
            refuse(name, f"a key, or a file that contains one ({exc})")
    return value


def json_file(name: str) -> dict[str, Any]:
    """The object in the file that the variable names; empty when it is not set."""
    path = text(name)
    if not path:
        return {}
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as exc:
        refuse(name, f"a file with a JSON object ({exc})")
    return found if isinstance(found, dict) else refuse(name, "a file with a JSON object")


def secret_key(name: str, path: Path, *, may_make: bool) -> str:
    """The variable; if it is not set and may_make, a random key that this file keeps."""
    value = text(name)
    if value:
        return value
    if not may_make:
        sys.exit(f"{name} is not set: expected a long random text.")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keys.add(path, secrets.token_urlsafe(48).encode())
    return path.read_text()
