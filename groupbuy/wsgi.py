"""Django's WSGI application, and the call that answers an RSGI request of granian with it."""

import os
import sys
from functools import lru_cache
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application
from granian.rsgi import HTTPProtocol, Scope

from groupbuy import changes, exporter
from groupbuy.bodies import FAULT, BodyError
from groupbuy.metrics import COMPLETE_AT
from groupbuy.proxies import is_proxy

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupbuy.settings")

PROTO = "HTTP_X_FORWARDED_PROTO"
ENVIRON = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

application = get_wsgi_application()
changes.start_listener()
exporter.start("web")


def respond(
    scope: Scope, protocol: HTTPProtocol, body: bytes, fault: BodyError | None, complete_at: float
) -> None:
    """Answer a request whose body is complete or faulty, since complete_at (monotonic())."""
    head: list[tuple[int, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        head.append((int(status[:3]), headers))

    ours = {FAULT: fault, COMPLETE_AT: complete_at}
    response = application(_environ(scope, body) | ours, start_response)
    try:
        if path := getattr(getattr(response, "file_to_stream", None), "name", ""):
            protocol.response_file(*head[0], path)  # granian reads it in parts
        else:
            protocol.response_bytes(*head[0], b"".join(response))
    finally:
        response.close()


def _environ(scope: Scope, body: bytes) -> dict[str, Any]:
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = ENVIRON | {
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": _as_wsgi(scope.path),
        "QUERY_STRING": _as_wsgi(scope.query_string),
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
    }
    for header, value in scope.headers.items():
        if name := _environ_name(header):
            environ[name] = f"{environ[name]},{value}" if name in environ else value
    environ["CONTENT_LENGTH"] = str(len(body))
    if PROTO in environ and not is_proxy(environ["REMOTE_ADDR"]):
        del environ[PROTO]  # Django would trust it (SECURE_PROXY_SSL_HEADER)
    return environ


@lru_cache(1000)
def _environ_name(header: str) -> str:
    """WSGI's name; "" for a header with an underscore, which would pass for one with a dash."""
    if "_" in header:
        return ""
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def _as_wsgi(text: str) -> str:
    """WSGI's form of a text: each of its UTF-8 bytes as one character."""
    return text.encode().decode("latin-1")
