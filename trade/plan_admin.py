"""Buttons of an activity's page: copy it (复制), extend it (延长)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from activity.models import Activity
from activity.plans import copy_activity, extend
from groupbuy.fields import read_id
from groupbuy.moments import MomentField
from trade.models import Team

MINUTE = timedelta(minutes=1)
LAST = datetime(9999, 12, 31, tzinfo=UTC)  # of an activity that never ends


class CopyForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=128, widget=UnfoldAdminTextInputWidget)
    start_at = MomentField(label=_("start"))
    end_at = MomentField(label=_("end"))


class ExtendForm(forms.Form):
    end_at = MomentField(label=_("new end"))


class CopiesAndExtends:
    """For the page of activities."""

    actions_detail = ["copy", "extend"]
    admin_site: Any

    def has_copy_permission(self, request: HttpRequest, object_id: str = "") -> bool:
        return bool(self.has_add_permission(request))  # type: ignore[attr-defined]

    @action(description=_("Copy"), url_path="copy", permissions=["copy"])
    def copy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a draft with the same rules and offers, and another start and end."""
        activity = self._get(request, object_id)
        form = CopyForm(request.POST or None, initial=_next(activity, timezone.now()))
        if form.is_valid():
            try:
                with transaction.atomic(durable=True):
                    draft = copy_activity(activity, **form.cleaned_data)
                    self.log_addition(request, draft, [{"added": {}}])  # type: ignore[attr-defined]
            except ValidationError as exc:
                _add_errors(form, exc)
            else:
                text = _("%(activity)s is a draft: look at it, then publish it.")
                self.message_user(request, text % {"activity": draft})  # type: ignore[attr-defined]
                return redirect("admin:activity_activity_change", draft.pk)
        said = [
            gettext(
                "A draft with the same rules and offers is made. The same goods on the same"
                " channel cannot be offered twice at one time."
            )
        ]
        return self._plan_page(request, activity, form, gettext("Copy the activity"), said)

    @action(description=_("Extend"), url_path="extend", permissions=["change"])
    def extend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give the activity a later end."""
        activity, now = self._get(request, object_id), timezone.now()
        later = _after(max(activity.end_at, now), timedelta(days=1))
        form = ExtendForm(request.POST or None, initial={"end_at": later})
        if form.is_valid():
            try:
                with transaction.atomic(durable=True):
                    longer = extend(activity, now=now, **form.cleaned_data)
                    changed = {"model": Activity._meta.label, "values": _changes(activity, longer)}
                    self.log_change(request, longer, [{"changed": changed}])  # type: ignore[attr-defined]
            except ValidationError as exc:
                _add_errors(form, exc)
            else:
                self.message_user(request, gettext("The activity has a new end."))  # type: ignore[attr-defined]
                return redirect("admin:activity_activity_change", activity.pk)
        said = _meaning(activity, now)
        return self._plan_page(request, activity, form, gettext("Extend the activity"), said)

    def _get(self, request: HttpRequest, object_id: str) -> Activity:
        if not request.user.has_perm("activity.view_activity"):
            raise PermissionDenied
        activities = Activity.objects.select_related("discount")
        return get_object_or_404(activities, pk=read_id(object_id))

    def _plan_page(
        self, request: HttpRequest, activity: Activity, form: forms.Form, title: str, said: Any
    ) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": title,
            "activity": activity,
            "form": form,
            "said": said,
        }
        return render(request, "admin/plan.html", context)


def _next(activity: Activity, now: datetime) -> dict[str, Any]:
    """Initial values of a copy: it starts after the original and lasts as long."""
    start = _after(max(activity.end_at, now).replace(second=0, microsecond=0), MINUTE)
    end = _after(start, activity.end_at - activity.start_at)
    return {"name": activity.name, "start_at": start, "end_at": end}


def _after(moment: datetime, length: timedelta) -> datetime:
    """The moment so much later, but LAST at most: a later one may not exist in some time zone."""
    return moment + min(length, LAST - moment)


def _meaning(activity: Activity, now: datetime) -> list[str]:
    """The consequences of the extension for teams."""
    forming = Team.objects.filter(status=Team.Status.FORMING, expires_at__gt=now)
    count = forming.filter(activity=activity).count()
    kept = ngettext(
        "%(count)d team is open: it keeps its own end and rules.",
        "%(count)d teams are open: each keeps its own end and rules.",
        count,
    )
    said = [gettext("New teams can be opened until the new end."), kept % {"count": count}]
    if activity.status == Activity.Status.EXPIRED:
        said.append(gettext("The activity has ended: it will be in effect again at once."))
    return said


def _changes(before: Activity, after: Activity) -> list[list[Any]]:
    """The changes in the form of groupbuy/history.py: name, label, value before, value after."""
    values: list[list[Any]] = [
        ["end_at", "End", before.end_at.isoformat(), after.end_at.isoformat()]
    ]
    if before.status != after.status:
        values.append(["status", "Status", before.status, after.status])
    return values


def _add_errors(form: forms.Form, exc: ValidationError) -> None:
    """Show errors beside the fields that the form has, and the others above it."""
    errors = exc.error_dict if hasattr(exc, "error_dict") else {NON_FIELD_ERRORS: exc}
    for name, error in errors.items():
        form.add_error(name if name in form.fields else None, error)
