"""manage.py mcp as clients start it: on stdio, and by HTTP with an operator key."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
import requests
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from groupbuy import switches
from groupbuy.models import ApiKey, Switch, SwitchChange
from tests.factories import make_channel
from tests.stack import ROOT, direct_session, free_port, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
COMMAND = ["manage.py", "mcp"]


def environment(**variables: str) -> dict[str, str]:
    """This test's database, for another process."""
    database, name = os.environ.get("DATABASE_URL", ""), str(connection.settings_dict["NAME"])
    url = f"{database.rpartition('/')[0]}/{name}" if database else f"sqlite:///{name}"
    return {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(settings.VAR_DIR)} | variables


def new_key(channel: Any = None) -> str:
    key, text = ApiKey.issue(channel=channel, name="Ada")
    key.save()
    return text


def change_hold_limit(transport: Any) -> Any:
    async def ask() -> Any:
        async with Client(transport) as client:
            arguments = {"key": "holdLimit", "value": "7", "reason": "r", "dry_run": False}
            return await client.call_tool("change_switch", arguments)

    return anyio.run(ask)


def test_on_stdio() -> None:
    started = StdioServerParameters(
        command=sys.executable,
        args=[*COMMAND, "--allow-writes"],
        cwd=ROOT,
        env=environment(OPERATOR_KEY=new_key()),
    )

    result = change_hold_limit(started)

    assert not result.is_error, result
    assert json.loads(result.content[0].text)["after"] == "7"
    assert switches.text(Switch.Key.HOLDS) == "7"


def test_on_stdio_writes_need_an_operator_key() -> None:
    with pytest.raises(CommandError, match="OPERATOR_KEY"):
        call_command("mcp", "--allow-writes")


@pytest.mark.parametrize("address", ["9465", "127.0.0.1:http"])
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(SystemExit, match="--listen"):
        call_command("mcp", "--listen", address)


@pytest.fixture
def url() -> Iterator[str]:
    """The server by HTTP, which may write."""
    port = free_port()
    command = [sys.executable, *COMMAND, "--listen", f"127.0.0.1:{port}", "--allow-writes"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment())
    url = f"http://127.0.0.1:{port}/mcp"
    wait_for(lambda: _answers(url), "the MCP server", 60)
    yield url
    process.terminate()
    process.wait(30)


def _answers(url: str) -> bool:
    with suppress(OSError):
        return direct_session().get(url, timeout=10).status_code == 401
    return False


def with_key(url: str, key: str) -> Any:
    client = create_mcp_http_client(headers={"Authorization": f"Bearer {key}"})
    return streamable_http_client(url, http_client=client)


def test_by_http_each_request_has_the_key_of_its_operator(url: str) -> None:
    key = new_key()

    result = change_hold_limit(with_key(url, key))

    assert not result.is_error, result
    [change] = SwitchChange.objects.all()
    assert change.by == str(ApiKey.objects.get())
    _refuse_others(url)
    ApiKey.objects.update(is_active=False)
    wait_for(lambda: _status(url, key) == 401, "the revoked key to be refused", 60)


def _refuse_others(url: str) -> None:
    for key in ("", "gbm_0_0", new_key(make_channel())):
        answer = _post(url, key)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def _status(url: str, key: str) -> int:
    return _post(url, key).status_code


def _post(url: str, key: str) -> requests.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return direct_session().post(url, json=body, headers=headers, timeout=10)
