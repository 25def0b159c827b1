"""Metrics of open WebSockets and of notifications."""

from apps.api.notifications import notify
from apps.api.tests.otlp import Exported
from apps.api.websocket.tests.client import connected
from apps.user.models import User
from common import telemetry


async def test_open_connections_are_counted(bearer: str, exported: Exported) -> None:
    async with connected(authorization=bearer):
        assert exported.metrics()["websocket.connections.open"] == [({}, 1)]
    assert exported.metrics()["websocket.connections.open"] == [({}, 0)]


def test_notifications_are_traced(transactional_db: None, user: User, exported: Exported) -> None:
    with telemetry.span("test", "SERVER"):
        notify(user, {"type": "test"})
    span = exported.span("redis group_send")
    assert span.parent_id == exported.span("test").id
    assert span.attributes["db.system.name"] == "redis"
