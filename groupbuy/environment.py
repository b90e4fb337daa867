"""Environment variables, read and checked: a wrong value ends the process with one line.

The process may be manage.py, granian, celery or pytest. An empty value counts as not set. The value
of a URL is not shown, because it may hold a password.
"""

import fcntl
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

import environ
import pika
from redis.connection import parse_url

SOCKET_PATH = 103  # bytes that the path of a Unix socket may have: 103 on macOS, 107 on Linux
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


class Format(NamedTuple):
    """A pattern, and the words that describe it."""

    pattern: str
    expected: str


HOST = Format(
    r"\*|\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\]",
    "host names without scheme and port, such as shop.example.com,[::1]",
)
ORIGIN = Format(
    r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?",
    "origins with scheme and without path, such as https://shop.example.com",
)
TRUSTED_ORIGIN = Format(ORIGIN.pattern.replace("://", r"://(\*\.)?"), ORIGIN.expected)
CHANGES = Format("price|target|switches|blacklist", "some of price,target,switches,blacklist")
AMQP = "amqp://user:password@host:5672/"
MYSQL = "mysql://user:password@host:3306/groupbuy"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def read_file(path: Path) -> None:
    """Set the variables that this file lists and that are not set yet."""
    try:
        environ.Env.read_env(path)
    except UnicodeDecodeError:
        sys.exit(f"{path}: expected UTF-8 text.")


def text(name: str, default: str = "") -> str:
    """The variable, or the text of the file that NAME_FILE names, without surrounding spaces.

    An empty variable counts as not set.
    """
    return os.environ.get(name, "").strip() or _text_of_file(f"{name}_FILE") or default


def _text_of_file(name: str) -> str:
    path = os.environ.get(name, "").strip()
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError):
        sys.exit(f"{name} is wrong: {path} is not a text file that can be read.")


def refuse(name: str, expected: str, value: str = "") -> NoReturn:
    sys.exit(f"{name}{'=' * bool(value)}{value} is wrong: expected {expected}.")


def flag(name: str, *, default: bool) -> bool:
    value = text(name, str(default))
    if value.lower() not in BOOLEANS:
        refuse(name, "true or false", value)
    return BOOLEANS[value.lower()]


def number(name: str, default: int, *, at_least: int, at_most: int) -> int:
    value = text(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", value) or not at_least <= int(value) <= at_most:
        refuse(name, f"a number from {at_least} to {at_most}", value)
    return int(value)


def address(name: str) -> tuple[str, int] | None:
    """host:port; None if it is not set."""
    value = text(name)
    return listen_address(name, value) if value else None


def listen_address(name: str, value: str) -> tuple[str, int]:
    host, _colon, port = value.rpartition(":")
    is_port = re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535
    if not (is_port and re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", host)):
        refuse(name, "an address and port such as 127.0.0.1:9464", value)
    return host, int(port)


def log_level(name: str, default: str) -> str:
    value = text(name, default)
    if value.upper() not in LOG_LEVELS:
        refuse(name, f"one of {', '.join(LOG_LEVELS)}", value)
    return value.upper()


def words(name: str, form: Format, default: Sequence[str] = ()) -> list[str]:
    """A list separated by commas."""
    found = [entry.strip() for entry in text(name, ",".join(default)).split(",")]
    found = [entry for entry in found if entry]
    if not all(re.fullmatch(form.pattern, entry) for entry in found):
        refuse(name, form.expected, text(name))
    return found


def networks(name: str, default: str = "") -> list[IPv4Network | IPv6Network]:
    value = text(name, default)
    try:
        return [ip_network(entry.strip()) for entry in value.split(",") if entry.strip()]
    except ValueError:
        refuse(name, "networks such as 10.0.0.0/8,fd00::/8", value)


def redis_url(name: str, var_dir: Path) -> str:
    """The embedded Redis listens on a Unix socket in VAR_DIR."""
    expected = "redis://host:6379/0 or unix:///path/redis.sock"
    url = _url(name, _is_redis, expected)
    return url or _socket(var_dir).as_uri().replace("file:", "unix:", 1)


def amqp_url(name: str) -> str:
    return _url(name, _is_amqp, f"{AMQP}%2F")


def http_url(name: str) -> str:
    return _url(name, _is_http, "https://user:password@host:9200")


def broker_url(name: str, redis: str) -> str:
    """The variable unchanged, because Celery reads it too; if empty, Redis in Celery's notation."""
    expected = f"{AMQP}/, redis://host:6379/0 or redis+socket:///path/redis.sock"
    url = _url(name, _is_broker, expected)
    if not url and redis.startswith("unix:"):
        return redis.replace("unix:", "redis+socket:", 1).replace("?db=", "?virtual_host=")
    return url or redis


def database(name: str, default: Path) -> dict[str, Any]:
    """Engine, name and address of the database, as Django names them."""
    url = _url(name, _is_database, f"{MYSQL} or sqlite:////path/db.sqlite3")
    if not url:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default)}
    found: dict[str, Any] = environ.Env.db_url_config(url)
    if found["ENGINE"].endswith("sqlite3"):
        require_directory(name, Path(found["NAME"]).parent)
    elif find_spec("MySQLdb") is None:
        sys.exit(f"{name} needs a driver: pip install -r requirements-mysql.txt")
    return found


