"""What Channels does not say: that Redis went away, and with it the groups that it kept.

After a restart of Redis the channel layer connects again by itself. Most consumers never learn
of it, and wait for ever for messages to a group that no longer knows them.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import BaseChannelLayer, channel_layers
from channels_redis.core import RedisChannelLayer
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog import get_logger

from common.drf.health import State

logger = get_logger(__name__)

type Callback = Callable[[], None]


async def when_lost(layer: BaseChannelLayer, callback: Callback) -> Callback:
    """Have ``callback`` called once, when the layer's Redis goes away; return what stops that.

    Raises ``RedisError`` where it is away already. A layer in memory is never lost.
    """
    if not isinstance(layer, RedisChannelLayer):
        return lambda: None
    watch = _watches.setdefault(asyncio.get_running_loop(), _Watch(layer))
    await watch.add(callback)
    return lambda: watch.discard(callback)


class _Watch:
    """A connection of this process to Redis that waits for nothing, and so for its own end."""

    def __init__(self, layer: RedisChannelLayer) -> None:
        self._layer = layer
        self._callbacks: set[Callback] = set()
        self._connecting = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None

    async def add(self, callback: Callback) -> None:
        async with self._connecting:
            if self._waiting is None or self._waiting.done():
                redis = Redis(
                    connection_pool=self._layer.create_pool(0), single_connection_client=True
                )
                await redis.ping()
                self._waiting = asyncio.create_task(self._wait(redis))
            self._callbacks.add(callback)

    def discard(self, callback: Callback) -> None:
        self._callbacks.discard(callback)
        if not self._callbacks and self._waiting:
            self._waiting.cancel()

    async def _wait(self, redis: Redis) -> None:
        try:
            while True:
                await redis.blpop([f"{self._layer.prefix}:watch"], timeout=5)
        except RedisError as error:
            logger.warning("redis_lost", error=error, connections=len(self._callbacks))
            callbacks, self._callbacks = self._callbacks, set()
            for callback in callbacks:
                callback()
        finally:
            await redis.aclose()


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = WeakKeyDictionary()


def check_channel_layer() -> State:
    """Say whether Redis answers. Without it only notifications fail, so requests may still come."""
    try:
        async_to_sync(_ping)(channel_layers[DEFAULT_CHANNEL_LAYER])
    except (RedisError, TimeoutError) as error:
        logger.warning("redis_unavailable", error=error)
        return "warning"
    return "ok"


async def _ping(layer: Any) -> None:
    if isinstance(layer, RedisChannelLayer):
        async with asyncio.timeout(2):
            await layer.connection(0).ping()
