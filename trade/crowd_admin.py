"""Console pages of crowd jobs. They are in trade because a preview reads orders."""

import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from groupbuy.fields import read_id
from groupbuy.history import KeepsValues
from groupbuy.moments import IN_YEARS
from groupbuy.stale_forms import RefusesStaleForms
from tag import jobs
from tag.admin import save_changed
from tag.models import CrowdJob, CrowdTag
from trade import history

PATIENCE = 5  # seconds until a preview stops counting


def keep_schedule(job: CrowdJob) -> None:
    """Keep the Celery beat entry of the job in line with its schedule."""
    if job.schedule is None:
        _tasks_of([job.pk]).delete()
        return
    PeriodicTask.objects.update_or_create(
        name=_task_name(job.pk),
        defaults={
            "task": "trade.tasks.start_crowd_job",
            "args": json.dumps([job.pk]),
            "crontab": job.schedule,
        },
    )


def _tasks_of(job_ids: Iterable[int]) -> QuerySet[PeriodicTask]:
    names = [_task_name(job_id) for job_id in job_ids]
    planned: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(name__in=names)
    return planned


def _task_name(job_id: int) -> str:
    return f"crowd job {job_id}"


class WhyForm(forms.Form):
    tag = forms.ModelChoiceField(
        CrowdTag.objects.all(), label=_("crowd tag"), widget=UnfoldAdminSelectWidget()
    )
    user_id = forms.CharField(
        label=_("user id"), max_length=64, widget=UnfoldAdminTextInputWidget()
    )


@admin.register(CrowdJob)
class CrowdJobAdmin(RefusesStaleForms, KeepsValues):
    about = _("A job finds shoppers by what they have paid for and makes them members of a crowd.")
    helps = {"batch_id": _("A name for the job without spaces, such as vip-may.")}
    formfield_overrides = IN_YEARS
    list_display = ["batch_id", "tag", "rule", "progress", "found"]
    list_filter = ["tag", "status"]
    list_select_related = ["tag", "run"]
    search_fields = ["batch_id", "tag__tag_id", "tag__name"]
    autocomplete_fields = ["tag"]
    fields = [
        "tag",
        "batch_id",
        ("kind", "at_least"),
        "last_days",
        "start_at",
        "end_at",
        "schedule",
    ]
    actions_detail = ["watch"]
    actions_list = ["why"]

    def save_model(self, request: HttpRequest, obj: CrowdJob, form: Any, change: bool) -> None:
        save_changed(obj, form, change)
        keep_schedule(obj)

    def response_post_save_add(self, request: HttpRequest, obj: CrowdJob) -> HttpResponse:
        """The page on which the job is counted and started: saving it starts nothing."""
        if self.has_change_permission(request, obj):
            return redirect("admin:tag_crowdjob_watch", obj.pk)
        answer: HttpResponse = super().response_post_save_add(request, obj)
        return answer

    def delete_model(self, request: HttpRequest, obj: CrowdJob) -> None:
        _tasks_of([obj.pk]).delete()
        jobs.discard(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CrowdJob]) -> None:
        for job in queryset:
            self.delete_model(request, job)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Leave out the members: there may be millions."""
        return [str(job) for job in objs], {}, set(), []

    def get_readonly_fields(self, request: HttpRequest, obj: CrowdJob | None = None) -> list[str]:
        return ["tag"] if obj else []

    @admin.display(description=_("rule"))
    def rule(self, job: CrowdJob) -> str:
        return job.rule

    @admin.display(description=_("status"), ordering="status")
    def progress(self, job: CrowdJob) -> str:
        link = reverse("admin:tag_crowdjob_watch", args=[job.pk])
        return format_html('<a class="underline" href="{}">{}</a>', link, job.get_status_display())

    @admin.display(description=_("found"), empty_value="–")
    def found(self, job: CrowdJob) -> int | None:
        return job.run.size if job.run else None

    @action(description=_("Count, run, stop"), url_path="watch", permissions=["change"])
    def watch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The job's progress, with buttons to count, run, stop and resume."""
        rows = CrowdJob.objects.select_related("run", "tag")
        job = get_object_or_404(rows, pk=read_id(object_id))
        counted: tuple[int, bool] | None = None
        if request.method == "POST":
            if "count" not in request.POST:
                self._press(request, job)
                return HttpResponseRedirect(reverse("admin:tag_crowdjob_watch", args=[object_id]))
            counted = jobs.preview(job, history, now=timezone.now(), seconds=PATIENCE)
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": _("Crowd job %(job)s") % {"job": job},
            "job": job,
            "progress": jobs.progress(job),
            "counted": counted,
            "running": job.status == CrowdJob.Status.RUNNING,
            "stopped": job.status == CrowdJob.Status.RESET,
        }
        return render(request, "admin/crowd_job.html", context)

    @action(description=_("Why is this user in?"), url_path="why", permissions=["view"])
    def why(self, request: HttpRequest) -> HttpResponse:
        """Show why a user is in a crowd. The form uses GET, because it changes nothing."""
        form = WhyForm(request.GET or None)
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": _("Why is this user in?"),
            "form": form,
        }
        if form.is_valid():
            tag, shopper = form.cleaned_data["tag"], form.cleaned_data["user_id"]
            reasons = history.why(tag, shopper, now=timezone.now())
            context |= {"reasons": reasons, "inside": any(each.inside for each in reasons)}
        return render(request, "admin/why.html", context)

    def _press(self, request: HttpRequest, job: CrowdJob) -> None:
        """Carry out the button that was pressed; a second press changes and logs nothing."""
        acts = {
            "start": lambda: jobs.start(job.pk, now=timezone.now()),
            "stop": lambda: jobs.stop(job.pk),
            "resume": lambda: jobs.resume(job.pk),
        }
        for name in acts.keys() & request.POST.keys():
            with transaction.atomic(durable=True):
                if acts[name]():
                    self.log_change(request, job, name)
