"""Who may open a WebSocket. The ids are those of OWASP ASVS 5.0."""

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
from apps.user.tests.factories import make_user
from apps.user.tokens import confirm_email_token, issue_jwt

pytestmark = pytest.mark.django_db

OWN = "http://localhost:8000"
# An origin that may call the API in development.
FRONT_END = "http://localhost:5173"
STRANGERS = ["https://evil.example", "http://evil.localhost:8000", "https://localhost:8000", "null"]


@pytest.fixture
def session(user: User) -> str:
    """The session that the admin's login gives to ``user``."""
    client = Client()
    client.force_login(user)
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


def token_of(user: User, **claims: Any) -> str:
    """Return a JWT of ``user`` that differs in the claims given, signed by this service."""
    payload = jwt.decode(issue_jwt(user).token, options={"verify_signature": False})
    return jwt.encode(payload | claims, django_settings.SECRET_KEY, algorithm="HS256")


def forged(user: User) -> str:
    payload = jwt.decode(issue_jwt(user).token, options={"verify_signature": False})
    return jwt.encode(payload, "another key " * 5, algorithm="HS256")


def of_an_inactive_user(user: User) -> str:
    token = issue_jwt(user).token
    User.objects.filter(pk=user.pk).update(is_active=False)
    return token


def of_a_deleted_user(_user: User) -> str:
    other = make_user()
    token = issue_jwt(other).token
    other.delete()
    return token


def of_an_ended_session(user: User) -> str:
    token = issue_jwt(user).token
    services.logout(user)
    return token


BAD_TOKENS: list[Callable[[User], str]] = [
    forged,
    of_an_inactive_user,
    of_a_deleted_user,
    of_an_ended_session,
    lambda _user: "junk",
    lambda user: token_of(user, exp=1),
    lambda user: token_of(user, token_type="refresh"),
    lambda user: confirm_email_token.issue(user).token,
]


async def hears_what_is_for(user: User, socket: Socket) -> bool:
    message = {"type": "notification", "text": "for you"}
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send(group_of(user.pk), message)
    return bool(await socket.hears() == "for you")


async def is_for(user: User, **options: Any) -> bool:
    """Say whether the service takes this client for ``user``."""
    async with connected(NOTIFICATIONS, **options) as socket:
        return await hears_what_is_for(user, socket)


class TestToken:
    async def test_in_the_header(self, user: User, bearer: str) -> None:
        assert await is_for(user, authorization=bearer)

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
    async def test_scheme_in_any_case(self, user: User, bearer: str, scheme: str) -> None:
        """RFC 9110, 11.1"""
        assert await is_for(user, authorization=bearer.replace("Bearer", scheme))

    async def test_of_a_clock_that_is_ahead(self, user: User) -> None:
        token = await database_sync_to_async(token_of)(user, iat=int(time.time()) + 3)
        assert await is_for(user, authorization=f"Bearer {token}")

    async def test_in_a_subprotocol(self, user: User, bearer: str) -> None:
        offered = ["jwt", bearer.removeprefix("Bearer ")]
        async with connected(NOTIFICATIONS, subprotocols=offered) as socket:
            assert await hears_what_is_for(user, socket)
            assert socket.subprotocol == "jwt"

    @pytest.mark.parametrize("origin", [FRONT_END, *STRANGERS])
    async def test_needs_no_origin(self, user: User, bearer: str, origin: str) -> None:
        """A page must have been given it: no browser adds it by itself."""
        assert await is_for(user, authorization=bearer, origin=origin)

    async def test_comes_before_the_session(self, session: str) -> None:
        other = await database_sync_to_async(make_user)()
        header = f"Bearer {issue_jwt(other).token}"
        assert await is_for(other, authorization=header, session=session, origin=OWN)

    @pytest.mark.parametrize("make_token", BAD_TOKENS)
    async def test_a_bad_one_is_nobody(
        self, user: User, session: str, make_token: Callable[[User], str]
    ) -> None:
        """7.4.1, 7.4.2, 9.1.1 to 9.2.2: neither a visitor nor the session beside it."""
        token = await database_sync_to_async(make_token)(user)
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
    async def test_another_header_is_a_mistake(self, session: str, header: str) -> None:
        socket = await Socket(authorization=header, session=session, origin=OWN).open()
        assert await socket.close_code() == 4401

    async def test_two_headers_are_a_mistake(self, bearer: str) -> None:
        assert await (await Socket(authorization=[bearer, bearer]).open()).close_code() == 4401

    async def test_other_subprotocols_are_a_mistake(self, bearer: str) -> None:
        token = bearer.removeprefix("Bearer ")
        for offered in (["jwt"], ["jwt", token, "x"], ["x", "jwt", token], [token, "jwt"]):
            assert await (await Socket(subprotocols=offered).open()).close_code() == 4401


