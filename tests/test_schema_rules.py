"""Rules of the API schema that keep generated clients simple in every language."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

VERBS = "query|run|lock|settle|refund|confirm|get|list|update|add|remove"
# What generators make of an operation's name: oapi-codegen and openapi-generator, as of 2026.
MADE = (
    "",
    "Params",
    "Request",
    "Response",
    "JSONBody",
    "JSONRequestBody",
    "RequestObject",
    "ResponseObject",
)


@pytest.fixture(scope="module")
def schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


@pytest.fixture(scope="module")
def operations(schema: Any) -> list[Any]:
    return [operation for item in schema["paths"].values() for operation in item.values()]


def test_the_title_is_ascii_and_the_description_has_the_chinese_name(schema: Any) -> None:
    assert schema["info"]["title"] == "Group buying"
    assert "拼团" in schema["info"]["description"]


def test_operations_are_named_by_verb_and_noun(operations: list[Any]) -> None:
    names = [operation["operationId"] for operation in operations]

    assert [name for name in names if not re.fullmatch(rf"({VERBS})([A-Z][a-z]+)+", name)] == []
    trade = {"queryMarket", "runTrial", "lockOrder", "settleOrder", "refundOrder"}
    assert trade | {"getTeam", "getOrder", "listEvents", "updateConfig"} < set(names)


def test_no_request_has_a_union_or_a_default(schema: Any, operations: list[Any]) -> None:
    requests = [[each.get("parameters"), each.get("requestBody")] for each in operations]

    assert {"oneOf", "anyOf", "default"} & set(keys(requests, schema)) == set()


def test_parameters_have_the_wires_names(operations: list[Any]) -> None:
    names = {each["name"] for made in operations for each in made.get("parameters", [])}

    assert {"outTradeNo", "teamId"} < names
    assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []


def test_no_two_names_become_one_in_generated_code(schema: Any, operations: list[Any]) -> None:
    made = [f"{each['operationId']}{suffix}" for each in operations for suffix in MADE]
    names = Counter(name.lower() for name in [*made, *schema["components"]["schemas"]])

    assert [name for name, count in names.items() if count > 1] == []


def keys(node: Any, schema: Any) -> Iterator[str]:
    """Every keyword below the node, also behind references; names of fields are left out."""
    match node:
        case {"$ref": str(path)}:
            yield from keys(schema["components"]["schemas"][path.rpartition("/")[2]], schema)
        case dict():
            for key, value in node.items():
                yield key
                yield from keys([*value.values()] if key == "properties" else value, schema)
        case list():
            for each in node:
                yield from keys(each, schema)
