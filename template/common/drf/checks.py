"""A system check of the views of the API."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView


@register("urls")
def check_permissions(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require that each view states who may call it, because the default allows everyone."""
    undecided = {view for view in _views(get_resolver().url_patterns) if not _has_permissions(view)}
    return [
        Error(
            f"{view.__module__}.{view.__qualname__} does not state who may call it.",
            hint="Set permission_classes, for example to [IsAuthenticated].",
            obj=view,
            id="drf.E001",
        )
        for view in sorted(undecided, key=lambda view: view.__qualname__)
    ]


def _views(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[type[APIView]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        elif isinstance(view := getattr(pattern.callback, "cls", None), type):
            yield view


def _has_permissions(view: type[APIView]) -> bool:
    return (
        view.permission_classes is not APIView.permission_classes
        or view.get_permissions is not APIView.get_permissions
    )
