"""A stolen token must not be enough to take over an account. The ids are those of OWASP ASVS 5.0."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from apps.communication.models import Email
from apps.user import emails, services
from apps.user.models import User
from apps.user.tests.factories import PASSWORD, make_token, make_user, token_in
from apps.user.tokens import (
    OneTimeToken,
    cancel_new_email_token,
    confirm_email_token,
    confirm_new_email_token,
    reset_password_token,
)

Delivered = Callable[[], Sequence[EmailMessage]]
AUTH = "/api/v1/auth"
ME = "/api/v1/users/me/"

pytestmark = pytest.mark.django_db


def bearer(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
    return client


def change_address(api: APIClient, user: User, **body: Any) -> Any:
    return api.patch(f"/api/v1/users/{user.pk}/", {"email": "thief@example.com"} | body)


class TestChangeOfTheAddress:
    """6.2.3, 7.5.1"""

    @pytest.mark.parametrize("method", ["put", "patch"])
    @pytest.mark.parametrize(
        ("extra", "code"),
        [
            ({}, "current_password_required"),
            ({"current_password": ""}, "current_password_required"),
            ({"current_password": "wrong"}, "wrong_password"),
        ],
    )
    def test_a_new_address_needs_the_current_password(
        self, user_api: APIClient, user: User, method: str, extra: dict[str, str], code: str
    ) -> None:
        body = {"email": "thief@example.com", "first_name": "Eva", "last_name": "Reis"} | extra
        response = getattr(user_api, method)(f"/api/v1/users/{user.pk}/", body)
        assert (response.status_code, response.json()["code"]) == (400, code)
        user.refresh_from_db()
        assert (user.pending_email, user.first_name) == (None, "Ana")
        assert not Email.objects.exists()

    @pytest.mark.parametrize("method", ["put", "patch"])
    def test_an_unchanged_address_needs_no_password(
        self, user_api: APIClient, user: User, method: str
    ) -> None:
        body = {"email": user.email.upper(), "first_name": "Eva", "last_name": "Reis"}
        response = getattr(user_api, method)(f"/api/v1/users/{user.pk}/", body)
        assert (response.status_code, response.json()["first_name"]) == (200, "Eva")

    def test_a_taken_address_is_not_revealed_without_the_password(
        self, user_api: APIClient, user: User, delivered: Delivered
    ) -> None:
        response = change_address(user_api, user, email=make_user().email)
        assert response.json()["code"] == "current_password_required"
        assert not delivered()

    def test_attempts_at_the_password_count_with_those_of_change_password(
        self, user_api: APIClient, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "password-account", "3/min")
        codes = [
            change_address(user_api, user, current_password="wrong").status_code for _ in range(3)
        ]
        body = {"current_password": PASSWORD, "password": "another horse"}
        codes.append(user_api.post(f"{AUTH}/change_password/", body).status_code)
        assert codes == [400, 400, 400, 429]
        assert user_api.patch(f"/api/v1/users/{user.pk}/", {"phone": ""}).status_code == 200

    def test_the_old_address_can_cancel_a_change(
        self, user_api: APIClient, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        change_address(user_api, user, current_password=PASSWORD)
        [notice, confirmation] = delivered()
        assert notice.to == [user.email]
        assert "t***@" in notice.body
        cancel = {"token": token_in(notice)}
        assert api.post(f"{AUTH}/cancel_new_email/", cancel).status_code == 200
        assert api.post(f"{AUTH}/cancel_new_email/", cancel).status_code == 400
        confirm = {"token": token_in(confirmation)}
        assert api.post(f"{AUTH}/confirm_new_email/", confirm).status_code == 400
        user.refresh_from_db()
        assert user.pending_email is None
        assert user_api.get(ME).status_code == 401

    def test_confirming_a_new_address_returns_no_account_and_ends_its_sessions(
        self, user_api: APIClient, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        """A mistyped address belongs to a stranger."""
        change_address(user_api, user, current_password=PASSWORD)
        response = api.post(f"{AUTH}/confirm_new_email/", {"token": token_in(delivered()[1])})
        assert (response.status_code, list(response.json())) == (200, ["message"])
        assert user_api.get(ME).status_code == 401

    def test_a_new_address_gets_another_email_than_a_registration(
        self, user_api: APIClient, user: User, delivered: Delivered
    ) -> None:
        change_address(user_api, user, current_password=PASSWORD)
        delivered()
        assert list(Email.objects.order_by("pk").values_list("kind", flat=True)) == [
            "new_email_requested",
            "confirm_new_email",
        ]

    @pytest.mark.parametrize(
        ("endpoint", "right"),
        [
            ("confirm_email", confirm_email_token),
            ("confirm_new_email", confirm_new_email_token),
            ("cancel_new_email", cancel_new_email_token),
        ],
    )
    def test_each_kind_of_token_works_only_for_its_purpose(
        self, api: APIClient, endpoint: str, right: OneTimeToken
    ) -> None:
        User.objects.filter(pk=make_user(email_confirmed_at=None).pk).update(
            pending_email="new@example.com"
        )
        user = User.objects.get()
        kinds = [
            reset_password_token,
            confirm_email_token,
            confirm_new_email_token,
            cancel_new_email_token,
        ]
        for kind in kinds:
            if kind is not right:
                token = kind.issue(user).token
                assert api.post(f"{AUTH}/{endpoint}/", {"token": token}).status_code == 400
        token = right.issue(user).token
        assert api.post(f"{AUTH}/{endpoint}/", {"token": token}).status_code == 200

    def test_a_change_requested_while_the_session_ends_is_discarded(self, user: User) -> None:
        stale = User.objects.get()
        services.end_sessions(user)
        with pytest.raises(Exception, match="No User matches"):
            services.update_profile(
                stale, email="thief@example.com", current_password=PASSWORD, first_name="Eva"
            )
        user.refresh_from_db()
        assert (user.pending_email, user.first_name) == (None, "Ana")


def by_queryset(user: User) -> None:
    User.objects.filter(is_active=True).update(is_active=False)


def by_bulk_update(user: User) -> None:
    user.is_active = False
    User.objects.bulk_update([user], ["is_active"])


def by_save(user: User) -> None:
    user.is_active = False
    user.save()


def by_saving_one_field(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def disable_password(user: User) -> None:
    user.set_unusable_password()
    user.save(update_fields=["password"])


def reset(user: User) -> None:
    services.reset_password(token=reset_password_token.issue(user).token, password="another horse")


def change_password(user: User) -> None:
    services.change_password(user, current_password=PASSWORD, password="another horse")


ENDINGS = [
    services.end_sessions,
    by_queryset,
    by_bulk_update,
    by_save,
    by_saving_one_field,
    disable_password,
    reset,
    change_password,
]


class TestEndOfSessions:
    """7.4.1 to 7.4.3, 7.4.5"""

    @pytest.mark.parametrize("end", ENDINGS)
    def test_ending_sessions_invalidates_everything_issued(
        self, user: User, api: APIClient, end: Callable[[User], None]
    ) -> None:
        User.objects.update(pending_email="thief@example.com")
        user.refresh_from_db()
        client, admin = bearer(user), Client()
        admin.force_login(user)
        tokens = {
            "confirm_new_email": confirm_new_email_token.issue(user).token,
            "cancel_new_email": cancel_new_email_token.issue(user).token,
            "reset_password": reset_password_token.issue(user).token,
        }
        end(User.objects.get())
        user.refresh_from_db()
        user.is_active = True  # a ban is lifted
        user.save(update_fields=["is_active"])
        assert user.pending_email is None
        assert client.get(ME).status_code == 401
        assert "_auth_user_id" in admin.session
        assert admin.get("/admin/").headers["Location"].startswith("/admin/login/")
        for endpoint, token in tokens.items():
            body = {"token": token, "password": "a third horse"}
            assert api.post(f"{AUTH}/{endpoint}/", body).status_code == 400, endpoint

    def test_an_admin_session_outlives_a_rotation_of_the_secret_key(
        self, settings: Settings
    ) -> None:
        admin = Client()
        admin.force_login(User.objects.create_superuser("root@example.com", PASSWORD))
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another key " * 5
        assert admin.get("/admin/").status_code == 200

    def test_each_user_of_a_ban_gets_a_stamp_of_its_own(self) -> None:
        users = [make_user(), make_user()]
        User.objects.update(is_active=False)
        after: list[uuid.UUID] = list(User.objects.values_list("security_stamp", flat=True))
        assert len({*after, *(user.security_stamp for user in users)}) == 4

    @pytest.mark.parametrize("path", ["forgot_password", "resend_confirmation"])
    def test_a_disabled_password_cannot_be_reset_by_email(
        self, api: APIClient, delivered: Delivered, path: str
    ) -> None:
        user = make_user(email_confirmed_at=None)
        disable_password(user)
        assert api.post(f"{AUTH}/{path}/", {"email": user.email}).status_code == 200
        assert not delivered()


class TestDeletion:
    """14.2.7, 16.3.1"""

    def test_deletion_is_logged_and_notified_by_email(
        self,
        user_api: APIClient,
        user: User,
        delivered: Delivered,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO")
        assert user_api.delete(f"/api/v1/users/{user.pk}/").status_code == 204
        assert [email.to for email in delivered()] == [[user.email]]
        events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        assert ("account_deleted", user.pk) in [(e["event"], e.get("user")) for e in events]

    def test_deletion_deletes_the_emails_to_the_user(
        self, user: User, delivered: Delivered
    ) -> None:
        other = make_user()
        emails.confirm_email.queue(to="old@example.com", user_id=user.pk, email="old@example.com")
        emails.reset_password.queue(to=user.email, user_id=user.pk, email=user.email)
        kept = emails.account_exists.queue(to=other.email, user_id=other.pk)
        services.delete_account(user)
        assert [email.to[0] for email in delivered()][-1] == user.email
        assert list(Email.objects.all()) == [kept]

    @pytest.mark.parametrize("rank", ["is_staff", "is_superuser"])
    def test_staff_and_superusers_cannot_delete_themselves(self, user: User, rank: str) -> None:
        User.objects.update(**{rank: True})
        response = bearer(user).delete(f"/api/v1/users/{user.pk}/")
        assert (response.status_code, response.json()["code"]) == (409, "staff_account")
        assert User.objects.filter(pk=user.pk).exists()

    def test_the_audit_trail_of_former_staff_is_kept(self, user_api: APIClient, user: User) -> None:
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(User),
            object_id=str(user.pk),
            action_flag=CHANGE,
        )
        assert user_api.delete(f"/api/v1/users/{user.pk}/").status_code == 409
        assert LogEntry.objects.count() == 1


class TestForgottenPassword:
    """6.4.3, 14.2.7: the e-mail is stored before the response, and unknown addresses never are."""

    @pytest.mark.parametrize("path", ["forgot_password", "resend_confirmation"])
    def test_a_request_for_an_email_needs_no_task_of_its_own(
        self, api: APIClient, settings: Settings, delivered: Delivered, path: str
    ) -> None:
        settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
        user = make_user(email_confirmed_at=None)
        api.post(f"{AUTH}/{path}/", {"email": user.email})
        assert [email.to for email in delivered()] == [[user.email]]

    @pytest.mark.parametrize("path", ["forgot_password", "resend_confirmation"])
    def test_an_unknown_address_is_not_stored(
        self, api: APIClient, settings: Settings, delivered: Delivered, path: str
    ) -> None:
        from django_tasks_db.models import DBTaskResult  # noqa: PLC0415

        settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
        api.post(f"{AUTH}/{path}/", {"email": "stranger@example.com"})
        assert not delivered()
        rows = [*DBTaskResult.objects.values(), *Email.objects.values()]
        assert rows
        assert "stranger" not in str(rows)

    def test_a_confirmed_account_gets_no_second_confirmation(
        self, api: APIClient, user: User, delivered: Delivered
    ) -> None:
        api.post(f"{AUTH}/resend_confirmation/", {"email": user.email})
        assert not delivered()
        assert Email.objects.get().to == ""
