"""Endpoints of crowds: run a job, add and remove members. Source: docs/contract.md, section 2.6."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from groupbuy.api import answer, enveloped
from groupbuy.auth import IsOperator
from tag import crowd, jobs
from tag.serializers import JobRequest, MembersRequest, MembersResponse, ProgressResponse

job_request, members_request = JobRequest(), MembersRequest()


class CrowdViewSet(viewsets.ViewSet):
    """Calls of operators' own tools, with an operator key."""

    permission_classes = (IsOperator,)

    @extend_schema(
        operation_id="runCrowdJob",
        tags=["operators"],
        summary="Start a crowd job, also one that is done, unless it runs; return its progress",
        request=JobRequest,
        responses=enveloped("JobAnswer", ProgressResponse(allow_null=True)),
    )
    def run(self, request: Request) -> Response:
        job = jobs.find(**job_request.to_names(request.data))
        jobs.start(job.pk, now=timezone.now())
        return answer(ProgressResponse(jobs.progress(jobs.get(job.pk))).data)

    @extend_schema(
        operation_id="addCrowdMembers",
        tags=["operators"],
        summary="Add users to a crowd; as many as fit into 64 KiB",
        request=MembersRequest,
        responses=enveloped("AddMembersAnswer", MembersResponse(allow_null=True)),
    )
    def add(self, request: Request) -> Response:
        members = members_request.to_members(request.data)
        tag = crowd.find(members["tag_id"])
        crowd.add_members(tag, members["user_ids"])
        return answer({"tagId": tag.pk, "members": crowd.count_members(tag)})

    @extend_schema(
        operation_id="removeCrowdMembers",
        tags=["operators"],
        summary="Remove users from a crowd; a job may find them again",
        request=MembersRequest,
        responses=enveloped("RemoveMembersAnswer", MembersResponse(allow_null=True)),
    )
    def remove(self, request: Request) -> Response:
        members = members_request.to_members(request.data)
        tag = crowd.find(members["tag_id"])
        crowd.remove_members(tag, members["user_ids"])
        return answer({"tagId": tag.pk, "members": crowd.count_members(tag)})
