from enum import IntEnum


class CloseCode(IntEnum):
    """Close codes (RFC 6455, section 7.4); those from 4000 are named after HTTP status codes."""

    RECONNECT = 1000
    NOT_AUTHENTICATED = 4401
    TOO_MANY_CONNECTIONS = 4409
    MESSAGE_TOO_BIG = 4413  # not 1009, which Daphne does not let an application send
    TOO_MANY_MESSAGES = 4429
    TRY_AGAIN_LATER = 4503
