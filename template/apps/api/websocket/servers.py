"""Two habits of the servers that this service cannot live with; ``api_core.asgi`` ends them."""

import logging

from daphne.ws_protocol import WebSocketProtocol


def allow_close_codes_of_servers() -> None:
    """Let Daphne send 1009, by which clients know that their message was too big.

    It closes by a method of Autobahn's that takes 1000 and 3000 to 4999 alone, and answers the
    codes between, which RFC 6455 (section 7.4.1) gives to servers, with an exception.
    """
    WebSocketProtocol.serverClose = _server_close


def keep_headers_out_of_logs() -> None:
    """Let uvicorn log no handshake, which it does at the level DEBUG: the token is in there."""
    logger = logging.getLogger("uvicorn.error")
    logger.setLevel(max(logger.level, logging.INFO))


def _server_close(protocol: WebSocketProtocol, code: int | None = None) -> None:
    protocol.sendCloseFrame(code=1000 if code is None else code)
