"""The channel layer of production, which lets processes send messages to each other's WebSockets."""

from typing import Any


def redis_layer(url: str) -> dict[str, Any]:
    """Return ``CHANNEL_LAYERS`` for a Redis: ``redis://``, ``rediss://`` (TLS) or ``unix://``.

    https://github.com/django/channels_redis
    """
    host = {
        "address": url,
        # Seconds. The layer waits 5 seconds for a message. With the same limit, redis-py's default,
        # each connection without a message for 5 seconds would fail.
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
    }
    backend = "channels_redis.core.RedisChannelLayer"
    return {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
