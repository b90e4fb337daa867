"""Serves uploaded pictures of goods, for stacks whose proxy does not serve MEDIA_ROOT."""

from typing import Any

from django.http import FileResponse, Http404, HttpRequest
from django.views.decorators.http import require_safe

from activity import pictures

HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",  # another picture has another name
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


@require_safe
def picture(request: HttpRequest, name: str) -> FileResponse:
    path = pictures.find(f"{pictures.MEDIA}{name}")
    if path is None:
        raise Http404
    content: Any = path.open("rb")
    return FileResponse(content, content_type="image/webp", headers=HEADERS)
