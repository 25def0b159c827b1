"""uvicorn that stops gracefully: ``python -m api_core.graceful_uvicorn`` takes uvicorn's options.

Told to stop, uvicorn itself resets the connections that it has not accepted yet, and those whose
request it has not read. This one takes no new connections, and reads what comes on the others.
"""

import asyncio
import socket
import time
from importlib import import_module
from typing import Any

from uvicorn.server import Server
from uvicorn.supervisors import Multiprocess

from api_core.listening import DRAIN, hear, refuse_newcomers


class GracefulServer(Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Sockets that it was given belong to the process that started it, and to its siblings.
        if not sockets:
            for server in self.servers:
                for listener in server.sockets:
                    refuse_newcomers(listener)
        # In slices: a loop that is late reads in one what it has accepted in another.
        for _slice in range(10):
            await asyncio.sleep(DRAIN / 10)
            for connection in self.server_state.connections:
                hear(connection.transport.get_extra_info("socket"))
        await super().shutdown(sockets)


class GracefulMultiprocess(Multiprocess):
    def terminate_all(self) -> None:
        for listener in self.sockets:
            refuse_newcomers(listener)
        time.sleep(DRAIN)
        super().terminate_all()


if __name__ == "__main__":
    # The module: in the package this name is its command.
    cli: Any = import_module("uvicorn.main")
    cli.Server, cli.Multiprocess = GracefulServer, GracefulMultiprocess
    cli.main()
