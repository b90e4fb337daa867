"""The middleware that a call of the API skips."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from tests.test_wire import LOCK, lock_body

pytestmark = pytest.mark.django_db


def test_an_operator_signed_in_to_the_console_is_nobody_to_the_api(operator: Client) -> None:
    response: Any = operator.post(LOCK, lock_body(), content_type="application/json")

    assert (response.status_code, response.json()["code"]) == (401, "0401")
    assert not hasattr(response.wsgi_request, "session")


@pytest.mark.parametrize(
    ("header", "language", "info"),
    [
        ("en-GB,zh;q=0.5", "en", "Illegal parameter: goodsId: This field may not be blank"),
        ("", "zh-hans", "非法参数: goodsId: 该字段不能为空"),
        ("fr, *;q=0.1", "zh-hans", "非法参数: goodsId: 该字段不能为空"),
    ],
)
def test_the_language_of_a_call_is_that_of_its_header(
    mall: APIClient, header: str, language: str, info: str
) -> None:
    mall.cookies[settings.LANGUAGE_COOKIE_NAME] = "en"  # counts for pages only

    response = mall.post(
        LOCK, lock_body(goodsId=""), format="json", headers={"Accept-Language": header}
    )

    assert (response["Content-Language"], response.json()["info"]) == (language, info)


def test_a_call_leaves_its_language_to_no_page(client: APIClient) -> None:
    client.get("/api/nothing", headers={"Accept-Language": "en"})

    page = client.get("/admin/login/", headers={"Accept-Language": "zh"})

    assert page["Content-Language"] == "zh-hans"
