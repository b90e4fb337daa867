"""The headers of every shopper page."""

from django.http import HttpResponse
from django.utils import timezone

HEADERS = {
    # Pictures of goods may be at the mall. Everything else is from this site; nothing is inline.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' https:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


def dress(response: HttpResponse) -> HttpResponse:
    """Add the headers that the response does not have yet, and X-Now, in ms since 1970."""
    if response.status_code != 304:  # a 304 has no content
        for name, value in HEADERS.items():
            response.setdefault(name, value)
    # For countdowns by the server's clock: a phone's own may be wrong.
    response["X-Now"] = str(round(timezone.now().timestamp() * 1000))
    return response
