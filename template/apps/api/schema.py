"""The OpenAPI schema and its two readers, Swagger UI and ReDoc, from local files alone."""

import threading
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.csp import CSP
from django.utils.decorators import method_decorator
from django.views.decorators.csp import csp_override
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

# Both readers style their elements from scripts; ReDoc searches in a worker of its own.
READER_CSP = csp_override(
    {
        "default-src": [CSP.SELF],
        "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
        "img-src": [CSP.SELF, "data:"],
        "worker-src": ["blob:"],
        "object-src": [CSP.NONE],
        "base-uri": [CSP.NONE],
        "frame-ancestors": [CSP.NONE],
    }
)

# What every operation may answer beside its own: see apps.api.errors.
ERROR_SCHEMA = {
    "type": "object",
    "description": "`detail` and `code`, or the messages of each refused field.",
    "properties": {
        "detail": {"type": "string", "description": "For people, in their language."},
        "code": {"type": "string", "description": "For programs; never changes."},
    },
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
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


@method_decorator(READER_CSP, name="dispatch")
class SwaggerView(SpectacularSwaggerSplitView):
    authentication_classes = []


@method_decorator(READER_CSP, name="dispatch")
class RedocView(SpectacularRedocView):
    authentication_classes = []
    template_name = "api/redoc.html"


def describe_errors(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add to every operation the answer that stands for all its errors (a drf-spectacular hook)."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"description": "An error.", "content": content}
    return result
