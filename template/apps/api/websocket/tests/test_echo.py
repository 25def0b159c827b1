import pytest
from pytest_django import Settings

from apps.api.websocket.tests.client import Socket, connected

pytestmark = pytest.mark.django_db


async def test_text_and_bytes_are_sent_back() -> None:
    async with connected() as socket:
        for text in ("hello", "olá", ""):
            await socket.send_input({"type": "websocket.receive", "text": text})
            assert await socket.receive_text_or_bytes() == text
        for data in (b"\x00\xff", b""):
            await socket.send_input({"type": "websocket.receive", "bytes": data})
            assert await socket.receive_text_or_bytes() == data


@pytest.mark.parametrize("path", ["/ws/nothing/", "/ws/echo", "/"])
async def test_an_unknown_path_is_refused(path: str) -> None:
    assert await Socket(path).is_denied()


async def test_the_echo_can_require_a_user(settings: Settings, bearer: str) -> None:
    settings.WEBSOCKET_ECHO_NEEDS_USER = True
    assert await (await Socket().open()).close_code() == 4401
    async with connected(authorization=bearer) as socket:
        assert await socket.echoes()
