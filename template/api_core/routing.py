"""The addresses of WebSockets. Those of HTTP are in ``api_core.urls``."""

from typing import Any

from django.urls import path

from apps.api.consumers import EchoConsumer, NotificationsConsumer

websocket_urlpatterns: list[Any] = [
    path("ws/echo/", EchoConsumer.as_asgi()),  # type: ignore[arg-type]
    path("ws/notifications/", NotificationsConsumer.as_asgi()),  # type: ignore[arg-type]
]
