"""What the service has logged."""

from typing import Any

import pytest


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Return the fields of each log line with this event, as text."""
    own = {"event", "logger", "level", "timestamp"}
    return [
        {name: str(value) for name, value in record.msg.items() if name not in own}
        for record in caplog.records
        if isinstance(record.msg, dict) and record.msg["event"] == event
    ]
