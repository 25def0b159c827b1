"""Send notifications to a user's open WebSockets.

A notification is a hint to call the API again. It is not stored: clients that are not connected
miss it, and so do all clients while Redis is down.
"""

import asyncio
import json
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from redis.exceptions import RedisError
from structlog import get_logger

from apps.user.models import User
from common import telemetry

logger = get_logger(__name__)


def group_of(user_id: int) -> str:
    """Return the name of the group that all connections of a user join."""
    return f"user.{user_id}"


def notify(user: User, event: dict[str, Any]) -> None:
    """Send an event as JSON to all connections of the user to ``ws/notifications/``.

    It is sent after the current transaction has committed. If Redis is down, the event is dropped
    and logged. Raises ``TypeError`` if the event cannot be converted to JSON.
    In a coroutine: ``await database_sync_to_async(notify)(user, event)``.
    """
    text = json.dumps(event, cls=DjangoJSONEncoder)
    transaction.on_commit(partial(_send, user.pk, text))


def _send(user_id: int, text: str) -> None:
    try:
        async_to_sync(_send_to_group)(group_of(user_id), text)
    except (RedisError, TimeoutError) as error:
        logger.warning("notification_not_sent", user=user_id, error=error)


async def _send_to_group(group: str, text: str) -> None:
    layer = channel_layers[DEFAULT_CHANNEL_LAYER]
    # Seconds: the caller of ``notify`` is waiting.
    with telemetry.database_call("redis", "group_send"):
        async with asyncio.timeout(2):
            await layer.group_send(group, {"type": "notification", "text": text})
