"""Calls tools by the SDK's client, for tests without async."""

import json
from typing import Any

import anyio
from mcp import Client


def answer(server: Any, tool: str, **arguments: Any) -> Any:
    """The tool's answer, parsed if it is JSON. Fails if it is an error."""
    text, is_error = call(server, tool, **arguments)
    assert not is_error, text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def failure(server: Any, tool: str, **arguments: Any) -> str:
    text, is_error = call(server, tool, **arguments)
    assert is_error, text
    return text


def call(server: Any, tool: str, **arguments: Any) -> tuple[str, bool]:
    async def ask() -> Any:
        async with Client(server) as client:
            return await client.call_tool(tool, arguments)

    result = anyio.run(ask)
    return "\n".join(part.text for part in result.content), bool(result.is_error)
