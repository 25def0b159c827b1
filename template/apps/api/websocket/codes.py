from enum import IntEnum


class CloseCode(IntEnum):
    """Why the service closes a WebSocket (RFC 6455, section 7.4; 4000 and above are ours)."""

    RECONNECT = 1000
    MESSAGE_TOO_BIG = 1009
    NOT_AUTHENTICATED = 4401
    TOO_MANY_CONNECTIONS = 4409
    TOO_MANY_MESSAGES = 4429
    TRY_AGAIN_LATER = 4503
