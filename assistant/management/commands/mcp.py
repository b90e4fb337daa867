"""Serve tools for an AI assistant by the Model Context Protocol, on stdio or by HTTP."""

import sys
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from groupbuy import environment


class Command(BaseCommand):
    help = (
        "Tools for an AI assistant, by MCP on stdio. They only read unless --allow-writes is set."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--listen", metavar="HOST:PORT", help="serve streamable HTTP at /mcp, by operator keys"
        )
        parser.add_argument(
            "--allow-writes",
            action="store_true",
            help="also send notifications again, unblock clients, change switches; by operator key",
        )

    def handle(self, *args: Any, listen: str, allow_writes: bool, **options: Any) -> None:
        if find_spec("mcp") is None:
            raise CommandError("pip install -r requirements-mcp.txt")
        from assistant import server  # noqa: PLC0415  its packages are optional

        built = server.build(allow_writes=allow_writes)
        if listen:
            host, port = environment.listen_address("--listen", listen)
            _serve(server.http_app(built, host), host, port)
        else:
            if allow_writes and not settings.OPERATOR_KEY:
                raise CommandError("OPERATOR_KEY is not set: --allow-writes needs an operator key.")
            built.run("stdio")


def _serve(app: Any, host: str, port: int) -> None:
    import uvicorn  # noqa: PLC0415

    sys.stderr.write(f"MCP on http://{host}:{port}/mcp\n")
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, lifespan="on")
