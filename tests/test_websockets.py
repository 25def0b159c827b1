"""WebSockets in production, with third-party clients.

Everything runs as docs/websockets_production.md describes: two processes started by ``start_server.sh`` with one
PostgreSQL and one Redis, first Daphne, then uvicorn.
"""

import json
import re
import select
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_copier.plugin import CopierFixture
from support import ROOT
from support.browser import Page, browser
from support.servers import free_port, installed, started
from support.websocket_stack import (
    HOST,
    PASSWORD,
    SERVERS,
    Stack,
    User,
    needs,
    nginx,
    open_socket,
    stack,
    wait_for_port,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("websockets")]

ECHO, NOTIFICATIONS = "/ws/echo/", "/ws/notifications/"
# The subprotocol that a browser offers beside the token, and that the service selects.
SUBPROTOCOL = "jwt"


@pytest.fixture(scope="module")
def service(copier: CopierFixture, short_path: Path) -> Path:
    service = installed(copier, short_path / "websockets", database="postgres", use_event_sync="no")
    base = service / "api_core/settings/base.py"
    text = base.read_text()
    assert "WEBSOCKET_RECHECK_SECONDS = 60\n" in text
    base.write_text(text.replace("RECHECK_SECONDS = 60\n", "RECHECK_SECONDS = 2\n"))
    return service


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, service: Path) -> Iterator[Stack]:
    with stack(service, request.param, "postgres") as running:
        yield running


