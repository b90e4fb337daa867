"""The API follows docs/openapi.yaml, also for generated requests."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from groupbuy.models import ApiKey
from tests.factories import make_activity, make_channel

ROOT = Path(__file__).parent.parent
PATHS = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text("utf-8"))["paths"]
OPERATIONS = [(path, method) for path, item in PATHS.items() for method in item]
SENSIBLE = {"source": "s01", "channel": "c01", "goodsId": "9890001", "activityId": 100123}
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.mark.django_db
@pytest.mark.usefixtures("_one_connection")
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_endpoint_keeps_to_its_schema(path: str, method: str) -> None:
    key, text = ApiKey.issue(channel=make_channel(), name="schemathesis")
    key.save()
    make_activity()
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())

    @given(
        case=schema[path][method].as_strategy(), sensible=st.sets(st.sampled_from(list(SENSIBLE)))
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def keeps_to_its_schema(case: Any, sensible: set[str]) -> None:
        if isinstance(case.body, dict):  # else hardly a request gets past its channel
            case.body |= {name: SENSIBLE[name] for name in sensible if name in case.body}
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {text}"})

    keeps_to_its_schema()
