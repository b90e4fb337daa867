"""Which operator is calling: by the key of the request, or by OPERATOR_KEY on stdio."""

from collections.abc import Mapping

from django.conf import settings
from mcp.server.mcpserver.exceptions import ToolError

from groupbuy import auth


def operator_of(headers: Mapping[str, str] | None) -> str:
    """The operator's name. headers: of an HTTP request, None on stdio. Raises ToolError."""
    header = f"Bearer {settings.OPERATOR_KEY}"
    if headers is not None:
        header = headers.get("authorization", "")
    caller = auth.caller_of(header)
    if caller is None or caller.channel is not None:
        raise ToolError("This needs an operator key: in OPERATOR_KEY, or sent with each request.")
    return caller.name
