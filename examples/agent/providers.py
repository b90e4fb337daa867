"""Models that choose tools: an OpenAI-compatible endpoint, or Anthropic's messages."""

import json
import os
from typing import Any, NamedTuple

import requests

SECONDS = 120  # until a model must have answered


class Call(NamedTuple):
    id: str
    tool: str
    arguments: dict[str, Any]


class OpenAI:
    """OpenAI's chat completions; MODEL_URL names another server that has them."""

    URL = "https://api.openai.com/v1"

    def __init__(self, system: str, question: str, tools: list[Any]) -> None:
        self._messages: list[Any] = [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        self._tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                },
            }
            for tool in tools
        ]

    def ask(self) -> tuple[str, list[Call]]:
        """The model's text, and the tools it wants to call; if none, it is the finding."""
        headers = {"Authorization": f"Bearer {os.environ['MODEL_KEY']}"}
        body = {"messages": self._messages, "tools": self._tools}
        message = _post(self.URL, "/chat/completions", headers, body)["choices"][0]["message"]
        self._messages.append(message)
        calls = [
            Call(each["id"], each["function"]["name"], json.loads(each["function"]["arguments"]))
            for each in message.get("tool_calls") or []
        ]
        return message.get("content") or "", calls

    def answer(self, answers: dict[str, str]) -> None:
        self._messages += [
            {"role": "tool", "tool_call_id": call, "content": text}
            for call, text in answers.items()
        ]


class Anthropic:
    """Anthropic's messages API."""

    URL = "https://api.anthropic.com/v1"

    def __init__(self, system: str, question: str, tools: list[Any]) -> None:
        self._system = system
        self._messages: list[Any] = [{"role": "user", "content": question}]
        self._tools = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
            for tool in tools
        ]

    def ask(self) -> tuple[str, list[Call]]:
        headers = {"x-api-key": os.environ["MODEL_KEY"], "anthropic-version": "2023-06-01"}
        body = {"system": self._system, "messages": self._messages, "tools": self._tools}
        content = _post(self.URL, "/messages", headers, body | {"max_tokens": 4096})["content"]
        self._messages.append({"role": "assistant", "content": content})
        text = "\n".join(part["text"] for part in content if part["type"] == "text")
        used = [part for part in content if part["type"] == "tool_use"]
        return text, [Call(part["id"], part["name"], part["input"]) for part in used]

    def answer(self, answers: dict[str, str]) -> None:
        results = [
            {"type": "tool_result", "tool_use_id": call, "content": text}
            for call, text in answers.items()
        ]
        self._messages.append({"role": "user", "content": results})


PROVIDERS: dict[str, type[OpenAI] | type[Anthropic]] = {"openai": OpenAI, "anthropic": Anthropic}


def _post(url: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
    url = os.environ.get("MODEL_URL", url).rstrip("/") + path
    body |= {"model": os.environ["MODEL_NAME"]}
    answer = requests.post(url, json=body, headers=headers, timeout=SECONDS)
    answer.raise_for_status()
    return answer.json()