def directory(name: str, default: Path, *, root: Path) -> Path:
    """An absolute path; a relative one starts at root."""
    return (root / Path(text(name, str(default))).expanduser()).resolve()


def require_directory(name: str, path: Path) -> None:
    """Create the directory unless it exists. Exits if this process cannot write to it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        sys.exit(f"{name} is wrong: {path} is not a directory that can be written to.")


def secret_key(name: str, path: Path | None) -> str:
    """The variable, or else the key in this file. A new key is written to it if there is none."""
    key = text(name)
    if not (key or path):
        sys.exit(
            f"{name} is not set: expected a long random text. Only the embedded stack makes its"
            " own, without DATABASE_URL, DEBUG=false, ALLOWED_HOSTS and proxies."
        )
    return key or _key_in(cast(Path, path))


def _key_in(path: Path) -> str:
    """The key in the file. The first process writes it while the others wait for the lock."""
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            key = file.read().strip()
            if not key:
                key = secrets.token_urlsafe(48)
                file.write(key)
            return key
    except OSError as exc:
        sys.exit(f"{path} cannot be read: {exc.strerror}.")


def _socket(var_dir: Path) -> Path:
    """VAR_DIR/redis.sock; if that path is too long for a socket, redis.sock in a directory of /tmp.

    The directory's name is a hash of VAR_DIR. Exits unless the owner of VAR_DIR owns the directory
    and nobody else may enter it.
    """
    path = var_dir / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH:
        return path
    short = Path(f"/tmp/groupbuy-{sha256(os.fsencode(var_dir)).hexdigest()[:16]}")  # noqa: S108
    owner = var_dir.stat().st_uid
    with suppress(FileExistsError, PermissionError):
        short.mkdir(mode=0o700)
        os.chown(short, owner, -1)  # root may run the first command
    found = short.lstat()
    if (found.st_uid, found.st_mode) != (owner, stat.S_IFDIR | 0o700):
        sys.exit(f"{short} must be a directory of the owner of VAR_DIR with mode 700.")
    return short / "redis.sock"


def _url(name: str, is_good: Callable[[str], bool], expected: str, default: str = "") -> str:
    """Empty, or a URL that is_good() accepts; an exception of is_good() counts as a refusal."""
    url = text(name, default)
    try:
        good = not url or is_good(url)
    except (ValueError, TypeError, LookupError):  # from urlsplit, pika and redis-py
        good = False
    if not good:
        refuse(name, expected)
    return url


def _is_database(url: str) -> bool:
    """No database in memory: each thread would have one of its own."""
    known = urlsplit(url).scheme in ("mysql", "sqlite")
    return known and environ.Env.db_url_config(url)["NAME"] not in ("", ":memory:")


def _is_redis(url: str) -> bool:
    parse_url(url)  # type: ignore[no-untyped-call]
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return bool(parts.path)
    return bool(parts.hostname) and re.fullmatch(r"/?\d*", parts.path) is not None


def _is_amqp(url: str) -> bool:
    pika.URLParameters(url)
    parts = urlsplit(url)
    return parts.scheme in ("amqp", "amqps") and bool(parts.hostname)


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0


def _is_broker(urls: str) -> bool:
    """Several, of which Celery uses the first that answers, are separated by semicolons."""
    return all(_is_one_broker(url) for url in urls.split(";"))


def _is_one_broker(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme in ("amqp", "amqps"):
        return bool(parts.hostname) and parts.port != 0
    if parts.scheme in ("redis", "rediss"):
        return _is_redis(url)
    return parts.scheme == "memory" or (parts.scheme == "redis+socket" and bool(parts.path))
