"""Use an account over HTTP from its registration to its deletion, in any running service."""

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

DAY = 86_400


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Api:
    """A client of one service, with one token at a time."""

    def __init__(
        self, url: str, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.url = url
        self.token = ""
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._tls = tls

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=self._headers | self._authorization() | (headers or {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._tls) as response:
                return self._answer(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return self._answer(error.code, error)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @staticmethod
    def _answer(status: int, response: Any) -> Answer:
        text = response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status, json.loads(text) if text else None, headers)


def walk(api: Api, read_mail: Callable[[str], str], url_base: str) -> None:
    """Make every call of the contract. ``read_mail(to)`` returns the text of the next e-mail."""
    password, newer, newest = "  correct horse battery ", "another horse", "a third horse"

    def token_of(text: str, page: str) -> str:
        match = re.search(rf"{re.escape(url_base)}/{page}/#token=([\w:-]+)", text)
        assert match, text
        return match[1]

    assert api("GET", "health/").body == {"status": "ok"}
    assert api("GET", "health/ready/").body["checks"]["database"] == "ok"

    registration = {
        "email": "Ana@Example.com",
        "first_name": "Ana",
        "last_name": "Souza",
        "password": password,
        "phone": "+55 11 96123-4567",
        "gender": "female",
        "date_of_birth": "1990-02-28",
    }
    registered = api("POST", "auth/register/", registration)
    assert registered.status == 201, registered
    assert set(registered.body) == {"user", "token", "expired_at"}
    assert registered.body["expired_at"] == DAY
    credentials = {"email": "ana@example.com", "password": password}
    assert api("POST", "auth/login/", credentials).status == 403

    token = token_of(read_mail("ana@example.com"), "confirm_email")
    confirmed = api("POST", "auth/confirm_email/", {"token": token})
    assert confirmed.status == 200, confirmed
    assert api("POST", "auth/confirm_email/", {"token": token}).status == 400

    login = api("POST", "auth/login/", credentials)
    assert (login.status, login.headers["cache-control"].count("no-store")) == (200, 1)
    assert DAY - 60 < login.body["expired_at"] <= DAY
    assert api("GET", "users/me/").status == 401
    api.token = login.body["token"]
    refreshed = api("POST", "auth/refresh/")
    assert refreshed.status == 200, refreshed
    api.token = refreshed.body["token"]
    sessions = api("GET", "auth/sessions/").body
    assert [session["current"] for session in sessions] == [True, False]
    assert api("DELETE", f"auth/sessions/{sessions[1]['id']}/").status == 204
    assert len(api("GET", "auth/sessions/").body) == 1
    me = api("GET", "users/me/")
    assert me.body["token"] == api.token
    user = f"users/{me.body['user']['id']}/"
    assert api("GET", "users/").body == [api("GET", user).body]

    patched = api("PATCH", user, {"first_name": "Bia", "is_staff": True})
    assert patched.body | {"first_name": "Bia", "is_staff": False} == patched.body
    assert api("GET", "users/999999/").status == 404

    change = {"current_password": password, "password": newer}
    changed = api("POST", "auth/change_password/", change)
    assert changed.status == 200, changed
    assert api("GET", "users/me/").status == 401, "the older token is still valid"
    api.token = changed.body["token"]
    assert api("GET", "users/me/").status == 200
    assert "Bia" in read_mail("ana@example.com")

    assert api("POST", "auth/logout/").status == 204
    assert api("GET", "users/me/").status == 401
    api.token = ""

    api.token = api("POST", "auth/login/", credentials | {"password": newer}).body["token"]
    assert api("PATCH", user, {"email": "bia@example.com"}).status == 400
    new_address = {"email": "Bia@Example.com", "current_password": newer}
    assert api("PATCH", user, new_address).body["pending_email"] == "bia@example.com"
    assert token_of(read_mail("ana@example.com"), "cancel_new_email")
    token = token_of(read_mail("bia@example.com"), "confirm_new_email")
    assert api("POST", "auth/confirm_new_email/", {"token": token}).status == 200
    assert api("GET", "users/me/").status == 401
    assert read_mail("ana@example.com")
    api.token = ""
    credentials["email"] = "bia@example.com"

    forgotten = api("POST", "auth/forgot_password/", {"email": "bia@example.com"})
    unknown = api("POST", "auth/forgot_password/", {"email": "nobody@example.com"})
    assert forgotten[:2] == unknown[:2]
    token = token_of(read_mail("bia@example.com"), "reset_password")
    reset = api("POST", "auth/reset_password/", {"token": token, "password": newest})
    assert reset.status == 200, reset
    assert api("POST", "auth/reset_password/", {"token": token, "password": newer}).status == 400
    assert api("POST", "auth/login/", credentials | {"password": newest}).status == 200

    api.token = reset.body["token"]
    assert api("DELETE", user).status == 204
    assert api("GET", "users/me/").status == 401
