"""How a server that is told to stop leaves its listening socket without failing anyone."""

import ctypes
import socket
import struct
import sys
from contextlib import suppress

# Seconds that a server goes on accepting after ``refuse_newcomers``, before it closes the socket.
# It is far more than a handshake that has begun takes.
DRAIN = 0.2

# Classic BPF: load the byte of the TCP flags; drop the packet if SYN is set, else keep it whole.
# https://docs.kernel.org/networking/filter.html
_DROP_SYN = (
    struct.pack("HBBI", 0x30, 0, 0, 13)  # ldb [13]
    + struct.pack("HBBI", 0x45, 0, 1, 0x02)  # jset #SYN, next, skip 1
    + struct.pack("HBBI", 0x06, 0, 0, 0)  # ret #0
    + struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)  # ret #-1
)
_SO_ATTACH_FILTER = 26


def refuse_newcomers(listener: socket.socket) -> None:
    """Take no new connection at this socket, whichever process holds it; those begun may come in.

    The kernel resets connections that nobody accepted when a listening socket is closed, and
    there is always one that comes between the last accept and the close. With their first
    packets dropped there is none: who comes tries again after a second and is refused, so that a
    proxy takes another server. Where the kernel knows no such filter, nothing changes.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    instructions = struct.pack("HL", len(_DROP_SYN) // 8, ctypes.addressof(program))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, instructions)
