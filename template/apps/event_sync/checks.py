from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from common.sqs.regions import region_mismatch


@checks.register(deploy=True)
def region_is_that_of_the_queue(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warn if requests are sent to another region than that of the queue's URL."""
    mismatches = map(region_mismatch, (settings.SQS_QUEUE_URL, settings.SQS_INBOUND_QUEUE_URL))
    return [
        checks.Warning(
            mismatch,
            hint="Remove the variable, or set it to the region of the queue.",
            id="event_sync.W001",
        )
        for mismatch in mismatches
        if mismatch
    ]
