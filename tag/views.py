"""The endpoint of the contract that runs crowd jobs, section 2.6."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from groupbuy.api import answer, enveloped
from groupbuy.auth import IsOperator
from tag import jobs
from tag.serializers import JobRequest, ProgressResponse

job_request = JobRequest()


class CrowdViewSet(viewsets.ViewSet):
    """What operators' own tools call, with an operator key."""

    permission_classes = (IsOperator,)

    @extend_schema(
        operation_id="exec_tag_batch_job",
        tags=["operators"],
        summary="Run a crowd job; while it runs, say how far it is",
        request=JobRequest,
        responses=enveloped("JobAnswer", ProgressResponse(allow_null=True)),
    )
    def run(self, request: Request) -> Response:
        job = jobs.find(**job_request.to_names(request.data))
        jobs.start(job.pk, now=timezone.now())
        return answer(ProgressResponse(jobs.progress(jobs.get(job.pk))).data)
