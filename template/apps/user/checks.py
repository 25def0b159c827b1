from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security, deploy=True)
def confirm_token_stays_in_the_mailbox(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """In production only the owner of a mailbox may learn the token that confirms it."""
    if not settings.REGISTER_RETURNS_CONFIRM_TOKEN:
        return []
    return [
        Error(
            "REGISTER_RETURNS_CONFIRM_TOKEN lets anyone confirm any e-mail address.",
            hint="Turn it off in production.",
            id="user.E001",
        )
    ]
