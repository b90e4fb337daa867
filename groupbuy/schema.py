"""The OpenAPI schema of our own request fields and of the API key."""

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)


class TextFieldSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.TextField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        # No minLength of 0: drf-spectacular would describe the string as one of two strings.
        shortest = {} if self.target.allow_blank else {"minLength": 1}
        return {"type": "string", **shortest, "maxLength": self.target.longest}


class IdNumberFieldSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.IdNumberField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "integer", "format": "int64", "minimum": 1}


class CursorFieldSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.CursorField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "integer", "format": "int64", "minimum": 0}


class MomentFieldSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.MomentField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        accepted = "With an offset. Epoch milliseconds as a number are accepted, too."
        return {"type": "string", "format": "date-time", "description": accepted}


class MomentOutSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.MomentOut"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


class MoneyFieldSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.MoneyField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        described = {"minimum": 0.01, "description": "yuan, at most two decimals"}
        return {"type": "number", **described}


class MoneyOutSchema(OpenApiSerializerFieldExtension):
    target_class = "groupbuy.fields.MoneyOut"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "number", "description": "yuan, at most two decimals"}


class ApiKeySchema(OpenApiAuthenticationExtension):
    target_class = "groupbuy.auth.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "gbm_<prefix>_<secret>"}


def without_trailing_slash(result: Any, **_kwargs: Any) -> Any:
    """Our paths match with and without a slash; docs/contract.md writes them without."""
    result["paths"] = {path.rstrip("/"): item for path, item in result["paths"].items()}
    return result
