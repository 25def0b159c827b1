"""How Daphne stops."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api_core.env import BASE_DIR

APPLICATION = """
import asyncio

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    else:
        await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
"""


class Daphne:
    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self.process = process

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture
def daphne(tmp_path: Path) -> Iterator[Daphne]:
    (tmp_path / "slow.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "api_core.daphne_server", "--port", str(port)]
    with subprocess.Popen(  # noqa: S603 - our own program
        [*command, "slow:application"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{BASE_DIR}:{tmp_path}",
            "DJANGO_SETTINGS_MODULE": "api_core.settings.test",
        },
        stderr=subprocess.DEVNULL,
    ) as process:
        for _attempt in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield Daphne(port, process)
        process.kill()


def test_a_stop_answers_the_request_in_flight_and_refuses_new_ones(daphne: Daphne) -> None:
    begun = http.client.HTTPConnection("127.0.0.1", daphne.port, timeout=20)
    begun.request("GET", "/")
    time.sleep(0.2)
    daphne.stop()
    time.sleep(0.2)
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", daphne.port, timeout=20).request("GET", "/")
    assert begun.getresponse().read() == b"done"
    begun.close()
    assert daphne.process.wait(20) == 0


def test_a_stop_closes_websockets_with_1012(daphne: Daphne) -> None:
    with connect(f"ws://127.0.0.1:{daphne.port}/") as client:
        daphne.stop()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1012
    assert daphne.process.wait(20) == 0