def snippet(language: str, start: str) -> str:
    """Return a code block of docs/websockets.md, by its language and its first words."""
    page = (ROOT / "docs/websockets.md").read_text()
    found: list[str] = re.findall(
        rf"^```{language}\n({start}.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1, start
    return found[0]


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


def close_code(connection: ClientConnection) -> int | None:
    """Receive until the server closes, and return its close code."""
    try:
        for _message in range(1000):
            connection.recv(timeout=20)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    pytest.fail("the server does not close the connection")


def refusal_code(running: Stack, **options: Any) -> int | None:
    """Return the code with which the server closes a new connection."""
    with running.connect(ECHO, **options) as connection:
        return close_code(connection)


def log_out(running: Stack, token: str) -> None:
    """Log out over HTTP, which revokes the user's tokens."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.ports[1]}/api/v1/auth/logout/",
        method="POST",
        headers={"Authorization": f"Bearer {token}", "X-Forwarded-Proto": "https"},
    )
    urllib.request.urlopen(request, timeout=20).close()


def test_the_echo_sends_each_message_back(running: Stack) -> None:
    user = running.user("echo")
    with running.connect(ECHO, **bearer(user.token)) as connection:
        messages: list[str | bytes] = ["olá, 🌍", b"\0\xff bytes", "x" * 60_000]
        for message in messages:
            connection.send(message)
            assert connection.recv(timeout=20) == message


def test_an_empty_message_does_not_end_the_connection(running: Stack) -> None:
    user = running.user("empty")
    with running.connect(ECHO, **bearer(user.token)) as connection:
        connection.send("")
        connection.send("next")
        # Daphne never sends an empty message, see docs/websockets_production.md.
        if running.server == "uvicorn":
            assert connection.recv(timeout=20) == ""
        assert connection.recv(timeout=20) == "next"


def test_the_documented_server_commands_start_the_service(running: Stack) -> None:
    """Without ``start_server.sh``, as docs/websockets_production.md shows them."""
    page = (ROOT / "docs/websockets_production.md").read_text()
    (command,) = re.findall(rf"`({running.server} [^`]*api_core.asgi[^`]*)`", page)
    port = str(free_port())
    here = command.replace("0.0.0.0", "127.0.0.1").replace("8000", port)  # noqa: S104 - goes
    program, *options = here.split()
    user = running.user("plain")
    with started(
        *[running.service / ".venv/bin" / program, *options],
        cwd=running.service,
        **running.variables,
    ):
        wait_for_port(int(port))
        headers = bearer(user.token)["headers"] | {"X-Forwarded-Proto": "https"}
        with open_socket(f"ws://127.0.0.1{ECHO}", int(port), headers) as connection:
            connection.send("hello")
            assert connection.recv(timeout=20) == "hello"


def test_valid_credentials_are_accepted(running: Stack) -> None:
    user = running.user("in")
    cookie = {"Cookie": user.cookie}
    for options in (
        bearer(user.token),
        {"subprotocols": [SUBPROTOCOL, user.token], "origin": "https://app.example.com"},
        {"headers": cookie, "origin": f"https://{HOST}"},
        {"headers": cookie},
    ):
        with running.connect(ECHO, **options) as connection:
            connection.send("hello")
            assert connection.recv(timeout=20) == "hello"
            # The token is never sent back.
            expected = SUBPROTOCOL if "subprotocols" in options else None
            assert connection.subprotocol == expected


def test_invalid_credentials_are_rejected(running: Stack) -> None:
    user, other = running.user("out"), running.user("other", seconds=-1)
    cookie = {"Cookie": user.cookie}
    assert refusal_code(running) == 4401
    assert refusal_code(running, **bearer("junk")) == 4401
    assert refusal_code(running, **bearer(other.token)) == 4401, "an expired token"
    assert refusal_code(running, subprotocols=[SUBPROTOCOL, "junk"]) == 4401
    # Browsers send the cookie from other pages too, with their origin.
    for origin in ("https://evil.example.com", f"http://{HOST}", "null"):
        with pytest.raises(InvalidStatus, match="HTTP 403"):
            running.connect(ECHO, headers=cookie, origin=origin)
    # An invalid token never falls back to the cookie.
    assert (
        refusal_code(
            running,
            headers=cookie | {"Authorization": "Bearer junk"},
            origin=f"https://{HOST}",
        )
        == 4401
    )
    log_out(running, user.token)
    assert refusal_code(running, **bearer(user.token)) == 4401, "a token from before the logout"


def test_a_connection_closes_when_its_token_expires(running: Stack) -> None:
    user = running.user("short", seconds=4)
    with running.connect(ECHO, **bearer(user.token)) as connection:
        connection.send("hello")
        assert connection.recv(timeout=20) == "hello"
        assert close_code(connection) == 4401


def test_exceeding_a_limit_closes_the_connection(running: Stack) -> None:
    user = running.user("limits")
    with running.connect(ECHO, **bearer(user.token)) as connection:
        connection.send("x" * (64 * 1024 + 1))
        assert close_code(connection) == 4413
    with running.connect(ECHO, **bearer(user.token)) as connection:
        for _number in range(150):
            connection.send("hello")
        assert close_code(connection) == 4429
    with ExitStack() as connections:
        for number in range(10):
            one = running.connect(ECHO, to=number % 2, **bearer(user.token))
            connections.enter_context(one).send("hello")
            assert one.recv(timeout=20) == "hello"
        assert refusal_code(running, to=1, **bearer(user.token)) == 4409


def wait_for_log(running: Stack, text: str) -> None:
    for _attempt in range(100):
        if text in running.log():
            return
        time.sleep(0.1)
    pytest.fail(f"the log does not contain {text}")


def test_a_client_that_disconnects_causes_no_traceback(running: Stack) -> None:
    user = running.user("gone")
    before = running.log().count("Traceback")
    connection = running.connect(NOTIFICATIONS, **bearer(user.token))
    connection.socket.shutdown(socket.SHUT_RDWR)
    wait_for_log(running, f'"user": {user.id}, "code": 1006')
    assert running.log().count("Traceback") == before


def test_an_unknown_path_is_refused(running: Stack) -> None:
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        running.connect("/ws/nothing/")
    assert "Traceback" not in running.log()


def test_notifications_reach_both_processes(running: Stack) -> None:
    ana, bia = running.user("ana"), running.user("bia")
    with (
        running.connect(NOTIFICATIONS, to=0, **bearer(ana.token)) as first,
        running.connect(NOTIFICATIONS, to=1, **bearer(ana.token)) as second,
        running.connect(NOTIFICATIONS, to=1, **bearer(bia.token)) as other,
    ):
        running.notify(ana, type="invoice_paid", number=7)
        event = {"type": "invoice_paid", "number": 7}
        assert json.loads(first.recv(timeout=20)) == event
        assert json.loads(second.recv(timeout=20)) == event
        with pytest.raises(TimeoutError):
            other.recv(timeout=1)


def test_a_restart_of_redis_closes_all_notifications(running: Stack) -> None:
    """No connection stays open that would receive no more notifications."""
    user = running.user("restart")
    with ExitStack() as connections:
        # Several in one process: only one of them receives an error of the lost connection.
        notified = [
            connections.enter_context(running.connect(NOTIFICATIONS, **bearer(user.token)))
            for _number in range(4)
        ]
        running.notify(user, number=1)
        for each in notified:
            assert json.loads(each.recv(timeout=20)) == {"number": 1}
        running.redis.kill()
        running.redis.start()
        assert [close_code(each) for each in notified] == [4503] * 4


def test_notifications_recover_after_redis_was_down(running: Stack) -> None:
    user = running.user("away")
    with running.connect(ECHO, **bearer(user.token)) as echoed:
        running.redis.kill()
        with running.connect(NOTIFICATIONS, **bearer(user.token)) as notified:
            assert close_code(notified) == 4503
        echoed.send("still here")
        assert echoed.recv(timeout=20) == "still here"
        running.notify(user, number=1)  # is dropped without an error

    running.redis.start()
    for _attempt in range(50):
        with running.connect(NOTIFICATIONS, **bearer(user.token)) as notified:
            running.notify(user, number=2)
            try:
                assert json.loads(notified.recv(timeout=20)) == {"number": 2}
            except ConnectionClosed:
                time.sleep(0.5)
            else:
                return
    pytest.fail("no notification arrived after Redis had started")


def notify_until(arrived: Callable[[], Any], running: Stack, user: User) -> None:
    """Notify repeatedly, because it is unknown when the client has connected."""
    for _attempt in range(100):
        running.notify(user, number=7)
        if arrived():
            return
        time.sleep(0.2)
    pytest.fail("no notification arrived")


def test_the_documented_program_receives_notifications(running: Stack) -> None:
    user = running.user("program")
    url = f"ws://127.0.0.1:{running.ports[0]}{NOTIFICATIONS}"
    # The header that a proxy that terminates TLS adds.
    program_of_the_docs = snippet("python", "from websockets").replace(
        "additional_headers={", 'additional_headers={"X-Forwarded-Proto": "https", '
    )
    code = f"{program_of_the_docs}\nlisten({url!r}, {user.token!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
        output = program.stdout
        assert output
        notify_until(lambda: select.select([output], [], [], 0)[0], running, user)
        assert json.loads(output.readline()) == {"number": 7}
        program.terminate()


@pytest.fixture
def proxy(running: Stack, tmp_path: Path) -> Iterator[int]:
    with nginx(tmp_path, running.ports) as port:
        yield port


def test_the_documented_nginx_site_forwards_websockets(
    running: Stack, proxy: int, tmp_path: Path
) -> None:
    user = running.user("nginx")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    for headers, origin in (
        ({"Authorization": f"Bearer {user.token}"}, None),
        ({"Cookie": user.cookie}, f"https://{HOST}"),
    ):
        # Two connections, so that both processes are used.
        for _number in range(2):
            with open_socket(
                f"wss://{HOST}{ECHO}", proxy, headers, origin=origin, ssl=trusted
            ) as connection:
                connection.send("hello")
                assert connection.recv(timeout=20) == "hello"
    log = (tmp_path / "nginx-access.log").read_text() + running.log()
    assert log.count(f"GET {ECHO}") >= 4
    assert user.token not in log


@pytest.mark.parametrize("header", ["Authorization: Bearer {0.token}", "Cookie: {0.cookie}"])
def test_wscat_needs_no_origin(running: Stack, header: str) -> None:
    """wscat sends no Origin."""
    user = running.user("wscat")
    before = running.log().count("Traceback")
    command = [needs("wscat"), "--connect", f"ws://127.0.0.1:{running.ports[0]}{ECHO}"]
    command += ["--header", "X-Forwarded-Proto: https", "--header", header.format(user)]
    command += ["--execute", "hello"]
    # It exits at the end of its input, which stays open, or a second after its message.
    with subprocess.Popen(
        [*command, "--wait", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as wscat:
        assert wscat.stdout
        assert wscat.stdout.read() == "hello\n"
        assert wscat.wait(20) == 0
    # It closes without a code, as browsers do.
    wait_for_log(running, f'"user": {user.id}, "code": 1005')
    assert running.log().count("Traceback") == before


@pytest.fixture
def page(proxy: int, tmp_path: Path) -> Iterator[Page]:
    """A browser that resolves every name of example.com to our nginx."""
    names = f"--host-resolver-rules=MAP *.example.com:443 127.0.0.1:{proxy}, MAP * ~NOTFOUND"
    with browser(needs("chromium"), tmp_path, names, "--ignore-certificate-errors") as page:
        yield page


# Send a message to the echo, and return the response or the close code.
ASK = """
new Promise(done => {
    const socket = new WebSocket(%s, %s)
    socket.onopen = () => socket.send("hello")
    socket.onmessage = message => done([socket.protocol, message.data])
    socket.onclose = close => done(close.code)
})
"""


def ask(page: Page, *subprotocols: str) -> Any:
    return page.run(ASK % (json.dumps(f"wss://{HOST}{ECHO}"), json.dumps(subprotocols)))


def test_a_browser_connects_by_token_or_cookie(running: Stack, page: Page) -> None:
    user = running.user("browser")
    page.open("https://app.example.com/")
    assert ask(page, SUBPROTOCOL, user.token) == [SUBPROTOCOL, "hello"]
    assert ask(page, SUBPROTOCOL, "junk") == 4401
    assert ask(page) == 4401

    page.open(f"https://{HOST}/admin/login/")
    for field, value in {"username": "browser@example.com", "password": PASSWORD}.items():
        page.run(f"document.querySelector('[name={field}]').value = {json.dumps(value)}")
    page.run("document.querySelector('form').submit()")
    page.wait_for("document.querySelector('#logout-form') !== null")
    assert ask(page) == ["", "hello"]

    # The same site, so the browser sends the cookie, but with another origin.
    page.open("https://evil.example.com/")
    assert ask(page) == 1006, "the code of a refused handshake in JavaScript"


def test_the_documented_page_receives_notifications(running: Stack, page: Page) -> None:
    user = running.user("page")
    page.open("https://app.example.com/")
    page.run(snippet("javascript", "function listen"))
    page.run("window.events = []; window.ends = 0")
    url, token = json.dumps(f"wss://{HOST}{NOTIFICATIONS}"), json.dumps(user.token)
    page.run(f"listen({url}, {token}, event => events.push(event), () => ends++)")
    notify_until(lambda: page.run("events.length"), running, user)
    assert page.run("events[0]") == {"number": 7}
    log_out(running, user.token)
    page.run(f"listen({url}, {token}, event => events.push(event), () => ends++)")
    page.wait_for("ends === 1")
