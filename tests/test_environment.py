"""Environment variables: no variable at all is the embedded stack; a wrong one is one line."""

import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.core.management import call_command

from groupbuy import environment
from tests.conftest import VARIABLES
from tests.racing import LATE

pytestmark = pytest.mark.usefixtures("var_dir")
ROOT = Path(__file__).parent.parent
PROGRAMS = {  # each reads the settings in its own way
    "manage.py": [sys.executable, "manage.py", "check"],
    "granian": ["granian", "--interface", "rsgi", "--port", "0", "groupbuy.rsgi:application"],
    "worker": ["celery", "--app", "groupbuy", "worker", "--beat"],
    "pytest": ["pytest", "tests/test_ids.py"],
}
BOOLEAN, DATABASE = "expected true or false", "expected mysql://user:password@host:3306/groupbuy or"
REDIS, AMQP = "expected redis://host:6379/0 or unix:///", "expected amqp://user:password@host:5672/"
ORIGINS = "expected origins with scheme and without path, such as https://shop.example.com"
NETWORKS = "expected networks such as 10.0.0.0/8"
HOSTS = "expected host names without scheme and port"
RUBBISH = [
    ("DEBUG", "maybe", BOOLEAN),
    ("DEMO", "2", BOOLEAN),
    ("BEHIND_HTTPS_PROXY", "https", BOOLEAN),
    ("GALERA", "https", BOOLEAN),
    ("SECOND_PERSON", "yes", "expected some of price,target,switches,blacklist"),
    ("QUORUM_QUEUES", "https", BOOLEAN),
    ("TRUSTED_PROXIES", "one", "expected a number from 0 to 99"),
    ("TRUSTED_PROXIES", "-1", "expected a number from 0 to 99"),
    ("PROXY_NETWORKS", "10.0.0.1/8", NETWORKS),
    ("VAR_DIR", "/dev/null/var", "not a directory that can be written to"),
    ("VAR_DIR", str(ROOT / "manage.py"), "not a directory that can be written to"),
    ("ALLOWED_HOSTS", "https://shop.example.com", HOSTS),
    ("ALLOWED_HOSTS", "shop.example.com:8000", HOSTS),
    ("ALLOWED_HOSTS", "shop.example.com other.example.com", HOSTS),
    ("CORS_ALLOWED_ORIGINS", "shop.example.com", ORIGINS),
    ("CORS_ALLOWED_ORIGINS", "https://shop.example.com,https://shop.example.com/app", ORIGINS),
    ("CSRF_TRUSTED_ORIGINS", "console.example.com", ORIGINS),
    ("CALLBACK_NETWORKS", "10.0.0.1/8", NETWORKS),
    ("CALLBACK_NETWORKS", "intranet", NETWORKS),
    ("WEB_THREADS", "many", "expected a number from 1 to 99"),
    ("METRICS_LISTEN", "9464", "an address and port such as 127.0.0.1:9464"),
    ("METRICS_LISTEN", "127.0.0.1:http", "an address and port such as 127.0.0.1:9464"),
    ("METRICS_LISTEN", "*:9464", "an address and port such as 127.0.0.1:9464"),
    ("METRICS_LISTEN", "[::1]:9464", "an address and port such as 127.0.0.1:9464"),
    ("METRICS_LISTEN", "127.0.0.1:65536", "an address and port such as 127.0.0.1:9464"),
    ("LOG_LEVEL", "LOUD", "expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
    ("LOG_JSON", "yaml", BOOLEAN),
    ("LOG_FILES", "some", BOOLEAN),
    ("LOG_ROUTINE", "0", "expected a number from 1 to 1000000"),
    ("ELASTICSEARCH_URL", "elastic:9200", "expected https://user:password@host:9200"),
    ("PROMETHEUS_URL", "http://", "expected https://user:password@host:9200"),
    ("DATABASE_URL", "groupbuy", DATABASE),
    ("DATABASE_URL", "postgres://u:secret@h/groupbuy", DATABASE),
    ("DATABASE_URL", "mysql://u:secret@h:port/groupbuy", DATABASE),
    ("DATABASE_URL", "mysql://u:secret@h:3306", DATABASE),
    ("DATABASE_URL", "sqlite://:memory:", DATABASE),
    ("DATABASE_URL", "sqlite:////dev/null/db.sqlite3", "not a directory that can be written to"),
    ("REDIS_URL", "127.0.0.1:6379", REDIS),
    ("REDIS_URL", "redis://:secret@h:port/0", REDIS),
    ("REDIS_URL", "redis://h:6379/zero", REDIS),
    ("REDIS_URL", "redis://h:6379/0?socket_timeout=long", REDIS),
    ("REDIS_URL", "redis:///0", REDIS),
    ("REDIS_URL", "unix://", REDIS),
    ("CELERY_BROKER_URL", "rabbitmq", AMQP),
    ("CELERY_BROKER_URL", "amqp://u:secret@h:port//", AMQP),
    ("CELERY_BROKER_URL", "amqp://u:secret@h:5672//;redis", AMQP),
    ("CELERY_BROKER_URL", "unix:///run/redis.sock", AMQP),  # redis+socket: in Celery's words
    ("AMQP_URL", "rabbitmq:5672", AMQP),
    ("AMQP_URL", "redis://h:6379/0", AMQP),
    ("AMQP_URL", "amqp://u:secret@h:port/%2F", AMQP),
    ("AMQP_URL", "amqp://u:secret@h/%2F?heartbeat=often", AMQP),
    ("AMQP_URL", "amqp:///%2F", AMQP),
]
RUN_RUBBISH = [
    ("PORT", "http", "expected a number from 1 to 65535"),
    ("PORT", "65536", "expected a number from 1 to 65535"),
    ("MALL_PORT", "0", "expected a number from 1 to 65535"),
    ("ALIPAY_PORT", "-1", "expected a number from 1 to 65535"),
    ("WEB_WORKERS", "0", "expected a number from 1 to 99"),
    ("HISTORY", "thirty", "expected true or false"),
]


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


def read_settings() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "groupbuy" / "settings.py"))


