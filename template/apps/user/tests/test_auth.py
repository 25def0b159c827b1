"""The contract of ``/api/v1/auth/``, call by call."""

import re
from collections.abc import Callable, Sequence

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import URLPattern
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.user import pages, services
from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_user, registration, token_in

Delivered = Callable[[], Sequence[EmailMessage]]
AUTH = "/api/v1/auth"
SECONDS_A_DAY = 86_400

pytestmark = pytest.mark.django_db


def test_login(api: APIClient, user: User) -> None:
    response = api.post(f"{AUTH}/login/", {"email": user.email.upper(), "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"user", "token", "expired_at"}
    assert response.json()["user"]["id"] == user.pk
    assert SECONDS_A_DAY - 5 <= response.json()["expired_at"] <= SECONDS_A_DAY
    assert "no-store" in response.headers["Cache-Control"]
    user.refresh_from_db()
    assert user.last_login


def test_register_then_confirm(api: APIClient, delivered: Delivered, settings: Settings) -> None:
    settings.REGISTER_RETURNS_CONFIRM_TOKEN = True
    response = api.post(f"{AUTH}/register/", registration(email="Bia@Example.com"))
    assert response.status_code == 201
    body = response.json()
    assert body["user"] | {"email": "bia@example.com", "phone": "+5511961234567"} == body["user"]
    assert body["expired_at"] == SECONDS_A_DAY
    assert "no-store" in response.headers["Cache-Control"]

    [email] = delivered()
    assert email.to == ["bia@example.com"]
    confirmed = api.post(f"{AUTH}/confirm_email/", {"token": body["token"]})
    assert confirmed.status_code == 200
    assert set(confirmed.json()) == {"user", "token", "expired_at"}
    assert User.objects.get().email_confirmed_at

    api.credentials(HTTP_AUTHORIZATION=f"Bearer {confirmed.json()['token']}")
    assert api.get("/api/v1/users/me/").status_code == 200


def test_the_token_in_the_email_confirms_the_address(api: APIClient, delivered: Delivered) -> None:
    api.post(f"{AUTH}/register/", registration())
    [email] = delivered()
    assert api.post(f"{AUTH}/confirm_email/", {"token": token_in(email)}).status_code == 200


@pytest.mark.parametrize("optional", ["phone", "gender", "date_of_birth"])
def test_registration_accepts_a_missing_optional_field(api: APIClient, optional: str) -> None:
    body = registration()
    del body[optional]
    assert api.post(f"{AUTH}/register/", body).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "not an address"),
        ("email", "a\x00b@example.com"),
        ("email", "a" * 250 + "@example.com"),
        ("first_name", ""),
        ("first_name", "x" * 151),
        ("last_name", None),
        ("password", "short"),
        ("password", "password123"),
        ("password", "bia@example.com"),
        ("password", "x" * 129),
        ("phone", "12345"),
        ("phone", "+55 11 1"),
        ("gender", "robot"),
        ("date_of_birth", "2999-01-01"),
        ("date_of_birth", "28/02/1990"),
        ("date_of_birth", "1990-02-30"),
    ],
)
def test_registration_rejects_invalid_fields(api: APIClient, field: str, value: str | None) -> None:
    response = api.post(f"{AUTH}/register/", registration(**{field: value}))
    assert response.status_code == 400
    assert list(response.json()) == [field]
    assert not User.objects.exists()


def test_a_forgotten_password_can_be_reset(
    api: APIClient, user: User, delivered: Delivered
) -> None:
    response = api.post(f"{AUTH}/forgot_password/", {"email": user.email})
    assert response.status_code == 200
    assert set(response.json()) == {"message"}

    token = token_in(delivered()[0])
    reset = api.post(f"{AUTH}/reset_password/", {"token": token, "password": "another horse"})
    assert reset.status_code == 200
    assert set(reset.json()) == {"user", "token", "expired_at"}
    user.refresh_from_db()
    assert user.check_password("another horse")
    assert delivered()[1].to == [user.email]


