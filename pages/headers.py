"""The headers of every shopper page."""

from django.http import HttpResponse
from django.utils import timezone

HEADERS = {
    # Pictures of goods may lie at the mall; everything else is ours, and nothing is inline.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' https:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


def dress(response: HttpResponse) -> HttpResponse:
    if response.status_code != 304:  # that one has no content
        for name, value in HEADERS.items():
            response.setdefault(name, value)
    # The server's clock: a phone's own may be wrong.
    response["X-Now"] = str(round(timezone.now().timestamp() * 1000))
    return response
