"""Decode what OpenTelemetry exports: https://opentelemetry.io/docs/specs/otlp/"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apps.api.tests.receiver import Receiver, receiver
from common import telemetry
from common.telemetry.apps import TelemetryConfig
from common.telemetry.database import trace_queries


class Span(NamedTuple):
    name: str
    trace_id: str
    id: str
    parent_id: str
    attributes: dict[str, Any]
    is_error: bool


class Exported:
    """Traces and metrics that were exported to a server of this test."""

    def __init__(self, server: Receiver) -> None:
        self._server = server

    @property
    def endpoint(self) -> str:
        return f"http://{self._server.address}"

    def spans(self) -> list[Span]:
        return [
            Span(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _attributes(span.attributes),
                span.status.code == span.status.STATUS_CODE_ERROR,
            )
            for body in self._bodies("/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in _ours(resource, resource.scope_spans)
            for span in scope.spans
        ]

    def span(self, name: str) -> Span:
        (span,) = [span for span in self.spans() if span.name == name]
        return span

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """Return the last points of each metric: their attributes, and the value or the count."""
        found: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for body in self._bodies("/v1/metrics"):
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in _ours(resource, resource.scope_metrics):
                    found |= {metric.name: _points(metric) for metric in scope.metrics}
        return found

    def _bodies(self, path: str) -> list[bytes]:
        assert telemetry._sdk
        telemetry._sdk.flush()
        return [body for to, body in self._server.received if to == path]


def _ours(resource: Any, scopes: Any) -> Any:
    """Return the scopes of an export, which must name the service, the process and the project."""
    attributes = _attributes(resource.resource.attributes)
    assert attributes["service.name"] == settings.OTEL_SERVICE_NAME
    assert "service.instance.id" in attributes
    assert {scope.scope.name for scope in scopes} == {"api_core"}
    return scopes


def _points(metric: Any) -> list[tuple[dict[str, Any], float]]:
    kind = metric.WhichOneof("data")
    assert (metric.unit == "s") == metric.name.endswith(".duration")
    return [
        (
            _attributes(point.attributes),
            point.count if kind == "histogram" else getattr(point, point.WhichOneof("value")),
        )
        for point in getattr(metric, kind).data_points
    ]


def _attributes(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def exporting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    """Export traces and metrics, as the app ``common.telemetry`` does."""
    with receiver() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{server.address}")
        TelemetryConfig("common.telemetry", telemetry).ready()
        # The connection of the test exists already.
        connection_created.send(type(connection), connection=connection)
        try:
            yield Exported(server)
        finally:
            connection_created.disconnect(trace_queries)
            connection.execute_wrappers.clear()
            telemetry.stop()
