"""Detect a proxy that is missing from ``NUM_PROXIES``."""

from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

log = structlog.get_logger(__name__)


class UncountedProxyMiddleware:
    """Log one warning if requests come through a proxy although ``NUM_PROXIES`` is 0.

    All clients then have the address of the proxy, and share its rate limits.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if settings.NUM_PROXIES:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.warned = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not self.warned and "X-Forwarded-For" in request.headers:
            self.warned = True
            log.warning("proxy_not_counted", hint="Set NUM_PROXIES: X-Forwarded-For is ignored.")
        return self.get_response(request)
