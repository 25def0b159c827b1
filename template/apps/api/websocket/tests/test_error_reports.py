"""Errors of WebSockets are reported to Sentry, without the messages."""

import pytest

from apps.api.consumers import EchoConsumer
from apps.api.tests.receiver import Receiver
from apps.api.tests.test_error_reports import EMAIL, assert_is_safe, fail
from apps.api.websocket.tests.client import Socket
from apps.user.models import User


async def test_a_failed_consumer_is_reported_and_closes_the_connection(
    user: User, bearer: str, sentry: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EchoConsumer, "receive", fail)
    socket = await Socket(authorization=bearer).open()
    await socket.send_to(text_data=EMAIL)
    assert await socket.close_code() == 4503
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "websocket_failed"}
    assert report["user"] == {"id": user.pk}
    assert_is_safe(report)
