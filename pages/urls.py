"""The paths of the pages."""

from django.urls import path

from pages import start

urlpatterns = [
    path("", start.start, name="start"),
]
