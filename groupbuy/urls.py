"""Every path of the project."""

from django.conf import settings
from django.contrib import admin
from django.urls import path, re_path, register_converter
from django.urls.converters import IntConverter
from django.views.decorators.csrf import csrf_exempt
from django.views.i18n import set_language
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

import pages.urls
import tag.urls
import trade.urls
from activity.views import picture
from groupbuy import api, export_views, health, signin
from groupbuy.views import SwitchViewSet
from pages import preview
from trade.figures import home
from trade.views import accept_callback


class IdConverter(IntConverter):
    """<id:…>: an id that every database can look up."""

    regex = "[0-9]{1,18}"


register_converter(IdConverter, "id")
handler403 = "groupbuy.admin.permission_denied"
handler404 = "pages.problems.page_not_found"
handler500 = "pages.problems.server_error"
console = admin.site.admin_view
urlpatterns = [
    *trade.urls.urlpatterns,  # first, because malls send most of the requests
    *pages.urls.urlpatterns,
    re_path(r"^media/(?P<name>[0-9a-f]{32}\.webp)$", picture, name="picture"),
    path("internal/live", health.live_view, name="live"),
    path("internal/ready", health.ready_view, name="ready"),
    path("admin/figures/<slug:name>.csv", console(home.export), name="figure_csv"),
    re_path(
        r"^admin/export/(?P<app>\w+)/(?P<model>\w+)\.(?P<kind>csv|xlsx)$",
        console(export_views.export),
        name="export",
    ),
    path("admin/exports/", console(export_views.own), name="exports"),
    path("admin/exports/<id:export_id>/", console(export_views.download), name="export_download"),
    path("admin/exports/<id:export_id>/delete/", console(export_views.delete),
         name="export_delete"),
    path("admin/preview/<id:activity_id>/<id:offer_id>/", console(preview.choose),
         name="preview"),
    path("admin/preview/<id:activity_id>/<id:offer_id>/page/", console(preview.page),
         name="preview_page"),
    path("admin/second-step/", console(signin.second_step), name="second_step"),
    path("admin/", admin.site.urls),
    # Without a token, so that a guest's page is the same for every guest and can be cached.
    path("language/", csrf_exempt(set_language), name="set_language"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    re_path(
        r"^api/v1/gbm/dcc/update_config/?$",
        SwitchViewSet.as_view({"get": "update_config", "post": "update_config"}),
    ),
    *tag.urls.urlpatterns,
]  # fmt: skip
if settings.DEBUG:
    urlpatterns += [re_path(r"^api/v1/test/group_buy_notify/?$", accept_callback)]
urlpatterns += [re_path(r"^api/", api.path_not_found)]
