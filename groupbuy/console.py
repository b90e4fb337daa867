"""The console as a whole: its settings for unfold, its sidebar, the headers of its pages."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

Handler = Callable[[HttpRequest], HttpResponse]
GROUPS = (
    (gettext_noop("Trade"), "trade.order trade.team trade.notifytask"),
    (
        gettext_noop("Campaigns"),
        "activity.activity activity.offer trade.forecast activity.sku activity.discount",
    ),
    (gettext_noop("Crowds"), "tag.crowdtag tag.crowdmember tag.crowdjob"),
    (
        gettext_noop("Channels and switches"),
        "groupbuy.channel groupbuy.apikey groupbuy.switch groupbuy.proposal",
    ),
    (
        gettext_noop("Console"),
        "auth.user auth.group axes.accessattempt django_celery_beat.periodictask"
        " django_celery_beat.crontabschedule django_celery_beat.intervalschedule",
    ),
)

UNFOLD = {
    "SITE_TITLE": gettext_lazy("Group buying console"),
    "SITE_HEADER": gettext_lazy("Group buying console"),
    "SITE_URL": reverse_lazy("start"),
    "SITE_ICON": lambda request: static("logo.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("logo.svg")}
    ],
    "SHOW_LANGUAGES": True,
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "trade.admin.dashboard",
    "STYLES": [
        lambda request: static("console.css"),
        lambda request: static("figures.css"),
    ],
    "LOGIN": {"form": "groupbuy.signin.SignInForm"},
    "ACCOUNT": {"navigation": "groupbuy.console.account"},
    "SIDEBAR": {"show_search": True, "navigation": "groupbuy.console.navigation"},
    "COLORS": {  # the teal of the charts; red is for what fails or deletes
        "primary": {
            "50": "240 253 250",
            "100": "204 251 241",
            "200": "153 246 228",
            "300": "94 234 212",
            "400": "45 212 191",
            "500": "20 184 166",
            "600": "15 118 110",
            "700": "17 94 89",
            "800": "19 78 74",
            "900": "10 61 58",
            "950": "4 47 46",
        },
    },
}
CONTENT_SECURITY_POLICY = (  # the console's scripts evaluate the attributes of its pages
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' https: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def headers(get_response: Handler) -> Handler:
    """Middleware: nothing of other origins runs in a page of the console."""
    prefix = "/admin/"

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path.startswith(prefix):
            response.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return middleware


def account(request: HttpRequest) -> list[dict[str, Any]]:
    """For unfold: links of the menu of one's own account."""
    return [
        {"title": _("My exports"), "link": reverse("exports")},
        {"title": _("Change password"), "link": reverse("admin:password_change")},
        {"title": _("Second step when signing in"), "link": reverse("second_step")},
    ]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """For unfold: groups of links."""
    groups = [(_(title), _items(request, labels.split())) for title, labels in GROUPS]
    return [{"title": title, "separator": True, "items": items} for title, items in groups if items]


def _items(request: HttpRequest, labels: list[str]) -> list[dict[str, Any]]:
    models = [apps.get_model(label)._meta for label in labels]
    return [
        {
            "title": capfirst(model.verbose_name_plural),
            "link": reverse(f"admin:{model.app_label}_{model.model_name}_changelist"),
        }
        for model in models
        if request.user.has_perm(f"{model.app_label}.view_{model.model_name}")
    ]
