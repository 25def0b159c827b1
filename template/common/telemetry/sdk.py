"""OpenTelemetry's SDK. It reads its variables itself, such as OTEL_EXPORTER_OTLP_HEADERS.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from time import perf_counter
from typing import Any

from django.conf import settings
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import bound_contextvars

from common.telemetry import Kind

type Attributes = dict[str, Any]

_propagator = TraceContextTextMapPropagator()


class Telemetry:
    """Exports traces and metrics. Their attributes contain no data of users."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": settings.OTEL_SERVICE_NAME})
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider(
            [PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource
        )
        self._tracer = self._traces.get_tracer("api_core")
        meter = self._metrics.get_meter("api_core")
        self._histogram = cache(lambda name: meter.create_histogram(name, "s"))
        self._counter = cache(meter.create_counter)
        self._up_down_counter = cache(meter.create_up_down_counter)
        self._gauge = cache(meter.create_gauge)

    def flush(self) -> None:
        self._traces.force_flush()
        self._metrics.force_flush()

    def shutdown(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown()

    @contextmanager
    def span(self, name: str, kind: Kind, *, parent: str = "") -> Iterator[trace.Span]:
        context = _propagator.extract({"traceparent": parent}) if parent else None
        with ExitStack() as stack:
            span = stack.enter_context(
                self._tracer.start_as_current_span(
                    name,
                    context,
                    trace.SpanKind[kind],
                    # Messages of exceptions may contain data.
                    record_exception=False,
                    set_status_on_exception=False,
                )
            )
            if kind != "CLIENT":
                trace_id = trace.format_trace_id(span.get_span_context().trace_id)
                stack.enter_context(bound_contextvars(trace_id=trace_id))
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.StatusCode.ERROR)
                raise

    @contextmanager
    def call(self, name: str, metric: str, attributes: Attributes) -> Iterator[None]:
        """Measure a call, and trace it if it is part of a trace: not the polls of a loop."""
        started = perf_counter()
        try:
            if trace.get_current_span().get_span_context().is_valid:
                with self.span(name, "CLIENT") as span:
                    span.set_attributes(attributes)
                    yield
            else:
                yield
        except BaseException as error:
            attributes["error.type"] = type(error).__qualname__
            raise
        finally:
            self._histogram(metric).record(perf_counter() - started, attributes)

    @contextmanager
    def request(self, method: str, *, parent: str) -> Iterator[Attributes]:
        """Trace and measure a request. The caller adds the route and the status."""
        started = perf_counter()
        attributes: Attributes = {"http.request.method": method}
        with self.span(method, "SERVER", parent=parent) as span:
            yield attributes
            span.update_name(f"{method} {attributes['http.route']}".rstrip())
            span.set_attributes(attributes)
            if attributes["http.response.status_code"] >= 500:
                span.set_status(trace.StatusCode.ERROR)
        duration = perf_counter() - started
        self._histogram("http.server.request.duration").record(duration, attributes)

    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent", "")

    def add(self, name: str, amount: int, attributes: Attributes) -> None:
        self._counter(name).add(amount, attributes)

    def change(self, name: str, amount: int) -> None:
        self._up_down_counter(name).add(amount)

    def set(self, name: str, value: float) -> None:
        self._gauge(name).set(value)
