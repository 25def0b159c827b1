from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from common.sqs.sqs_sync import region_mismatch


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


@checks.register(deploy=True)
def region_is_that_of_the_queue(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn of a queue URL whose region is not the one that requests are sent to."""
    mismatches = map(region_mismatch, (settings.SQS_QUEUE_URL, settings.SQS_INBOUND_QUEUE_URL))
    return [
        checks.Warning(
            mismatch,
            hint="Remove the variable, or set it to the region of the queue.",
            id="event_sync.W002",
        )
        for mismatch in mismatches
        if mismatch
    ]
