"""Tell a user's open pages and programs that something has happened.

A notification is a hint to ask the API again, not the only place where something is written: who
is not connected does not get it, and neither does anybody while Redis is away.
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

logger = get_logger(__name__)


def group_of(user_id: int) -> str:
    """Return the name of the group that all connections of a user join."""
    return f"user.{user_id}"


def notify(user: User, event: dict[str, Any]) -> None:
    """Send an event, as JSON, to all that the user has open at ``ws/notifications/``.

    It leaves once the present transaction has committed, and never fails that: where Redis is
    away the event is dropped, and the log says so. Raises ``TypeError`` for what JSON cannot hold.
    A coroutine calls it as ``await database_sync_to_async(notify)(user, event)``.
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
    # Seconds: whoever called ``notify`` is waiting.
    async with asyncio.timeout(2):
        await layer.group_send(group, {"type": "notification", "text": text})
