"""Credentials of a handshake. The ids are those of OWASP ASVS 5.0."""

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from django.conf import settings as django_settings
from django.test import Client
from pytest_django import Settings

from apps.api.notifications import group_of
from apps.api.websocket.tests.client import NOTIFICATIONS, Socket, connected
from apps.user import services
from apps.user.models import User
from apps.user.tests.factories import make_token, make_user
from apps.user.tokens import confirm_email_token

pytestmark = pytest.mark.django_db

OWN = "http://localhost:8000"
# An origin that may call the API in development.
ALLOWED = "http://localhost:5173"
OTHER_ORIGINS = [
    "https://evil.example",
    "http://evil.localhost:8000",
    "https://localhost:8000",
    "null",
]


@pytest.fixture
def session(user: User) -> str:
    """The key of a session of ``user``."""
    client = Client()
    client.force_login(user)
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


def token_of(user: User, **claims: Any) -> str:
    """Return a JWT of ``user`` with other claims, signed by this service."""
    payload = jwt.decode(make_token(user), options={"verify_signature": False})
    return jwt.encode(payload | claims, django_settings.SECRET_KEY, algorithm="HS256")


def forged(user: User) -> str:
    payload = jwt.decode(make_token(user), options={"verify_signature": False})
    return jwt.encode(payload, "another key " * 5, algorithm="HS256")