class TestSession:
    """4.4.2: browsers send the cookie for any page, so the page must be one of ours."""

    @pytest.mark.parametrize("origin", [OWN, FRONT_END])
    async def test_of_our_page(self, user: User, session: str, origin: str) -> None:
        assert await is_for(user, session=session, origin=origin)

    async def test_of_a_program_that_sends_no_origin(self, user: User, session: str) -> None:
        assert await is_for(user, session=session)

    @pytest.mark.parametrize("origin", [*STRANGERS, "", "http://[", "\xff"])
    async def test_of_another_page(self, session: str, origin: str) -> None:
        assert await Socket(session=session, origin=origin).is_denied()

    @pytest.mark.parametrize("cookie", ['"\\000aaaaaaaa"', "\0aaaaaaaa"])
    async def test_with_a_nul_is_denied(self, cookie: str) -> None:
        assert await Socket(session=cookie).is_denied()

    @pytest.mark.parametrize("cookie", ['"\\377aaaaaaaa"', "\xffaaaaaaaa", "x" * 5000])
    async def test_with_odd_characters_is_a_visitors(self, cookie: str) -> None:
        async with connected(session=cookie) as socket:
            assert await socket.echoes()

    async def test_behind_a_proxy_that_speaks_https(
        self, user: User, session: str, settings: Settings
    ) -> None:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_HOST", "localhost:8000")
        assert await is_for(user, session=session, origin="https://localhost:8000")
        assert await Socket(session=session, origin="http://evil.example").is_denied()

    async def test_without_a_user_is_a_visitor(self) -> None:
        async with connected(session="unknown", origin=OWN) as socket:
            assert await socket.echoes()
        nobody = await Socket(NOTIFICATIONS, session="unknown", origin=OWN).open()
        assert await nobody.close_code() == 4401


class TestVisitor:
    async def test_without_an_origin_is_a_program(self) -> None:
        async with connected() as socket:
            assert await socket.echoes()

    @pytest.mark.parametrize("origin", STRANGERS)
    async def test_of_another_page(self, origin: str) -> None:
        assert await Socket(origin=origin).is_denied()


class TestPlainText:
    """4.4.1: in production, ``ws://`` is refused as HTTP is redirected."""

    @pytest.fixture(autouse=True)
    def production(self, settings: Settings) -> None:
        settings.SECURE_SSL_REDIRECT = True
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    @pytest.mark.parametrize("proto", [None, "http", "ws", "wss, http"])
    async def test_is_denied(self, bearer: str, proto: str | None) -> None:
        assert await Socket(authorization=bearer, forwarded_proto=proto).is_denied()

    @pytest.mark.parametrize("proto", ["https", "wss"])
    async def test_encrypted_is_open(self, user: User, session: str, proto: str) -> None:
        own = "https://localhost:8000"
        assert await is_for(user, session=session, origin=own, forwarded_proto=proto)

    async def test_a_server_that_ends_tls_itself_needs_no_header(
        self, bearer: str, settings: Settings
    ) -> None:
        settings.SECURE_PROXY_SSL_HEADER = None
        socket = Socket(authorization=bearer)
        socket.scope["scheme"] = "wss"
        await socket.open()
        assert await socket.echoes()
        await socket.disconnect()


async def test_a_host_that_is_not_ours_is_denied(bearer: str) -> None:
    assert await Socket(host="evil.example", authorization=bearer).is_denied()
