"""The wire shapes of crowds. Source: docs/contract.md, section 2.6."""

from typing import Any

from rest_framework import serializers

from groupbuy.fields import TextField


class JobRequest(serializers.Serializer):
    tagId = TextField(source="tag_id", longest=64)
    batchId = TextField(source="batch_id", longest=32)

    def to_names(self, body: Any) -> dict[str, str]:
        return dict(self.run_validation(body))


class MembersRequest(serializers.Serializer):
    tagId = TextField(source="tag_id", longest=64)
    userIds = serializers.ListField(
        source="user_ids", child=TextField(longest=64), allow_empty=False
    )

    def to_members(self, body: Any) -> dict[str, Any]:
        return dict(self.run_validation(body))


class MembersResponse(serializers.Serializer):
    tagId = serializers.CharField()
    members = serializers.IntegerField(
        allow_null=True, help_text="members of the crowd now; null above 200,000"
    )


class ProgressResponse(serializers.Serializer):
    status = serializers.IntegerField(help_text="0 new, 1 running, 2 stopped, 3 done")
    slices = serializers.IntegerField(
        help_text="0 until the run has been planned, and after its end"
    )
    slicesDone = serializers.IntegerField(source="done")
    found = serializers.IntegerField(help_text="users so far")
