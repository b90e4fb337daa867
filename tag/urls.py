"""The paths of tag, each with and without a trailing slash."""

from django.urls import re_path

from tag.views import CrowdViewSet

API = "api/v1/gbm/tag"

urlpatterns = [
    re_path(rf"^{API}/exec_tag_batch_job/?$", CrowdViewSet.as_view({"post": "run"})),
    re_path(rf"^{API}/add_members/?$", CrowdViewSet.as_view({"post": "add"})),
    re_path(rf"^{API}/remove_members/?$", CrowdViewSet.as_view({"post": "remove"})),
]
