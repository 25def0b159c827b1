"""Trace and measure HTTP requests."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from common import telemetry

# Clients can send any method, and each would be a time series of its own.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class TraceMiddleware:
    """It is first in MIDDLEWARE, so that the log lines of a request contain the trace."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        method = request.method if request.method in METHODS else "_OTHER"
        parent = request.headers.get("traceparent", "")
        with telemetry.request(str(method), parent=parent) as attributes:
            response = self.get_response(request)
            # Not the path, which may contain data.
            match = request.resolver_match
            attributes["http.route"] = match.route if match else ""
            attributes["http.response.status_code"] = response.status_code
        return response