def test_a_reset_confirms_the_address(api: APIClient, settings: Settings) -> None:
    """The link came to that mailbox."""
    settings.REQUIRE_CONFIRMED_EMAIL = True
    user = make_user(email_confirmed_at=None)
    issued = services.forgot_password(email=user.email)
    assert issued
    body = {"token": issued.token, "password": "another horse"}
    assert api.post(f"{AUTH}/reset_password/", body).status_code == 200
    credentials = {"email": user.email, "password": "another horse"}
    assert api.post(f"{AUTH}/login/", credentials).status_code == 200


def test_the_service_behind_forgot_password_returns_the_token(api: APIClient, user: User) -> None:
    issued = services.forgot_password(email=user.email)
    assert issued
    assert issued.expired_at == 3600
    body = {"token": issued.token, "password": "another horse"}
    assert api.post(f"{AUTH}/reset_password/", body).status_code == 200


def test_change_password(user_api: APIClient, user: User, delivered: Delivered) -> None:
    body = {"current_password": PASSWORD, "password": "another horse"}
    response = user_api.post(f"{AUTH}/change_password/", body)
    assert response.status_code == 200
    assert user_api.get("/api/v1/users/me/").status_code == 401
    user_api.credentials(HTTP_AUTHORIZATION=f"Bearer {response.json()['token']}")
    assert user_api.get("/api/v1/users/me/").status_code == 200
    assert len(delivered()) == 1


def test_change_password_requires_the_current_password(user_api: APIClient, user: User) -> None:
    body = {"current_password": "wrong", "password": "another horse"}
    response = user_api.post(f"{AUTH}/change_password/", body)
    assert response.status_code == 400
    assert response.json()["code"] == "wrong_password"
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_resend_confirmation(api: APIClient, delivered: Delivered) -> None:
    user = make_user(email_confirmed_at=None)
    response = api.post(f"{AUTH}/resend_confirmation/", {"email": user.email})
    assert response.status_code == 200
    token = token_in(delivered()[0])
    assert api.post(f"{AUTH}/confirm_email/", {"token": token}).status_code == 200


def test_login_needs_a_confirmed_address(api: APIClient, settings: Settings) -> None:
    settings.REQUIRE_CONFIRMED_EMAIL = True
    user = make_user(email_confirmed_at=None)
    credentials = {"email": user.email, "password": PASSWORD}
    refused = api.post(f"{AUTH}/login/", credentials)
    assert (refused.status_code, refused.json()["code"]) == (403, "email_not_confirmed")
    wrong = api.post(f"{AUTH}/login/", credentials | {"password": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_credentials")
    settings.REQUIRE_CONFIRMED_EMAIL = False
    assert api.post(f"{AUTH}/login/", credentials).status_code == 200


@pytest.mark.parametrize(
    ("language", "message"),
    [("pt-BR", "Email enviado com sucesso"), ("en", "Email sent successfully")],
)
def test_forgot_password_uses_the_clients_language(
    api: APIClient, user: User, delivered: Delivered, language: str, message: str
) -> None:
    headers = {"Accept-Language": language}
    response = api.post(f"{AUTH}/forgot_password/", {"email": user.email}, headers=headers)
    assert response.json() == {"message": message}
    subjects = {"pt-BR": "senha", "en": "password"}
    assert subjects[language] in delivered()[0].subject


@pytest.mark.parametrize("page", pages.urlpatterns, ids=lambda page: page.name)
def test_each_page_posts_to_an_endpoint_of_its_own(client: Client, page: URLPattern) -> None:
    path = f"/{page.pattern}"
    match = re.search(r'action="([^"]+)"', client.get(path).content.decode())
    assert match
    assert match[1] == f"/api/v1/auth{path}"
    assert client.post(match[1], {}, content_type="application/json").status_code == 400


def test_the_reset_page_masks_the_password_and_allows_password_managers(client: Client) -> None:
    page = client.get("/reset_password/").content.decode()
    field = re.search(r'<input[^>]* name="password"[^>]*>', page)
    assert field
    assert 'type="password"' in field[0]
    assert 'autocomplete="new-password"' in field[0]