def of_an_inactive_user(user: User) -> str:
    token = make_token(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    return token


def of_a_deleted_user(_user: User) -> str:
    other = make_user()
    token = make_token(other)
    other.delete()
    return token


def of_an_ended_session(user: User) -> str:
    token = make_token(user)
    services.end_session(user, user.sessions.get().pk)
    return token


INVALID_TOKENS: list[Callable[[User], str]] = [
    forged,
    of_an_inactive_user,
    of_a_deleted_user,
    of_an_ended_session,
    lambda _user: "junk",
    lambda user: token_of(user, exp=1),
    lambda user: token_of(user, token_type="refresh"),
    lambda user: confirm_email_token.issue(user).token,
]


async def receives_notifications_of(user: User, socket: Socket) -> bool:
    message = {"type": "notification", "text": "for you"}
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send(group_of(user.pk), message)
    return bool(await socket.receive_text_or_bytes() == "for you")


async def authenticates_as(user: User, **options: Any) -> bool:
    """Return whether the service authenticates this client as ``user``."""
    async with connected(NOTIFICATIONS, **options) as socket:
        return await receives_notifications_of(user, socket)


class TestToken:
    async def test_a_token_in_the_header_authenticates(self, user: User, bearer: str) -> None:
        assert await authenticates_as(user, authorization=bearer)

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
    async def test_the_scheme_of_the_header_is_case_insensitive(
        self, user: User, bearer: str, scheme: str
    ) -> None:
        """RFC 9110, 11.1"""
        assert await authenticates_as(user, authorization=bearer.replace("Bearer", scheme))

    async def test_a_token_of_a_clock_that_is_ahead_authenticates(self, user: User) -> None:
        token = await database_sync_to_async(token_of)(user, iat=int(time.time()) + 3)
        assert await authenticates_as(user, authorization=f"Bearer {token}")

    async def test_a_token_in_a_subprotocol_authenticates(self, user: User, bearer: str) -> None:
        offered = ["jwt", bearer.removeprefix("Bearer ")]
        async with connected(NOTIFICATIONS, subprotocols=offered) as socket:
            assert await receives_notifications_of(user, socket)
            assert socket.subprotocol == "jwt"

    @pytest.mark.parametrize("origin", [ALLOWED, *OTHER_ORIGINS])
    async def test_a_token_is_accepted_from_any_origin(
        self, user: User, bearer: str, origin: str
    ) -> None:
        """Browsers do not add a token by themselves."""
        assert await authenticates_as(user, authorization=bearer, origin=origin)

    async def test_a_token_takes_precedence_over_the_session(self, session: str) -> None:
        other = await database_sync_to_async(make_user)()
        header = f"Bearer {await database_sync_to_async(make_token)(other)}"
        assert await authenticates_as(other, authorization=header, session=session, origin=OWN)

    @pytest.mark.parametrize("invalid_token", INVALID_TOKENS)
    async def test_an_invalid_token_never_falls_back_to_the_session(
        self, user: User, session: str, invalid_token: Callable[[User], str]
    ) -> None:
        """7.4.1, 7.4.2, 9.1.1 to 9.2.2: neither anonymous nor the user of the session."""
        token = await database_sync_to_async(invalid_token)(user)
        ways: list[dict[str, Any]] = [
            {"authorization": f"Bearer {token}"},
            {"subprotocols": ["jwt", token]},
        ]
        for way in ways:
            for beside in ({}, {"session": session, "origin": OWN}):
                socket = await Socket(**(way | beside)).open()
                assert socket.subprotocol == ("jwt" if "subprotocols" in way else None)
                assert await socket.close_code() == 4401

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer a b", "Basic eA==", "Token x"])
    async def test_any_other_authorization_header_is_rejected(
        self, session: str, header: str
    ) -> None:
        socket = await Socket(authorization=header, session=session, origin=OWN).open()
        assert await socket.close_code() == 4401

    async def test_two_authorization_headers_are_rejected(self, bearer: str) -> None:
        assert await (await Socket(authorization=[bearer, bearer]).open()).close_code() == 4401

    async def test_other_combinations_of_subprotocols_are_rejected(self, bearer: str) -> None:
        token = bearer.removeprefix("Bearer ")
        for offered in (["jwt"], ["jwt", token, "x"], ["x", "jwt", token], [token, "jwt"]):
            assert await (await Socket(subprotocols=offered).open()).close_code() == 4401


class TestSession:
    """4.4.2: browsers send the cookie for any page, so the origin must be allowed."""

    @pytest.mark.parametrize("origin", [OWN, ALLOWED])
    async def test_a_session_is_accepted_from_an_allowed_origin(
        self, user: User, session: str, origin: str
    ) -> None:
        assert await authenticates_as(user, session=session, origin=origin)

    async def test_a_session_is_accepted_without_an_origin(self, user: User, session: str) -> None:
        assert await authenticates_as(user, session=session)

    @pytest.mark.parametrize("origin", [*OTHER_ORIGINS, "", "http://[", "\xff"])
    async def test_a_session_is_refused_from_another_origin(
        self, session: str, origin: str
    ) -> None:
        assert await Socket(session=session, origin=origin).is_denied()

    @pytest.mark.parametrize("cookie", ['"\\000aaaaaaaa"', "\0aaaaaaaa"], ids=["quoted", "raw"])
    async def test_a_session_cookie_with_a_nul_is_refused(self, cookie: str) -> None:
        assert await Socket(session=cookie).is_denied()

    @pytest.mark.parametrize(
        "cookie", ['"\\377aaaaaaaa"', "\xffaaaaaaaa", "x" * 5000], ids=["quoted", "raw", "long"]
    )
    async def test_a_session_cookie_with_odd_characters_is_ignored(self, cookie: str) -> None:
        async with connected(session=cookie) as socket:
            assert await socket.echoes()

    async def test_a_session_is_accepted_from_a_listed_origin(
        self, user: User, session: str, settings: Settings
    ) -> None:
        settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
        settings.CORS_ALLOWED_ORIGIN_REGEXES = []
        assert await authenticates_as(user, session=session, origin=OWN)
        assert await Socket(session=session, origin=ALLOWED).is_denied()
        assert await authenticates_as(user, session=session, origin="https://app.example.com")
        assert await Socket(session=session, origin="https://app.example.com:8443").is_denied()

    async def test_a_session_authenticates_its_own_user(self) -> None:
        await database_sync_to_async(make_user)()
        other = await database_sync_to_async(make_user)()
        client = Client()
        await database_sync_to_async(client.force_login)(other)
        key = client.cookies[django_settings.SESSION_COOKIE_NAME].value
        assert await authenticates_as(other, session=key)

    async def test_the_origin_is_compared_with_https_behind_a_proxy(
        self, user: User, session: str, settings: Settings
    ) -> None:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_HOST", "localhost:8000")
        assert await authenticates_as(user, session=session, origin="https://localhost:8000")
        assert await Socket(session=session, origin="http://evil.example").is_denied()

    async def test_an_unknown_session_is_anonymous(self) -> None:
        async with connected(session="unknown", origin=OWN) as socket:
            assert await socket.echoes()
        anonymous = await Socket(NOTIFICATIONS, session="unknown", origin=OWN).open()
        assert await anonymous.close_code() == 4401


class TestAnonymous:
    async def test_an_anonymous_client_needs_no_origin(self) -> None:
        async with connected() as socket:
            assert await socket.echoes()

    @pytest.mark.parametrize("origin", OTHER_ORIGINS)
    async def test_an_anonymous_client_is_refused_from_another_origin(self, origin: str) -> None:
        assert await Socket(origin=origin).is_denied()


class TestEncryption:
    """4.4.1: production refuses ``ws://``, as it redirects HTTP."""

    @pytest.fixture(autouse=True)
    def production(self, settings: Settings) -> None:
        settings.SECURE_SSL_REDIRECT = True
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    @pytest.mark.parametrize("proto", [None, "http", "ws", "wss, http"])
    async def test_an_unencrypted_connection_is_refused(
        self, bearer: str, proto: str | None
    ) -> None:
        assert await Socket(authorization=bearer, forwarded_proto=proto).is_denied()

    @pytest.mark.parametrize("proto", ["https", "wss"])
    async def test_an_encrypted_connection_is_accepted(
        self, user: User, session: str, proto: str
    ) -> None:
        own = "https://localhost:8000"
        assert await authenticates_as(user, session=session, origin=own, forwarded_proto=proto)

    async def test_a_server_that_terminates_tls_needs_no_header(
        self, bearer: str, settings: Settings
    ) -> None:
        settings.SECURE_PROXY_SSL_HEADER = None
        socket = Socket(authorization=bearer)
        socket.scope["scheme"] = "wss"
        await socket.open()
        assert await socket.echoes()
        await socket.disconnect()


async def test_the_path_follows_the_configured_script_name(settings: Settings) -> None:
    settings.FORCE_SCRIPT_NAME = "/svc"
    async with connected("/svc/ws/echo/") as socket:
        assert await socket.echoes()


async def test_the_root_path_of_a_client_is_ignored() -> None:
    socket = Socket()
    socket.scope["root_path"] = "/ws"
    await socket.open()
    assert await socket.echoes()
    await socket.disconnect()


async def test_an_odd_query_string_is_ignored() -> None:
    socket = Socket()
    socket.scope["query_string"] = b"\xff"
    await socket.open()
    assert await socket.echoes()
    await socket.disconnect()


async def test_an_odd_content_type_is_ignored() -> None:
    async with connected(content_type="text/plain; charset=\0") as socket:
        assert await socket.echoes()


async def test_an_unknown_host_is_refused(bearer: str) -> None:
    assert await Socket(host="evil.example", authorization=bearer).is_denied()
