"""The Redis server of the channel layer."""

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from channels_redis.core import RedisChannelLayer
from redis.exceptions import RedisError
from structlog import get_logger

from common.drf.health import State

logger = get_logger(__name__)

# Seconds that a check of readiness waits for Redis.
PING_TIMEOUT = 2.0


async def run_id(layer: Any) -> str:
    """Return the id of the Redis server, which changes when it restarts; "" for a layer in memory.

    A restart loses the groups of the layer, and no consumer gets an error. Raises ``RedisError``.
    https://redis.io/docs/latest/commands/info/
    """
    if not isinstance(layer, RedisChannelLayer):
        return ""
    return str((await layer.connection(0).info("server"))["run_id"])


def check_channel_layer() -> State:
    """Return a warning if Redis does not respond. Only notifications fail without it."""
    try:
        async_to_sync(_ping)(channel_layers[DEFAULT_CHANNEL_LAYER])
    except (RedisError, TimeoutError) as error:
        logger.warning("redis_unavailable", error=error)
        return "warning"
    return "ok"


async def _ping(layer: Any) -> None:
    async with asyncio.timeout(PING_TIMEOUT):
        await run_id(layer)
