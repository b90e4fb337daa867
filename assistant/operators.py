"""Identify the calling operator by the request's key, or by OPERATOR_KEY on stdio."""

from collections.abc import Mapping

from django.conf import settings
from mcp.server.mcpserver.exceptions import ToolError

from groupbuy import auth


def operator_of(headers: Mapping[str, str] | None) -> str:
    """The operator's name. headers: of an HTTP request, or None on stdio. Raises ToolError."""
    header = f"Bearer {settings.OPERATOR_KEY}"
    if headers is not None:
        header = headers.get("authorization", "")
    caller = auth.caller_of(header)
    if caller is None or caller.channel is not None:
        raise ToolError("An operator key is required: in OPERATOR_KEY, or in each HTTP request.")
    return caller.name
