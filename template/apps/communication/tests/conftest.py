from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.communication import kinds
from apps.communication.emails import email_kind
from apps.communication.models import EmailTemplate


@pytest.fixture
def greeting(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A kind of e-mail. The returned dictionary overrides its values."""
    answers: dict[str, Any] = {}
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))

    @email_kind(
        "greeting",
        label="Greeting",
        placeholders={"name": "Ana", "page_url": "https://e.com/"},
        required={"page_url"},
    )
    def values(number: int = 0) -> dict[str, str] | None:
        answer = answers.get(f"{number}", {})
        if callable(answer):
            answer = answer()
        return None if answer is None else {"name": "Ana", "page_url": "https://e.com/x", **answer}

    return answers


@pytest.fixture
def greeting_text(greeting: dict[str, Any], db: None) -> EmailTemplate:
    return EmailTemplate.objects.create(
        kind="greeting",
        language="en",
        subject="Hello {{ name }}",
        html='<p>Hello {{ name }}</p><p><a href="{{ page_url }}">Look</a></p>',
    )


class Clock:
    def __init__(self) -> None:
        # A little ahead, because the default of Email.next_attempt_at uses the real time.
        self.now = timezone.now() + timedelta(minutes=1)

    def advance(self, **units: float) -> None:
        self.now += timedelta(**units)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    return clock