def refusal(read: Any) -> str:
    with pytest.raises(SystemExit) as ended:
        read()
    return str(ended.value.code)


def test_every_variable_has_its_rubbish() -> None:
    free_text = {"SECRET_KEY", "BUILD_VERSION", "OPERATOR_KEY"}
    tried = {name for name, _value, _expected in RUBBISH + RUN_RUBBISH}
    assert tried | free_text == set(VARIABLES)


@pytest.mark.parametrize(("name", "value", "expected"), RUBBISH)
def test_rubbish_is_one_line_that_names_the_variable(
    set_variables: Any, name: str, value: str, expected: str
) -> None:
    set_variables(SECRET_KEY="tests", **{name: value})

    line = refusal(read_settings)

    assert line.startswith(name)
    assert expected in line
    assert "\n" not in line
    assert "secret" not in line


@pytest.mark.parametrize(("name", "value", "expected"), RUN_RUBBISH)
def test_run_refuses_its_own_variables(
    set_variables: Any, name: str, value: str, expected: str
) -> None:
    set_variables(**{name: value})

    assert refusal(lambda: call_command("run")) == f"{name}={value} is wrong: {expected}."


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_shows_a_traceback(program: str) -> None:
    command, *arguments = PROGRAMS[program]
    ended = subprocess.run(
        [Path(sys.executable).parent / command, *arguments],
        cwd=ROOT,
        env=os.environ | {"LOG_LEVEL": "LOUD", "SECRET_KEY": "tests"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout + ended.stderr
    line = "LOG_LEVEL=LOUD is wrong: expected one of DEBUG, INFO, WARNING, ERROR, CRITICAL."
    assert line in ended.stderr.splitlines()


def test_no_variable_is_the_embedded_stack(var_dir: Path) -> None:
    settings = read_settings()

    assert (settings["DEBUG"], settings["DEMO"]) == (True, True)
    assert settings["DATABASES"]["default"]["NAME"] == str(var_dir / "db.sqlite3")
    assert settings["REDIS_URL"] == f"unix://{var_dir}/redis.sock"
    assert settings["CACHES"]["default"]["LOCATION"] == settings["REDIS_URL"]
    assert settings["CELERY_BROKER_URL"] == f"redis+socket://{var_dir}/redis.sock"
    assert settings["CALLBACK_NETWORKS"] == [ip_network("127.0.0.0/8")]
    assert settings["MIDDLEWARE"].index("groupbuy.embedded.loopback_only") == 3


def test_the_embedded_stack_keeps_its_key(var_dir: Path) -> None:
    key = read_settings()["SECRET_KEY"]

    assert len(key) == 64
    assert read_settings()["SECRET_KEY"] == key
    assert (var_dir / "secret_key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_have_one_key(tmp_path: Path) -> None:
    path, barrier = tmp_path / "secret_key", Barrier(8)

    def read(_number: int) -> str:
        barrier.wait(LATE)
        return environment.secret_key("SECRET_KEY", path)

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(read, range(8)))

    assert keys == {path.read_text("utf-8")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:////tmp/groupbuy.sqlite3"),
        ("DEBUG", "false"),
        ("ALLOWED_HOSTS", "shop.example.com"),
        ("TRUSTED_PROXIES", "1"),
        ("BEHIND_HTTPS_PROXY", "true"),
    ],
)
def test_a_production_like_configuration_needs_its_own_key(
    set_variables: Any, name: str, value: str
) -> None:
    set_variables(**{name: value})
    assert refusal(read_settings).startswith("SECRET_KEY is not set: ")

    set_variables(SECRET_KEY="a key")
    settings = read_settings()
    assert (settings["DEBUG"], settings["DEMO"]) == (False, False)
    assert settings["CALLBACK_NETWORKS"] == []
    assert "groupbuy.embedded.loopback_only" not in settings["MIDDLEWARE"]


def test_debug_with_a_database_needs_its_own_key_too(set_variables: Any) -> None:
    set_variables(DATABASE_URL="sqlite:////tmp/groupbuy.sqlite3", DEBUG="true")

    assert refusal(read_settings).startswith("SECRET_KEY is not set: ")


def test_values_as_people_write_them(set_variables: Any) -> None:
    set_variables(
        SECRET_KEY="a key",
        DEBUG="No",
        LOG_LEVEL="debug",
        ALLOWED_HOSTS="shop.example.com, .example.org,[::1],",
        CALLBACK_NETWORKS="10.0.0.0/8, fd00::/8",
        CSRF_TRUSTED_ORIGINS="https://*.example.com,http://127.0.0.1:8000",
        CORS_ALLOWED_ORIGINS="https://shop.example.com:8443",
        DATABASE_URL="sqlite:////tmp/groupbuy.sqlite3?timeout=3",
        REDIS_URL="unix://:password@/run/redis.sock?db=2",
    )

    settings = read_settings()

    assert settings["DEBUG"] is False
    assert settings["LOGGING"]["root"]["level"] == "DEBUG"
    assert settings["ALLOWED_HOSTS"] == ["shop.example.com", ".example.org", "[::1]"]
    assert settings["CALLBACK_NETWORKS"] == [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert settings["CORS_ALLOWED_ORIGINS"] == ["https://shop.example.com:8443"]
    assert settings["CSRF_TRUSTED_ORIGINS"][0] == "https://*.example.com"
    broker = "redis+socket://:password@/run/redis.sock?virtual_host=2"
    assert settings["CELERY_BROKER_URL"] == broker


def test_a_variable_may_be_in_a_file(set_variables: Any, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("  of the file\n")
    set_variables(SECRET_KEY_FILE=str(path), DEBUG="false")

    assert read_settings()["SECRET_KEY"] == "of the file"
    set_variables(SECRET_KEY="of the variable")
    assert read_settings()["SECRET_KEY"] == "of the variable"


def test_a_file_that_is_missing_is_one_line(set_variables: Any) -> None:
    set_variables(SECRET_KEY_FILE="/nowhere/secret")

    assert refusal(read_settings) == (
        "SECRET_KEY_FILE is wrong: /nowhere/secret is not a text file that can be read."
    )


def test_a_relative_var_dir_starts_at_the_checkout(
    set_variables: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_variables(VAR_DIR="var/../var")
    monkeypatch.chdir(tmp_path)

    assert read_settings()["VAR_DIR"] == ROOT / "var"


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs commands for somebody else")
def test_a_command_of_root_leaves_the_sockets_directory_to_the_owner_of_var_dir(
    set_variables: Any, tmp_path: Path
) -> None:
    var_dir = tmp_path / ("long" * 40)
    var_dir.mkdir()
    os.chown(var_dir, 65534, -1)
    set_variables(VAR_DIR=str(var_dir))

    directory = Path(read_settings()["REDIS_URL"].removeprefix("unix://")).parent

    assert directory.stat().st_uid == 65534
    directory.rmdir()


def test_a_long_var_dir_has_its_socket_in_a_private_directory(
    set_variables: Any, tmp_path: Path
) -> None:
    set_variables(VAR_DIR=str(tmp_path / ("long" * 40)))

    url = read_settings()["REDIS_URL"]

    directory = Path(url.removeprefix("unix://")).parent
    try:
        assert len(url) < 100
        assert directory.parent == Path("/tmp")  # noqa: S108
        assert directory.stat().st_mode & 0o777 == 0o700
        assert read_settings()["REDIS_URL"] == url
        directory.chmod(0o755)  # anybody could put a Redis of theirs there
        assert str(directory) in refusal(read_settings)
    finally:
        directory.rmdir()
