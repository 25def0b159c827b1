"""The OpenAPI schema and Swagger UI, which loads local files only."""

import threading
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.csp import CSP
from django.utils.decorators import method_decorator
from django.views.decorators.csp import csp_override
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

# Swagger UI styles its elements from scripts.
SWAGGER_CSP = csp_override(
    {
        "default-src": [CSP.SELF],
        "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
        "img-src": [CSP.SELF, "data:"],
        "object-src": [CSP.NONE],
        "base-uri": [CSP.NONE],
        "frame-ancestors": [CSP.NONE],
    }
)

# What every operation may answer beside its own: see common.drf.errors.
ERROR_SCHEMAS = {
    "Error": {
        "description": "`detail` and `code`, or the messages of each refused field.",
        "anyOf": [
            {"$ref": "#/components/schemas/ErrorDetail"},
            {"$ref": "#/components/schemas/FieldErrors"},
        ],
    },
    "ErrorDetail": {
        "type": "object",
        "properties": {
            "detail": {"type": "string", "description": "For people, in their language."},
            "code": {"type": "string", "description": "For programs; never changes."},
        },
        "required": ["detail", "code"],
        "additionalProperties": False,
    },
    "FieldErrors": {
        "type": "object",
        "description": "Messages by field; those of a list or an object, by index or by field.",
        "additionalProperties": {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"$ref": "#/components/schemas/FieldErrors"},
            ],
        },
    },
}


class SchemaView(SpectacularAPIView):
    """The schema, made by one thread at a time.

    drf-spectacular loads its extensions at the first schema, and where two threads do that at
    once, one of them fails.
    """

    authentication_classes = []
    _lock = threading.Lock()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with self._lock:
            return super().dispatch(request, *args, **kwargs)


@method_decorator(SWAGGER_CSP, name="dispatch")
class SwaggerView(SpectacularSwaggerSplitView):
    authentication_classes = []


def describe_errors(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add to every operation the answer that stands for all its errors (a drf-spectacular hook)."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(ERROR_SCHEMAS)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"description": "An error.", "content": content}
    return result
