"""The channel layer of production, by which processes reach each other's WebSockets."""

from typing import Any


def redis_layer(url: str) -> dict[str, Any]:
    """Return ``CHANNEL_LAYERS`` for a Redis: ``redis://``, ``rediss://`` (TLS) or ``unix://``.

    https://github.com/django/channels_redis
    """
    host = {
        "address": url,
        # Seconds. The layer waits 5 for a message; redis-py's own limit, 5 as well, would end
        # that wait with an error, and so every connection that hears nothing for 5 seconds.
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
    }
    backend = "channels_redis.core.RedisChannelLayer"
    return {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
