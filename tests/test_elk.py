"""deploy/elk knows every field that a line of the log may have, and prepares what stores them."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
import yaml

from groupbuy import logs
from tests.sink import Request, Sink, reply
from tests.stack import ROOT

ELK = ROOT / "deploy" / "elk"
TEMPLATE = json.loads((ELK / "index-template.json").read_text("utf-8"))
FIELDS = TEMPLATE["template"]["mappings"]["properties"]
BY_FORMATTER = re.compile(r'"([a-z@]+(?:\.[a-z_]+)*)"(?:: |\])')


def test_the_index_has_exactly_the_fields_of_the_lines() -> None:
    source = (ROOT / "groupbuy" / "logs.py").read_text("utf-8")
    formatter = source[source.index("class EcsFormatter") : source.index("class SharedFile")]

    assert set(FIELDS) == set(BY_FORMATTER.findall(formatter)) | set(logs.FIELDS.values())


def test_lines_are_kept_by_the_lifecycle() -> None:
    policy = json.loads((ELK / "lifecycle.json").read_text("utf-8"))["policy"]

    assert TEMPLATE["template"]["settings"]["index.lifecycle.name"] == "groupbuy"
    assert policy["phases"].keys() == {"hot", "delete"}


def test_saved_searches_use_fields_of_the_index() -> None:
    view, *searches = map(json.loads, (ELK / "kibana.ndjson").read_text("utf-8").splitlines())

    assert TEMPLATE["index_patterns"] == [view["attributes"]["title"]]
    for search in searches:
        source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        assert set(re.findall(r"([\w.]+) :", source["query"]["query"])) <= set(FIELDS)
        assert set(search["attributes"]["columns"]) <= set(FIELDS)
        assert [each["id"] for each in search["references"]] == [view["id"]]


def test_the_shippers_read_our_files_and_write_to_our_index() -> None:
    filebeat = yaml.safe_load((ELK / "filebeat.yml").read_text("utf-8"))
    rsyslog = (ELK / "rsyslog.conf").read_text("utf-8")
    path = f"/var/lib/groupbuy/log/{logs.FILE}"

    [files] = filebeat["filebeat.inputs"]
    assert files["paths"] == [f"{path}*"]
    assert files["parsers"][0]["ndjson"]["expand_keys"]  # trace.id is a field of the object trace
    assert f'file="{path}"' in rsyslog
    assert 'searchIndex="logs-groupbuy-default"' in rsyslog
    assert filebeat["output.elasticsearch"]["index"] == "logs-groupbuy-default"


# --- setup.sh ---------------------------------------------------------------------------------

needs_curl = pytest.mark.skipif(which("curl") is None, reason="curl is not there")


class Elastic:
    """Elasticsearch and Kibana, scripted: keeps the calls."""

    def __init__(self, secrets: Path) -> None:
        subprocess.run([ROOT / "deploy/secrets.sh", secrets], check=True)
        self.secrets, self.calls = secrets, list[Request]()
        self.refused, self.imported = "", b'{"success":true,"successCount":5}'
        self.sink = Sink(self._answer)

    def _answer(self, request: Request) -> bytes:
        self.calls.append(request)
        if request.path == self.refused:
            return reply(400, b"{}")
        return reply(200, self.imported if "saved_objects" in request.path else b"{}")

    def set_up(self, what: str) -> int:
        urls = {"ELASTICSEARCH_URL": self.sink.url, "KIBANA_URL": self.sink.url}
        environment = os.environ | urls | {"SECRETS": str(self.secrets), "NO_PROXY": "127.0.0.1"}
        command = [str(ELK / "setup.sh"), what]
        return subprocess.run(command, env=environment, check=False).returncode

    def password(self, name: str) -> str:
        return (self.secrets / f"{name}_password").read_text().strip()


@pytest.fixture
def elastic(tmp_path: Path) -> Iterator[Elastic]:
    elastic = Elastic(tmp_path / "secrets")
    yield elastic
    elastic.sink.stop()


@needs_curl
def test_elasticsearch_gets_its_users_the_lifecycle_and_the_template(elastic: Elastic) -> None:
    assert elastic.set_up("elasticsearch") == 0

    assert [(call.method, call.path) for call in elastic.calls] == [
        ("PUT", "/_security/user/kibana_system/_password"),
        ("PUT", "/_security/role/shipper"),
        ("PUT", "/_security/user/shipper"),
        ("PUT", "/_ilm/policy/groupbuy"),
        ("PUT", "/_index_template/groupbuy"),
    ]
    login = base64.b64encode(f"elastic:{elastic.password('elastic')}".encode()).decode()
    assert {call.headers["authorization"] for call in elastic.calls} == {f"Basic {login}"}
    assert [json.loads(call.body) for call in elastic.calls] == [
        {"password": elastic.password("kibana")},
        json.loads((ELK / "shipper-role.json").read_text("utf-8")),
        {"password": elastic.password("shipper"), "roles": ["shipper"]},
        json.loads((ELK / "lifecycle.json").read_text("utf-8")),
        TEMPLATE,
    ]


@needs_curl
def test_kibana_gets_the_saved_searches(elastic: Elastic) -> None:
    assert elastic.set_up("kibana") == 0

    [call] = elastic.calls
    assert (call.method, call.path) == ("POST", "/api/saved_objects/_import?overwrite=true")
    assert call.headers["kbn-xsrf"] == "true"
    assert (ELK / "kibana.ndjson").read_bytes() in call.body


@needs_curl
def test_a_call_that_is_refused_ends_the_setup(elastic: Elastic) -> None:
    elastic.refused = "/_security/role/shipper"
    elastic.imported = b'{"success":false,"errors":[]}'

    assert elastic.set_up("elasticsearch") != 0
    assert elastic.calls[-1].path == elastic.refused
    assert elastic.set_up("kibana") == 1


def test_the_shipper_may_write_to_our_index_only() -> None:
    role = json.loads((ELK / "shipper-role.json").read_text("utf-8"))

    assert [each["names"] for each in role["indices"]] == [TEMPLATE["index_patterns"]]


def test_kibana_has_the_password_that_the_setup_gives_it(elastic: Elastic) -> None:
    kibana = yaml.safe_load((elastic.secrets / "kibana.yml").read_text("utf-8"))

    assert kibana["elasticsearch.username"] == "kibana_system"
    assert kibana["elasticsearch.password"] == elastic.password("kibana")
