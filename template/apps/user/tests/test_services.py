"""Each change affects and logs its user, and no one else."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override
from pytest_django import Settings
from rest_framework.exceptions import APIException
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle
from rest_framework_simplejwt.tokens import AccessToken

from apps.communication.emails import QueueableEmail
from apps.communication.models import Email
from apps.user import emails, services
from apps.user.errors import (
    EmailTakenError,
    InvalidTokenError,
)
from apps.user.fields import validate_mailbox
from apps.user.forms import SetPasswordForm
from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_token, make_user, registration
from apps.user.tokens import (
    OneTimeToken,
    cancel_new_email_token,
    confirm_email_token,
    confirm_new_email_token,
    reset_password_token,
    seconds_left,
)
from apps.user.validators import PasswordBoundsValidator, validate_not_in_the_future

pytestmark = pytest.mark.django_db

NEW_EMAIL = "new@example.com"
NEW_PASSWORD = "another horse battery"


@pytest.fixture(autouse=True)
def bystander(db: None) -> User:
    """The first user in the database, which a query without a condition would find."""
    return make_user()


@pytest.fixture
def user(bystander: User) -> User:
    """A user with a pending address, who is not the first one."""
    user = make_user()
    user.pending_email = NEW_EMAIL
    user.save()
    return user


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, Any]]]:
    caplog.set_level("INFO")

    def logged() -> list[tuple[str, Any]]:
        lines = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
        ours = [line for line in lines if line["logger"].startswith("apps.user.")]
        return [(line["event"], line.get("user")) for line in ours]

    return logged


def state(user: User) -> dict[str, Any]:
    return dict(User.objects.filter(pk=user.pk).values().get())


CHANGES: dict[str, Callable[[User], object]] = {
    "email_confirmed": lambda user: services.confirm_email(
        token=confirm_email_token.issue(user).token
    ),
    "email_changed": lambda user: services.confirm_new_email(
        token=confirm_new_email_token.issue(user).token
    ),
    "email_change_cancelled": lambda user: services.cancel_new_email(
        token=cancel_new_email_token.issue(user).token
    ),
    "login": lambda user: services.login(email=user.email, password=PASSWORD),
    "session_ended": lambda user: services.end_session(user, uuid4()),
    "sessions_ended": services.end_sessions,
    "account_deleted": services.delete_account,
    "password_forgotten": lambda user: services.forgot_password(email=user.email),
    "password_changed": lambda user: services.change_password(
        user, current_password=PASSWORD, password=NEW_PASSWORD
    ),
    "email_change_requested": lambda user: services.update_profile(
        user, email="other@example.com", current_password=PASSWORD
    ),
}


@pytest.mark.parametrize("event", CHANGES)
def test_a_change_is_logged_and_changes_no_one_else(
    user: User, bystander: User, events: Callable[[], list[tuple[str, Any]]], event: str
) -> None:
    before = state(bystander)
    pk = user.pk
    CHANGES[event](user)
    assert events() == [(event, pk)]
    assert state(bystander) == before


def test_a_registration_is_logged(events: Callable[[], list[tuple[str, Any]]]) -> None:
    user, _issued = services.register(**registration())
    assert events() == [("user_registered", user.pk)]


def test_a_reset_is_logged(user: User, events: Callable[[], list[tuple[str, Any]]]) -> None:
    services.reset_password(token=reset_password_token.issue(user).token, password=NEW_PASSWORD)
    assert events() == [("password_changed", user.pk)]


REFUSED: dict[str, Callable[[User], object]] = {
    "login_failed": lambda user: services.login(email=user.email, password="wrong"),
    "password_change_failed": lambda user: services.change_password(
        user, current_password="wrong", password=NEW_PASSWORD
    ),
    "email_change_refused": lambda user: services.update_profile(
        user, email="other@example.com", current_password="wrong"
    ),
}


@pytest.mark.parametrize("event", REFUSED)
def test_a_refused_change_is_logged(
    user: User, events: Callable[[], list[tuple[str, Any]]], event: str
) -> None:
    before = state(user)
    with pytest.raises(APIException):
        REFUSED[event](user)
    assert events() == [(event, None if event == "login_failed" else user.pk)]
    assert state(user) == before


def test_a_login_before_the_confirmation_is_logged(
    events: Callable[[], list[tuple[str, Any]]], client: Client
) -> None:
    user = make_user(email_confirmed_at=None, is_staff=True)
    with pytest.raises(APIException):
        services.login(email=user.email, password=PASSWORD)
    page = client.post(
        reverse("admin:login"),
        {"username": user.email, "password": PASSWORD},
        headers={"Accept-Language": "en"},
    )
    assert "Confirm your e-mail address first" in page.content.decode()
    assert events() == [("login_before_confirmation", user.pk)] * 2


@pytest.mark.parametrize("request_link", [services.forgot_password, services.resend_confirmation])
@pytest.mark.parametrize(
    "fields", [{"is_active": False}, {"password": None}], ids=["banned", "disabled password"]
)
def test_an_account_that_cannot_log_in_gets_no_link(
    request_link: Callable[..., object], fields: dict[str, Any]
) -> None:
    user = make_user(email_confirmed_at=None, **fields)
    assert request_link(email=user.email) is None
    # An e-mail without a recipient, so that the request does the same work for every address.
    assert list(Email.objects.values_list("to", flat=True)) == [""]


def test_a_confirmed_account_gets_no_other_confirmation(user: User) -> None:
    services.resend_confirmation(email=user.email)
    assert list(Email.objects.values_list("to", flat=True)) == [""]


@pytest.mark.parametrize(
    ("request_link", "kind"),
    [
        (services.forgot_password, "reset_password"),
        (services.resend_confirmation, "confirm_email"),
    ],
)
def test_a_link_goes_to_the_account_of_the_address(
    request_link: Callable[..., object], kind: str
) -> None:
    user = make_user(email_confirmed_at=None)
    request_link(email=user.email)
    email = Email.objects.get()
    assert (email.kind, email.to) == (kind, user.email)


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        (confirm_email_token, services.confirm_email),
        (confirm_new_email_token, services.confirm_new_email),
        (cancel_new_email_token, services.cancel_new_email),
        (
            reset_password_token,
            lambda *, token: services.reset_password(token=token, password=NEW_PASSWORD),
        ),
    ],
)
def test_a_token_of_a_banned_user_is_invalid(
    user: User, kind: OneTimeToken, use: Callable[..., object]
) -> None:
    # Without save(), which would end the token as well.
    User.objects.filter(pk=user.pk).update(is_active=False)
    user.refresh_from_db()
    with pytest.raises(InvalidTokenError):
        use(token=kind.issue(user).token)


def test_a_confirmation_changes_only_its_own_column(user: User) -> None:
    User.objects.filter(pk=user.pk).update(email_confirmed_at=None)
    user.refresh_from_db()
    before = state(user)
    services.confirm_email(token=confirm_email_token.issue(user).token)
    after = state(user)
    assert after.pop("email_confirmed_at") > timezone.now() - timedelta(minutes=1)
    assert after == {name: before[name] for name in after}


def test_a_new_address_is_confirmed_as_of_now(user: User) -> None:
    before = user.email_confirmed_at
    services.confirm_new_email(token=confirm_new_email_token.issue(user).token)
    user.refresh_from_db()
    assert user.email == NEW_EMAIL
    assert user.email_confirmed_at
    assert before
    assert user.email_confirmed_at > before


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (InvalidTokenError, {"token": "This link is invalid or has expired."}),
        (EmailTakenError, {"email": "There is already an account with this e-mail address."}),
    ],
)
def test_an_error_names_its_field(error: type[APIException], body: dict[str, str]) -> None:
    with override("en"):
        detail = error().detail
        assert isinstance(detail, dict)
        assert {name: str(*messages) for name, messages in detail.items()} == body
    codes = {"token": "invalid_token", "email": "unique"}
    assert error().get_codes() == {name: [codes[name]] for name in body}


def test_an_email_shows_the_local_time_and_half_of_an_address() -> None:
    with override("pt-br"), timezone.override("America/Sao_Paulo"):
        assert emails.local_time("2026-01-31T15:00:00+00:00") == "31/01/2026 12:00"
    assert emails.masked("bia@lima@example.com") == "b***@lima@example.com"


def test_the_address_of_a_page_ends_with_the_token_if_there_is_one(settings: Settings) -> None:
    settings.URL_BASE = "https://api.example.com"
    assert emails.page_url("forgot_password") == "https://api.example.com/forgot_password/"
    assert emails.page_url("reset_password", "x") == (
        "https://api.example.com/reset_password/#token=x"
    )


def test_a_password_like_the_profile_is_refused() -> None:
    body = registration(first_name="Guilhermina", password="guilhermina1")
    with pytest.raises(APIException):
        services.register(**body)
    assert not User.objects.filter(email=body["email"]).exists()


def test_a_date_of_birth_in_the_future_is_rejected() -> None:
    today = timezone.localdate()
    validate_not_in_the_future(today)
    with pytest.raises(ValidationError) as refused:
        validate_not_in_the_future(today + timedelta(days=1))
    with override("en"):
        assert refused.value.messages == ["This date is in the future."]
    assert refused.value.code == "future_date"


def test_a_refused_login_names_the_scheme(api: APIClient) -> None:
    response = api.post("/api/v1/auth/login/", {"email": "a@example.com", "password": "x"})
    assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Bearer realm="api"')


def test_the_form_of_a_password_keeps_the_last_superuser() -> None:
    user = make_user(is_staff=True, is_superuser=True)
    with override("en"):
        errors = SetPasswordForm(user, {"usable_password": "false"}).errors.get_json_data()
    message = "The last superuser must stay active."
    assert errors == {"usable_password": [{"message": message, "code": "last_superuser"}]}


def test_a_refused_password_in_the_admin_site_is_logged_and_limited(
    client: Client,
    events: Callable[[], list[tuple[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "password-account", "1/min")
    user = make_user(is_staff=True)
    client.force_login(user)
    body = {"old_password": "wrong", "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    url, headers = reverse("admin:password_change"), {"Accept-Language": "en"}
    client.post(url, body)
    assert events()[-1] == ("password_change_failed", user.pk)
    page = client.post(url, body, headers=headers)
    assert page.context["form"].errors.get_json_data() == {
        "old_password": [
            {"message": "Too many attempts. Please try again later.", "code": "throttled"}
        ]
    }


def test_a_superuser_is_confirmed_and_keeps_the_other_fields() -> None:
    user = User.objects.create_superuser("root@example.com", PASSWORD, first_name="Root")
    assert (user.first_name, user.is_staff, user.is_superuser) == ("Root", True, True)
    assert user.email_confirmed_at


@pytest.mark.parametrize(
    ("password", "message", "code"),
    [
        (
            "x7" * 65,
            "This password is too long. It must contain at most 128 characters.",
            "password_too_long",
        ),
        (" " * 8, "This password consists only of spaces.", "password_only_spaces"),
    ],
)
def test_a_refused_password_has_a_message_and_a_code(
    password: str, message: str, code: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        PasswordBoundsValidator().validate(password)
    with override("en"):
        assert refused.value.messages == [message]
    assert refused.value.code == code


def test_an_address_that_gets_no_mail_has_the_message_of_django() -> None:
    with pytest.raises(ValidationError) as refused:
        validate_mailbox("a@-.example")
    with override("en"):
        assert refused.value.messages == ["Enter a valid email address."]
    assert refused.value.code == "invalid"


@pytest.mark.parametrize("kind", [emails.confirm_email, emails.reset_password])
def test_a_banned_user_gets_no_email(kind: QueueableEmail) -> None:
    user = make_user(email_confirmed_at=None)
    assert kind.values(user.pk, user.email)
    user.is_active = False
    user.save()
    assert kind.values(user.pk, user.email) is None


def test_an_expired_token_has_no_seconds_left() -> None:
    token = AccessToken()
    token.set_exp(lifetime=timedelta(seconds=-9))
    assert seconds_left(token) == 0


def test_a_current_password_is_not_read_without_bounds(user_api: APIClient) -> None:
    body = {"current_password": "x" * 4097, "password": NEW_PASSWORD}
    headers = {"Accept-Language": "en"}
    response = user_api.post("/api/v1/auth/change_password/", body, headers=headers)
    message = "Ensure this field has no more than 4096 characters."
    assert (response.status_code, response.json()["current_password"]) == (400, [message])


def test_attempts_of_one_user_do_not_count_for_another(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "password-account", "1/min")
    body = {"current_password": "wrong", "password": NEW_PASSWORD}
    for user in (make_user(), make_user()):
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
        assert api.post("/api/v1/auth/change_password/", body).status_code == 400
