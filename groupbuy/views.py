"""The endpoint that changes switches. Source: docs/contract.md, section 2.5."""

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from groupbuy import switches
from groupbuy.api import answer, enveloped
from groupbuy.auth import IsOperator

REASON = "API: dcc/update_config"  # the wire has no field for one


class SwitchViewSet(viewsets.ViewSet):
    """Calls of operators' tools, with an operator key."""

    http_method_names = ("get", "post", "options")  # a HEAD must not change anything
    permission_classes = (IsOperator,)

    @extend_schema(methods=["GET"], operation_id="updateConfigByGet")
    @extend_schema(
        operation_id="updateConfig",
        tags=["operators"],
        summary="Change a switch (DCC)",
        parameters=[
            OpenApiParameter("key", OpenApiTypes.STR, required=True),
            OpenApiParameter("value", OpenApiTypes.STR, required=True),
        ],
        request=None,
        responses=enveloped(
            "UpdateConfigAnswer", serializers.JSONField(allow_null=True, help_text="null")
        ),
    )
    def update_config(self, request: Request) -> Response:
        caller: Any = request.user
        named = request.query_params
        if missing := {"key", "value"} - named.keys():
            raise serializers.ValidationError(
                dict.fromkeys(sorted(missing), _("Required, in the query of the URL."))
            )
        try:
            switches.change(named["key"], named["value"], by=caller.name, reason=REASON)
        except ValidationError as exc:
            raise serializers.ValidationError(exc.message_dict) from exc
        return answer(None)
