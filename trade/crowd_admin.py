"""Console pages of crowd jobs: here and not in tag, because counting reads orders."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action

from tag import jobs
from tag.models import CrowdJob
from trade import crowds

PATIENCE = 5  # seconds that a preview may count


@admin.register(CrowdJob)
class CrowdJobAdmin(ModelAdmin):
    list_display = ["batch_id", "tag", "kind", "at_least", "last_days", "status", "found"]
    list_filter = ["tag", "status"]
    list_select_related = ["tag", "run"]
    search_fields = ["batch_id", "tag__tag_id", "tag__name"]
    autocomplete_fields = ["tag"]
    fields = [
        "tag",
        "batch_id",
        ("kind", "at_least"),
        "last_days",
        ("start_at", "end_at"),
    ]
    actions_detail = ["watch"]

    @admin.display(description=_("found"), empty_value="–")
    def found(self, job: CrowdJob) -> int | None:
        return job.run.size if job.run else None

    @action(description=_("Count, run, stop"), url_path="watch", permissions=["change"])
    def watch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How far the job is, and buttons that count, run, stop and go on."""
        job = get_object_or_404(CrowdJob.objects.select_related("run", "tag"), pk=object_id)
        counted: tuple[int, bool] | None = None
        if request.method == "POST":
            if "count" not in request.POST:
                self._turn(request, job)
                return HttpResponseRedirect(reverse("admin:tag_crowdjob_watch", args=[object_id]))
            counted = jobs.preview(job, crowds, now=timezone.now(), seconds=PATIENCE)
        context: dict[str, Any] = self.admin_site.each_context(request) | {
            "title": str(job),
            "job": job,
            "progress": jobs.progress(job),
            "counted": counted,
            "running": job.status == CrowdJob.Status.RUNNING,
            "stopped": job.status == CrowdJob.Status.RESET,
        }
        return render(request, "admin/crowd_job.html", context)

    def _turn(self, request: HttpRequest, job: CrowdJob) -> None:
        """Each button is safe to press twice."""
        if "start" in request.POST:
            jobs.start(job.pk, now=timezone.now())
        elif "stop" in request.POST:
            jobs.stop(job.pk)
        elif "resume" in request.POST:
            jobs.resume(job.pk)
        self.log_change(request, job, ", ".join(set(request.POST) & {"start", "stop", "resume"}))
