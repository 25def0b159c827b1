"""HTTP under ASGI: ``api_core.http`` between a server and the WSGI application."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from pytest_django import Settings

from api_core import http
from api_core.env import BASE_DIR

type View = Callable[[dict[str, Any]], HttpResponseBase]
type UseView = Callable[[View], None]

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/caf\u00e9/",
    "query_string": b"a=b",
    "headers": [],
    "server": ("127.0.0.1", 8000),
    "client": ("192.0.2.1", 5000),
}
END = {"type": "http.request", "body": b"", "more_body": False}
DISCONNECT = {"type": "http.disconnect"}


class Server:
    """A server with one request: the messages that it sends to the application, and receives."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.has_sent, self.client_left = asyncio.Event(), asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if not self.messages:
            await self.client_left.wait()
            return DISCONNECT
        return self.messages.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.has_sent.set()

    async def serve(self, **scope: Any) -> None:
        await http.http({**SCOPE, **scope}, self.receive, self.send)

    @property
    def content(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]


def serve(*messages: dict[str, Any], **scope: Any) -> Server:
    async def run() -> Server:
        server = Server(*messages or [END])
        await asyncio.wait_for(server.serve(**scope), 20)
        return server

    return asyncio.run(run())


@pytest.fixture
def use_view(monkeypatch: pytest.MonkeyPatch) -> UseView:
    """Return a function that replaces the WSGI application by a view of the environ."""

    def use(view: View) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> HttpResponseBase:
            response = view(environ)
            start_response(f"{response.status_code} OK", list(response.items()))
            return response

        monkeypatch.setattr(http, "application", application)

    return use


@pytest.fixture
def environ(use_view: UseView) -> dict[str, Any]:
    """The environ of the last request."""
    last: dict[str, Any] = {}

    def view(environ: dict[str, Any]) -> HttpResponse:
        last.update(environ, body=environ["wsgi.input"].read())
        return HttpResponse("done", headers={"X-Answer": "\u00e9"})

    use_view(view)
    return last


def test_a_response_is_sent_whole(environ: dict[str, Any]) -> None:
    start, body = serve().sent
    assert start["status"] == 200
    assert (b"x-answer", b"\xe9") in start["headers"]
    assert body == {"type": "http.response.body", "body": b"done"}


def test_the_environ_describes_the_request(environ: dict[str, Any]) -> None:
    serve(headers=[(b"host", b"example.com"), (b"content-type", b"text/plain")])
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/caf\u00e9/"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["CONTENT_TYPE"] == "text/plain"
    names = ("QUERY_STRING", "REQUEST_METHOD", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
    expected = ["a=b", "POST", "example.com", "127.0.0.1", "8000"]
    assert [environ[name] for name in names] == expected


def test_repeated_headers_are_joined(environ: dict[str, Any]) -> None:
    pairs = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x"), (b"accept", b"y")]
    serve(headers=pairs)
    assert (environ["HTTP_COOKIE"], environ["HTTP_ACCEPT"]) == ("a=1; b=2", "x,y")


def test_a_header_with_an_underscore_is_dropped(environ: dict[str, Any]) -> None:
    serve(headers=[(b"x_forwarded_proto", b"https")])
    assert "HTTP_X_FORWARDED_PROTO" not in environ


def test_only_the_setting_chooses_the_path_of_the_service(
    environ: dict[str, Any], settings: Settings
) -> None:
    serve(path="/svc/a/", root_path="/svc")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/svc/a/")
    settings.FORCE_SCRIPT_NAME = "/svc"
    serve(path="/svc/a/")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/svc", "/a/")


def test_a_body_in_parts_is_read_before_the_call(environ: dict[str, Any]) -> None:
    serve({"type": "http.request", "body": b"one", "more_body": True}, {**END, "body": b"two"})
    assert environ["body"] == b"onetwo"


def test_a_body_is_read_up_to_its_limit(environ: dict[str, Any], settings: Settings) -> None:
    settings.REQUEST_BODY_MAX_BYTES = 5
    part = {"type": "http.request", "body": b"123456", "more_body": True}
    assert len(serve(part, part, END).messages) == 2
    assert environ["body"] == b"123456"
    assert len(serve(part, headers=[(b"content-length", b"6")]).sent) == 2
    assert environ["body"] == b""


def test_a_client_that_disconnects_within_its_body_is_not_served(environ: dict[str, Any]) -> None:
    part = {"type": "http.request", "body": b"one", "more_body": True}
    assert serve(part, DISCONNECT).sent == []
    assert not environ


def test_a_streaming_response_is_sent_in_chunks_by_one_thread(use_view: UseView) -> None:
    threads = []

    def content() -> Iterator[bytes]:
        for chunk in (b"one", b"two"):
            threads.append(threading.current_thread())
            yield chunk
        threads.append(threading.current_thread())

    use_view(lambda _environ: StreamingHttpResponse(content()))
    assert serve().content == [b"one", b"two", b""]
    assert len(set(threads)) == 1


def test_a_streaming_response_ends_when_its_client_disconnects(use_view: UseView) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            closed.set()

    async def leave() -> None:
        server = Server(END)
        request = asyncio.create_task(server.serve())
        await server.has_sent.wait()
        server.client_left.set()
        await asyncio.wait_for(request, 20)

    use_view(lambda _environ: StreamingHttpResponse(endless()))
    asyncio.run(leave())
    assert closed.is_set()


def test_a_request_that_the_server_cancels_gets_its_response(use_view: UseView) -> None:
    started, finish = threading.Event(), threading.Event()

    def view(_environ: dict[str, Any]) -> HttpResponse:
        started.set()
        finish.wait(20)
        return HttpResponse("done")

    async def cancel() -> Server:
        server = Server(END)
        request = asyncio.create_task(server.serve())
        await asyncio.to_thread(started.wait, 20)
        request.cancel()
        await asyncio.wait([request])
        finish.set()
        await asyncio.wait(http.in_flight, timeout=20)
        return server

    use_view(view)
    assert asyncio.run(cancel()).content == [b"done"]


def test_liveness_responds_while_all_threads_are_busy() -> None:
    released = threading.Event()

    async def probe() -> Server:
        busy = [http.in_thread(partial(released.wait, 20)) for _ in range(settings.WEB_THREADS)]
        server = Server(END)
        headers = [(b"host", b"localhost")]
        await asyncio.wait_for(
            server.serve(method="GET", path="/api/v1/health/", headers=headers), 10
        )
        assert not any(call.done() for call in busy)
        released.set()
        await asyncio.gather(*busy)
        return server

    server = asyncio.run(probe())
    assert (server.sent[0]["status"], server.content) == (200, [b'{"status":"ok"}'])


def test_a_failed_call_is_raised_to_the_server(use_view: UseView) -> None:
    def fail(_environ: dict[str, Any]) -> HttpResponse:
        raise ZeroDivisionError

    use_view(fail)
    with pytest.raises(ZeroDivisionError):
        serve()


WAITS_FOR_EVER = """
import threading
from concurrent.futures import Future
from api_core.http import _calls

started = threading.Event()
_calls.put((Future(), lambda: started.set() or threading.Event().wait()))
assert started.wait(10)
"""


def test_a_process_ends_while_a_thread_waits_for_its_event_loop() -> None:
    command = [sys.executable, "-c", WAITS_FOR_EVER]
    subprocess.run(command, cwd=BASE_DIR, check=True, timeout=60)  # noqa: S603
