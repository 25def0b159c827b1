"""Detection of proxies that are missing from ``NUM_PROXIES``."""

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings
from structlog.testing import capture_logs

from common.drf.proxies import UncountedProxyMiddleware


def respond(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def test_an_uncounted_proxy_is_logged_once(rf: RequestFactory) -> None:
    middleware = UncountedProxyMiddleware(respond)
    with capture_logs() as logs:
        middleware(rf.get("/"))
        assert not logs
        for _request in range(2):
            response = middleware(rf.get("/", headers={"X-Forwarded-For": "192.0.2.1"}))
            assert response.content == b"ok"
    hint = "Set NUM_PROXIES: X-Forwarded-For is ignored."
    assert logs == [{"event": "proxy_not_counted", "log_level": "warning", "hint": hint}]


def test_the_service_detects_an_uncounted_proxy(client: Client) -> None:
    with capture_logs() as logs:
        client.get("/api/v1/health/", headers={"X-Forwarded-For": "192.0.2.1"})
    assert "proxy_not_counted" in [line["event"] for line in logs]


def test_a_counted_proxy_needs_no_middleware(settings: Settings) -> None:
    settings.NUM_PROXIES = 1
    with pytest.raises(MiddlewareNotUsed):
        UncountedProxyMiddleware(respond)
