"""deploy/elk knows every field that a line of the log may have."""

import json
import re

import yaml

from groupbuy import logs
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

    assert filebeat["filebeat.inputs"][0]["paths"] == [f"{path}*"]
    assert f'file="{path}"' in rsyslog
    assert 'searchIndex="logs-groupbuy-default"' in rsyslog
    assert filebeat["output.elasticsearch"]["index"] == "logs-groupbuy-default"
