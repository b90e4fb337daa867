"""The wire shapes of GET events. Source: docs/contract.md, section 2.6."""

import json
from typing import Any

from rest_framework import serializers

from groupbuy.fields import CursorField, MomentOut
from trade.models import NotifyTask


class EventsRequest(serializers.Serializer):
    after = CursorField(required=False, help_text="the next of an earlier answer, 0 at first")

    def to_cursor(self, query: Any) -> int:
        after: int = self.run_validation(query).get("after", 0)
        return after


class EventResponse(serializers.Serializer):
    no = serializers.IntegerField(source="event_no", help_text="1, 2, 3 … for each channel")
    id = serializers.CharField(source="key", help_text="the webhook-id or message_id of the copy")
    event = serializers.ChoiceField(NotifyTask.Event.values)
    payload = serializers.SerializerMethodField()
    createdAt = MomentOut(source="created_at")

    def get_payload(self, task: NotifyTask) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(task.payload)
        return payload


class EventsResponse(serializers.Serializer):
    """A page of events, oldest first; `next` is the `after` of the next request."""

    events = EventResponse(many=True)
    next = serializers.IntegerField()
    hasMore = serializers.BooleanField(source="has_more")
