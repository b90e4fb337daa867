"""The WSGI application that granian serves."""

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application

from groupbuy import changes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupbuy.settings")

LONGEST_CHUNKED = 1024 * 1024  # bytes; the API refuses bodies far shorter than that

django = get_wsgi_application()
changes.start_listener()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Django, for which a body without Content-Length is empty: some Java clients send those."""
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        body = environ["wsgi.input"].read(LONGEST_CHUNKED)
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    return django(environ, start_response)
