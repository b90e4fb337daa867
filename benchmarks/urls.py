"""The project's paths, and beside them views and viewsets that do nothing.

The viewsets validate the request by the trial's serializer, and return a constant answer.
"""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from groupbuy.api import answer
from groupbuy.urls import urlpatterns as project
from trade.serializers import TrialRequest

empty_request = TrialRequest()


class EmptyViewSet(viewsets.ViewSet):
    authentication_classes = ()
    permission_classes = ()

    def empty(self, request: Request) -> Response:
        empty_request.run_validation(request.data)
        return answer(None)


class PlainViewSet(EmptyViewSet):
    """The empty viewset as DRF's tutorial writes it: a new serializer for each request."""

    def empty(self, request: Request) -> Response:
        TrialRequest(data=request.data).is_valid(raise_exception=True)
        return answer(None)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("nothing", nothing),
    path("api/empty", EmptyViewSet.as_view({"post": "empty"})),
    path("api/plain", PlainViewSet.as_view({"post": "empty"})),
    *project,
]
