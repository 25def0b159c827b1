"""The contract of ``/api/v1/users/``."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.mail import EmailMessage
from django.utils import timezone
from rest_framework.test import APIClient

from apps.user import services
from apps.user.api.serializers import ACCESS, NEVER_SHOWN, PROFILE, READ_ONLY
from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_user, token_in
from apps.user.tokens import issue_jwt

Delivered = Callable[[], Sequence[EmailMessage]]
AUTH = "/api/v1/auth"
USERS = "/api/v1/users/"

pytestmark = pytest.mark.django_db


def test_a_new_database_has_no_account() -> None:
    assert not User.objects.exists()


def test_every_field_of_the_model_is_on_one_list() -> None:
    """A new field must be declared readable, writable or secret."""
    fields = {field.name for field in (*User._meta.fields, *User._meta.many_to_many)}
    listed = [*NEVER_SHOWN, *READ_ONLY, *PROFILE, *ACCESS]
    assert sorted(listed) == sorted(fields)


def test_list_contains_only_the_user(user_api: APIClient, user: User) -> None:
    make_user()
    rows = user_api.get(USERS).json()
    assert [row["id"] for row in rows] == [user.pk]
    assert set(rows[0]) == {*READ_ONLY, *PROFILE, *ACCESS}


def test_me(user_api: APIClient, user: User) -> None:
    response = user_api.get(f"{USERS}me/")
    body = response.json()
    assert set(body) == {"user", "token", "expired_at"}
    assert set(body["user"]) == {*READ_ONLY, *PROFILE}
    assert 86_390 < body["expired_at"] <= 86_400
    assert "no-store" in response.headers["Cache-Control"]


def test_me_returns_the_token_and_its_remaining_seconds(api: APIClient, user: User) -> None:
    session = services.start_session(user, services.Device())
    session.expires_at = timezone.now() + timedelta(minutes=10)
    token = issue_jwt(session).token
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    body = api.get(f"{USERS}me/").json()
    assert body["token"] == token
    assert 590 <= body["expired_at"] <= 600


def test_retrieve_shows_the_groups(user_api: APIClient, user: User) -> None:
    group = Group.objects.create(name="editors")
    user.groups.add(group)
    assert user_api.get(f"{USERS}{user.pk}/").json()["groups"] == [group.pk]


def test_put_and_patch(user_api: APIClient, user: User) -> None:
    put = user_api.put(
        f"{USERS}{user.pk}/",
        {"email": user.email, "first_name": "Eva", "last_name": "Reis", "gender": "other"},
    )
    assert put.status_code == 200
    patch = user_api.patch(f"{USERS}{user.pk}/", {"phone": "+55 (11) 96123-4567"})
    assert patch.json() | {"first_name": "Eva", "phone": "+5511961234567"} == patch.json()
    user.refresh_from_db()
    assert (user.last_name, user.gender) == ("Reis", "other")
    missing = user_api.put(f"{USERS}{user.pk}/", {"first_name": "Eva"})
    assert set(missing.json()) == {"email", "last_name"}


def test_delete(user_api: APIClient, user: User) -> None:
    assert user_api.delete(f"{USERS}{user.pk}/").status_code == 204
    assert not User.objects.exists()
    assert user_api.get(f"{USERS}me/").status_code == 401


def test_post_is_not_allowed(user_api: APIClient) -> None:
    assert user_api.post(USERS, {}).status_code == 405


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_user_is_not_found(user_api: APIClient, method: str) -> None:
    other = make_user(first_name="Other")
    assert getattr(user_api, method)(f"{USERS}{other.pk}/", {}).status_code == 404
    other.refresh_from_db()
    assert other.first_name == "Other"


def test_not_found_does_not_name_the_model(user_api: APIClient) -> None:
    response = user_api.get(f"{USERS}0/", headers={"Accept-Language": "pt-BR"})
    assert response.json() == {"detail": "Não encontrado.", "code": "not_found"}


def test_a_user_deleted_during_a_change_is_not_found(
    user_api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_profile = services.update_profile

    def too_late(user: User, **fields: Any) -> User:
        User.objects.all().delete()
        return update_profile(user, **fields)

    monkeypatch.setattr(services, "update_profile", too_late)
    assert user_api.patch(f"{USERS}{user.pk}/", {"first_name": "Eva"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "change"), [("change_password", "change_password"), ("logout_all", "end_sessions")]
)
def test_a_concurrently_deleted_user_is_not_found(
    user_api: APIClient, monkeypatch: pytest.MonkeyPatch, path: str, change: str
) -> None:
    service: Callable[..., Any] = getattr(services, change)

    def too_late(user: User, **fields: Any) -> Any:
        User.objects.all().delete()
        return service(user, **fields)

    monkeypatch.setattr(services, change, too_late)
    body = {"current_password": PASSWORD, "password": "another one of these"}
    assert user_api.post(f"/api/v1/auth/{path}/", body).status_code == 404


@pytest.mark.parametrize("path", ["", "me/", "1/"])
def test_every_route_needs_a_jwt(api: APIClient, user: User, path: str) -> None:
    anonymous = api.get(USERS + path)
    assert anonymous.status_code == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Bearer")
    api.force_login(user)
    assert api.get(USERS + path).status_code == 401


@pytest.mark.parametrize("identifier", ["0", "99999999999999999999999", "abc", "-1"])
def test_an_invalid_user_id_is_not_found(user_api: APIClient, identifier: str) -> None:
    assert user_api.get(f"{USERS}{identifier}/").status_code == 404


def test_read_only_fields_are_ignored(user_api: APIClient, user: User) -> None:
    before = User.objects.values().get()
    response = user_api.patch(
        f"{USERS}{user.pk}/",
        {
            "id": 999,
            "is_staff": True,
            "is_superuser": True,
            "is_active": False,
            "email_confirmed_at": None,
            "pending_email": "x@example.com",
            "password": "another horse",
            "security_stamp": "00000000-0000-0000-0000-000000000000",
            "date_joined": "2000-01-01T00:00:00Z",
            "last_login": "2000-01-01T00:00:00Z",
            "groups": [1],
            "user_permissions": [1],
        },
    )
    assert response.status_code == 200
    assert User.objects.values().get() == before


def ask_for(user_api: APIClient, user: User, email: str) -> Any:
    body = {"email": email, "current_password": PASSWORD}
    return user_api.patch(f"{USERS}{user.pk}/", body)


def test_a_new_address_waits_for_its_confirmation(
    user_api: APIClient, api: APIClient, user: User, delivered: Delivered
) -> None:
    old = user.email
    body = ask_for(user_api, user, "New@Example.com").json()
    assert body | {"email": old, "pending_email": "new@example.com"} == body
    assert "current_password" not in body
    [notice, confirmation] = delivered()
    assert (confirmation.to, notice.to) == (["new@example.com"], [old])

    confirmed = api.post(f"{AUTH}/confirm_new_email/", {"token": token_in(confirmation)})
    assert confirmed.status_code == 200
    user.refresh_from_db()
    assert (user.email, user.pending_email) == ("new@example.com", None)
    assert delivered()[2].to == [old]


def test_setting_the_old_address_again_cancels_the_change(user_api: APIClient, user: User) -> None:
    ask_for(user_api, user, "new@example.com")
    response = user_api.patch(f"{USERS}{user.pk}/", {"email": user.email})
    assert response.json()["pending_email"] is None


def test_a_taken_address_is_refused(user_api: APIClient, user: User, delivered: Delivered) -> None:
    other = make_user()
    response = ask_for(user_api, user, other.email.upper())
    assert (response.status_code, list(response.json())) == (400, ["email"])
    assert [email.to for email in delivered()] == [[other.email]]


def test_an_address_that_was_registered_meanwhile_is_refused(
    user_api: APIClient, api: APIClient, user: User, delivered: Delivered
) -> None:
    ask_for(user_api, user, "new@example.com")
    token = token_in(delivered()[1])
    make_user(email="new@example.com")
    response = api.post(f"{AUTH}/confirm_new_email/", {"token": token})
    assert (response.status_code, list(response.json())) == (400, ["email"])


def test_a_delayed_email_never_confirms_a_later_address(
    user_api: APIClient, user: User, delivered: Delivered
) -> None:
    ask_for(user_api, user, "first@example.com")
    ask_for(user_api, user, "second@example.com")
    assert [email.to for email in delivered()] == [[user.email], ["second@example.com"]]
