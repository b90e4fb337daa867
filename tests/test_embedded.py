"""The embedded stack: for this machine only."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from groupbuy.embedded import loopback_only


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.0.0.1", 403), ("", 403)],
)
def test_other_machines_get_no_answer(address: str, status: int) -> None:
    def answer(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("a page with DEBUG")

    request = RequestFactory().get("/", REMOTE_ADDR=address)

    response = loopback_only(answer)(request)

    assert response.status_code == status
    assert (b"DEBUG" in response.content) == (status == 200)
