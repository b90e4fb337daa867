"""examples/agent: from Alertmanager's webhook to a finding, with the tools of this platform."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.sink import Request, Sink, reply
from tests.stack import ROOT, direct_session, free_port, wait_for
from tests.test_mcp_transports import environment

pytestmark = pytest.mark.django_db(transaction=True)
ALERT = {
    "status": "firing",
    "labels": {"alertname": "EndpointFailing", "endpoint": "http://mall"},
    "annotations": {"summary": "callbacks fail", "runbook_url": "docs/runbook.md#endpointfailing"},
    "startsAt": "2026-11-26T10:00:00Z",
    "fingerprint": "ab/../c",
}
WEBHOOK = {"alerts": [ALERT, ALERT | {"status": "resolved"}]}
AGENT = [sys.executable, "examples/agent/agent.py"]


def finding(**variables: str) -> str:
    run = subprocess.run(
        AGENT,
        cwd=ROOT,
        env=environment(**variables),
        input=json.dumps(WEBHOOK),
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def test_without_a_model_it_walks_the_tools() -> None:
    text = finding()

    assert text.startswith("# EndpointFailing: callbacks fail\n")
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Find causes", "Overview", "Callback health", "Forecast queue"]
    assert "PROMETHEUS_URL is not set" in text
    assert "- verdict: `Nothing is due.`" in text
    assert "docs/runbook.md#endpointfailing" in text


def test_a_webhook_becomes_a_file(tmp_path: Path) -> None:
    port = free_port()
    command = [*AGENT, "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(FINDINGS=str(tmp_path)))
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: _status(url, "nonsense") == 400, "the agent", 60)
        assert _status(url, json.dumps({"alerts": [{"labels": {}}]})) == 400
        assert _status_without_end(port) == 400
        assert _status(url, json.dumps(WEBHOOK)) == 202
        name = "2026-11-26T10-00-00Z-EndpointFailing-ab-c.md"
        wait_for(lambda: (tmp_path / name).exists(), "the finding", 60)
    finally:
        process.terminate()
        process.wait(30)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_webhook_is_answered_503_while_the_queue_is_full(tmp_path: Path) -> None:
    """The tools of the first alert never answer; a hundred more fit into the queue."""
    port = free_port()
    command = [*AGENT, "--listen", f"127.0.0.1:{port}"]
    silent = f"{sys.executable} -c 'import sys; sys.stdin.read()'"
    variables = environment(FINDINGS=str(tmp_path), MCP_COMMAND=silent)
    process = subprocess.Popen(command, cwd=ROOT, env=variables)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: _status(url, "nonsense") == 400, "the agent", 60)
        assert _status(url, json.dumps({"alerts": [ALERT] * 102})) == 503
    finally:
        process.terminate()
        process.wait(30)


def _status(url: str, body: str) -> int:
    try:
        return direct_session().post(url, data=body, timeout=10).status_code
    except OSError:
        return 0


def _status_without_end(port: int) -> int:
    """The answer to a body of less than no bytes, which could be read for ever."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("POST", "/", headers={"Content-Length": "-1"})
        return connection.getresponse().status


def openai(body: Any) -> Any:
    if body["messages"][-1]["role"] == "tool":
        return {"choices": [{"message": {"role": "assistant", "content": told(body)}}]}
    call = {"id": "c1", "type": "function"}
    wanted = {"name": "forecast_queue", "arguments": "{}"}
    message = {"role": "assistant", "content": None, "tool_calls": [call | {"function": wanted}]}
    return {"choices": [{"message": message}]}


def anthropic(body: Any) -> Any:
    if body["messages"][-1]["content"] != body["messages"][0]["content"]:
        return {"content": [{"type": "text", "text": told(body)}]}
    return {"content": [{"type": "tool_use", "id": "c1", "name": "forecast_queue", "input": {}}]}


def told(body: Any) -> str:
    """The finding of the scripted model: whether it saw the tool's answer."""
    return f"Cause found: {'Nothing is due.' in json.dumps(body['messages'][-1])}"


@pytest.mark.parametrize(
    ("provider", "script", "header"),
    [("openai", openai, "authorization"), ("anthropic", anthropic, "x-api-key")],
)
def test_a_model_chooses_the_tools(
    provider: str, script: Callable[[Any], Any], header: str
) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> bytes:
        asked.append(request)
        return reply(body=json.dumps(script(json.loads(request.body))).encode())

    sink = Sink(answer)
    model = {"MODEL_URL": sink.url, "MODEL_KEY": "k-1", "MODEL_NAME": "m", "NO_PROXY": "127.0.0.1"}
    text = finding(MODEL_PROVIDER=provider, **model)
    sink.stop()

    assert text.endswith("Cause found: True\n")
    assert len(asked) == 2
    assert asked[0].headers[header].endswith("k-1")
    assert json.loads(asked[0].body)["model"] == "m"


def test_a_model_that_fails_leaves_the_walk() -> None:
    sink = Sink(lambda request: reply(500))
    model = {"MODEL_URL": sink.url, "MODEL_KEY": "k-1", "MODEL_NAME": "m", "NO_PROXY": "127.0.0.1"}
    text = finding(**model)
    sink.stop()

    assert "## Find causes" in text
    assert text.endswith("The model gave no finding: HTTPError.\n")
