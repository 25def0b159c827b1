"""How a server that is told to stop leaves its listening socket without failing anyone.

The kernel resets connections that nobody accepted when a listening socket is closed, and there is
always one that comes between the last accept and the close. So the socket first demands of packets
what none has, and those that begin a connection are dropped: who comes tries again after a second
and is refused, so that a proxy takes another server. The server accepts who came before, and
closes the socket then.
"""

import socket
import sys
from contextlib import suppress

# Seconds between the two: for handshakes that had begun to end, and their requests to come.
DRAIN = 0.5

# The least time to live that a packet must have left (RFC 5082), as Linux numbers the options.
# https://man7.org/linux/man-pages/man7/ip.7.html
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73


def refuse_newcomers(listener: socket.socket) -> None:
    """Take no new connection at this socket, whichever processes hold it (on Linux)."""
    _demand(listener, 255)


def hear(connection: socket.socket) -> None:
    """Read a connection that was accepted: since ``refuse_newcomers`` it has the same demand."""
    _demand(connection, 0)


def _demand(sock: socket.socket, time_to_live: int) -> None:
    if sys.platform != "linux":
        return
    # A socket of another family has no such option.
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, time_to_live)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, time_to_live)
