from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def app_keys_cannot_be_guessed(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Who guesses a key confirms events: it needs the strength of a password that nobody types."""
    keys = [key for key in (settings.APP_KEY, *settings.APP_KEY_FALLBACKS) if key]
    if all(len(key) >= 32 and len(set(key)) >= 5 for key in keys):
        return []
    return [
        checks.Warning(
            "APP_KEY, or one of APP_KEY_FALLBACKS, can be guessed.",
            hint="It needs 32 random characters or more: .env.example says how to make one.",
            id="event_sync.W001",
        )
    ]
