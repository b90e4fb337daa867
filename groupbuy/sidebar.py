"""The console's sidebar: the same order in every language, only what the user may see."""

from typing import Any

from django.apps import apps
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

GROUPS = (
    (gettext_noop("Trade"), "trade.order trade.team trade.notifytask"),
    (
        gettext_noop("Campaigns"),
        "activity.activity activity.offer activity.sku activity.discount",
    ),
    (gettext_noop("Crowds"), "tag.crowdtag tag.crowdmember tag.crowdjob"),
    (gettext_noop("Channels and switches"), "groupbuy.channel groupbuy.apikey groupbuy.switch"),
    (
        gettext_noop("Console"),
        "auth.user auth.group django_celery_beat.periodictask"
        " django_celery_beat.crontabschedule django_celery_beat.intervalschedule",
    ),
)


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
