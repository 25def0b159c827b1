"""Traces and metrics of OpenTelemetry.

The functions here do nothing, and OpenTelemetry is not imported, unless this app is installed: the
settings install it if OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from common.telemetry.sdk import Telemetry

type Kind = Literal["SERVER", "CLIENT", "PRODUCER", "CONSUMER"]

_sdk: "Telemetry | None" = None


def start() -> "Telemetry":
    """Export traces and metrics from now on."""
    from common.telemetry.sdk import Telemetry  # noqa: PLC0415 - only if it is used

    global _sdk  # noqa: PLW0603
    _sdk = Telemetry()
    return _sdk


def stop() -> None:
    """Export what is left, and nothing from now on."""
    global _sdk  # noqa: PLW0603
    if _sdk:
        _sdk.shutdown()
    _sdk = None


def span(name: str, kind: Kind, *, parent: str = "") -> AbstractContextManager[object]:
    """Trace the block, as part of the trace in ``parent`` (a traceparent) if there is one."""
    return _sdk.span(name, kind, parent=parent) if _sdk else nullcontext()


def request(method: str, *, parent: str) -> "AbstractContextManager[dict[str, Any]]":
    """Trace and measure a request. The caller adds the route and the status."""
    return _sdk.request(method, parent=parent) if _sdk else nullcontext({})


def database_call(system: str, operation: str) -> AbstractContextManager[object]:
    """Trace and measure a call of a database."""
    if not _sdk:
        return nullcontext()
    attributes = {"db.system.name": system, "db.operation.name": operation}
    return _sdk.call(f"{system} {operation}", "db.client.operation.duration", attributes)


def messaging_call(system: str, operation: str) -> AbstractContextManager[object]:
    """Trace and measure a call of a queue or a mail server."""
    if not _sdk:
        return nullcontext()
    attributes = {"messaging.system": system, "messaging.operation.name": operation}
    return _sdk.call(f"{system} {operation}", "messaging.client.operation.duration", attributes)


def traceparent() -> str:
    """Return the current position in a trace, to be stored: https://www.w3.org/TR/trace-context/"""
    return _sdk.traceparent() if _sdk else ""


def count[Result: str](name: str, results: Mapping[Result, int]) -> None:
    """Add to a counter: numbers by their result."""
    if _sdk:
        for result, number in results.items():
            _sdk.add(name, number, {"result": result})


def change(name: str, amount: int) -> None:
    """Change a number of open things by 1 or -1."""
    if _sdk:
        _sdk.change(name, amount)


def measure() -> None:
    """Record the values of ``settings.MEASUREMENTS``, which the scheduler does."""
    if _sdk:
        for path in settings.MEASUREMENTS:
            for name, value in import_string(path)().items():
                _sdk.set(name, value)
