"""Takeovers of an account with a stolen token, an open browser or a mistyped address."""

import re
import statistics
import time
from itertools import count
from typing import Any

import pytest
from support.live import Server
from support.walk import Api

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "correct horse battery"  # noqa: S105
_numbers = count(1)


class Account:
    """A confirmed account of a running service, and a client that is logged in to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.email = f"{server.name}{next(_numbers)}@takeover.example"
        self.pk: int = server.service.shell(
            "from apps.user.tests.factories import make_user\n"
            f"result = make_user(email={self.email!r}).pk"
        )
        self.api = self.logged_in()

    @property
    def path(self) -> str:
        return f"users/{self.pk}/"

    def logged_in(self, password: str = PASSWORD) -> Api:
        api = self.server.api()
        credentials = {"email": self.email, "password": password}
        api.token = api("POST", "auth/login/", credentials).body["token"]
        return api

    def update(self, **fields: Any) -> None:
        self.server.service.shell(
            "from apps.user.models import User\n"
            f"result = User.objects.filter(pk={self.pk}).update(**{fields!r})"
        )

    def ask_for(self, email: str, **body: str) -> Any:
        return self.api("PATCH", self.path, {"email": email} | body)


def token_in(server: Server, to: str, number: int = 1) -> str:
    text = server.service.mailboxes.read(to, number)
    match = re.search(r"#token=([\w:-]+)", text)
    assert match, text
    return match[1]


def test_a_stolen_token_does_not_change_the_address(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/riparias/gbif-alert/issues/445
    for server in (live_server, sqlite_server):
        account = Account(server)
        for extra, code in (
            ({}, "current_password_required"),
            ({"current_password": "a guess"}, "wrong_password"),
        ):
            answer = account.ask_for(f"thief@{server.name}.example", **extra)
            assert (answer.status, answer.body["code"]) == (400, code)
        assert account.ask_for(account.email.upper()).status == 200
        assert account.api("GET", account.path).body["pending_email"] is None


def test_the_old_address_can_cancel_a_change(live_server: Server, sqlite_server: Server) -> None:
    # https://github.com/flarum/framework/issues/723
    for server in (live_server, sqlite_server):
        account, new = Account(server), f"new{next(_numbers)}@takeover.example"
        assert account.ask_for(new, current_password=PASSWORD).status == 200
        api = server.api()
        confirm = {"token": token_in(server, new)}
        cancel = {"token": token_in(server, account.email)}
        assert api("POST", "auth/cancel_new_email/", cancel).status == 200
        assert api("POST", "auth/confirm_new_email/", confirm).status == 400
        assert account.api("GET", "users/me/").status == 401


def test_confirming_a_mistyped_address_does_not_log_in(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/CWE-CAPEC/CWE-Content-Development-Repository/issues/11
    for server in (live_server, sqlite_server):
        account, new = Account(server), f"new{next(_numbers)}@takeover.example"
        account.ask_for(new, current_password=PASSWORD)
        confirm = {"token": token_in(server, new)}
        answer = server.api()("POST", "auth/confirm_new_email/", confirm)
        assert (answer.status, list(answer.body)) == (200, ["message"])
        assert account.api("GET", "users/me/").status == 401
        server.service.mailboxes.read(account.email, 2)  # the change was asked for, and took effect


def test_a_lifted_ban_revives_no_token(live_server: Server, sqlite_server: Server) -> None:
    # https://github.com/pallets-eco/flask-security/issues/117
    for server in (live_server, sqlite_server):
        account = Account(server)
        server.api()("POST", "auth/forgot_password/", {"email": account.email})
        reset = {"token": token_in(server, account.email), "password": "another horse"}
        account.update(is_active=False)
        account.update(is_active=True)
        assert account.api("GET", "users/me/").status == 401
        assert server.api()("POST", "auth/reset_password/", reset).status == 400
        assert account.logged_in().token


def test_administrators_cannot_delete_their_own_account(
    live_server: Server, sqlite_server: Server
) -> None:
    # https://github.com/ufal/clarin-dspace/issues/1309
    for server in (live_server, sqlite_server):
        account = Account(server)
        account.update(is_staff=True, is_superuser=True)
        answer = account.api("DELETE", account.path)
        assert (answer.status, answer.body["code"]) == (409, "staff_account")
        account.update(is_staff=False, is_superuser=False)
        assert account.api("DELETE", account.path).status == 204
        assert server.service.mailboxes.read(account.email)


def test_an_older_hasher_does_not_reveal_accounts(sqlite_server: Server) -> None:
    # https://github.com/django/django/pull/21041
    account = Account(sqlite_server)
    sqlite_server.service.shell(
        "from django.contrib.auth.hashers import make_password\n"
        "from apps.user.models import User\n"
        f"password = make_password({PASSWORD!r}, hasher='pbkdf2_sha256')\n"
        f"result = User.objects.filter(pk={account.pk}).update(password=password)"
    )
    try:
        times: dict[str, list[float]] = {account.email: [], "nobody@takeover.example": []}
        for _round in range(5):
            for email, taken in times.items():
                body = {"email": email, "password": "wrong"}
                start = time.perf_counter()
                assert sqlite_server.api()("POST", "auth/login/", body).status == 401
                taken.append(time.perf_counter() - start)
        older, unknown = map(statistics.median, times.values())
        # One run of PBKDF2 is more than ten of Argon2.
        assert 0.5 < older / unknown < 2, times
    finally:
        account.update(password="!")  # noqa: S106
