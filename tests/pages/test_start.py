"""The start page and the pages beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from pages import start
from tests.pages.scenes import SCENES

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "demo.json"
    path.write_text(json.dumps({"user": "demo", "password": "pw", "api_key": "gbm_1_2"}))
    monkeypatch.setattr(start, "DEMO_FILE", path)
    return path


def test_the_start_page_links_to_console_and_api(client: Client) -> None:
    page = client.get("/").content.decode()

    assert 'href="/admin/"' in page
    assert 'href="/api/docs/"' in page
    assert "gbm_" not in page


@pytest.mark.usefixtures("demo_file")
def test_the_demos_credentials_are_for_this_machine_only(client: Client, settings: Any) -> None:
    settings.DEMO = True

    assert "gbm_1_2" in client.get("/").content.decode()
    assert "gbm_1_2" not in client.get("/", REMOTE_ADDR="10.0.0.1").content.decode()
    settings.DEMO = False
    assert "gbm_1_2" not in client.get("/").content.decode()


def test_the_page_is_chinese_unless_english_is_preferred(client: Client) -> None:
    assert "控制台" in client.get("/").content.decode()
    english = client.get("/", headers={"Accept-Language": "en"}).content.decode()
    assert "Console" in english


def test_the_language_can_be_chosen(client: Client) -> None:
    client.post("/language/", {"language": "en"})

    assert "Console" in client.get("/").content.decode()


def test_a_path_that_does_not_exist_has_a_page(client: Client) -> None:
    response = client.get("/nothing")

    assert response.status_code == 404
    assert "页面不存在" in response.content.decode()


def test_a_path_that_does_not_exist_has_that_page_in_the_demo_too(
    client: Client, settings: Any
) -> None:
    settings.DEBUG = True  # Django's own page would list every path of the project
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "pages.problems.unknown_paths"]

    response = client.get("/nothing")

    assert response.status_code == 404
    assert "页面不存在" in response.content.decode()
    assert client.get("/admin")["Location"] == "/admin/"
    assert client.get("/api/nothing").json()["code"] == "0002"


def test_the_language_is_changed_where_one_is(client: Client) -> None:
    SCENES["offer_open"](timezone.now())

    page = client.get("/o/s01/c01/9890001?activity=100123").content.decode()

    assert 'name="next" value="/o/s01/c01/9890001?activity=100123"' in page


def test_the_api_page_works_offline(client: Client) -> None:
    page = client.get("/api/docs/").content.decode()

    assert "drf_spectacular_sidecar" in page
    assert "cdn." not in page
    assert client.get("/api/schema/").status_code == 200


def test_the_dummy_callback_exists_only_while_debugging(client: Client) -> None:
    assert client.post("/api/v1/test/group_buy_notify").status_code == 404
